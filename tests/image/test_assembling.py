"""What the image is put together by, as far as that needs no Docker: the same bytes from the same files."""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.controlplane.paths import ROOT

TOOLS = ROOT / "deploy/image"
# What Python orders by hash or shares by chance: sets, constants that recur, names.
SOURCE = "WORDS = {'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j'}\ndef f(x):\n    return x in {'alpha', 'beta', 'gamma', 'delta', 'epsilon'}\n"


def assemble(folder: Path, *, umask: int, environment: Mapping[str, str]) -> dict[str, tuple[str, int, float]]:
    """The steps that need no base, run in a folder of its own; each file's digest, permissions and time."""
    context, out = folder / "context", folder / "out"
    for name in ("site/kubernetes/aio", "site/other/tests", "countersign/domain"):
        (context / name).mkdir(parents=True)
    for number in range(40):
        # Not in the order of their names, as a file system may list them.
        (context / f"site/other/module{number * 17 % 40}.py").write_text(SOURCE + f"NUMBER = {number * 17 % 40}\n")
    for name in (
        "site/kubernetes/__init__.py",
        "site/kubernetes/aio/__init__.py",
        "site/other/tests/test.py",
        "countersign/domain/rule.py",
    ):
        (context / name).write_text(SOURCE)
    (context / "site/other/stub.pyi").write_text("")
    (context / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); import pathlib, assemble; context, out = map(pathlib.Path, sys.argv[2:]);"
        "assemble.try_out = lambda *_: None;"  # it needs the base's libraries, and root
        "assemble.main('dependencies', context, out); assemble.main('own', context, out)"
    )
    command = [sys.executable, "-c", script, str(TOOLS), str(context), str(out)]
    subprocess.run(command, env={**os.environ, **environment}, umask=umask, check=True)
    files = {}
    for path in sorted(out.rglob("*")):
        status = path.stat()
        digest = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        files[str(path.relative_to(out))] = (digest, status.st_mode, status.st_mtime)
    shutil.rmtree(folder)
    return files


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the image has Python 3.11, whose bytes these are")
def test_two_builds_give_the_same_bytes(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "elsewhere/and/deeper"
    first = assemble(here, umask=0o022, environment={"PYTHONHASHSEED": "1", "TZ": "UTC"})
    second = assemble(there, umask=0o077, environment={"PYTHONHASHSEED": "2", "TZ": "Pacific/Auckland", "LC_ALL": "C"})
    assert first == second
    names = set(first)
    assert {"dependencies/app/kubernetes.zip", "own/app/countersign/domain/rule.py"} <= names
    assert "own/app/countersign/domain/__pycache__/rule.cpython-311.pyc" in names
    assert not [name for name in names if name.endswith(".pyi") or "/tests" in name]
