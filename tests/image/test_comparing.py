"""deploy/compare-builds finds what differs: here with a Docker that says what a test wants."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.controlplane.paths import ROOT

# Writes down how it was called; `docker image inspect NAME-1 …` prints what stands in the file 1.
DOCKER = '#!/bin/sh\n[ "$2" != inspect ] || cat "$HERE/${3##*-}"\n'
BUILD = '#!/bin/sh\necho "$1 $NO_CACHE $(umask) $TZ" >> "$HERE/built"\nexit ${BUILD_FAILS:-0}\n'


def compare(folder: Path, first: str, second: str, **environment: str) -> subprocess.CompletedProcess[str]:
    shutil.copy(ROOT / "deploy/compare-builds", folder)
    for name, text in (("build-image", BUILD), ("docker", DOCKER), ("1", first), ("2", second)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    env = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "HERE": str(folder), **environment}
    return subprocess.run([folder / "compare-builds"], env=env, capture_output=True, text=True, check=False)


LAYERS = "sha256:aa\nsha256:bb\n[] []\n"


def test_the_same(tmp_path: Path) -> None:
    compared = compare(tmp_path, LAYERS, LAYERS)
    assert compared.returncode == 0, compared.stderr
    assert "the same bytes twice; 2 layers" in compared.stdout
    first, second = (line.split() for line in (tmp_path / "built").read_text().splitlines())
    assert first[1] == second[1] == "1", "from nothing both times"
    assert first[2:] != second[2:], "under other circumstances"


@pytest.mark.parametrize("other", ["sha256:aa\nsha256:cc\n[] []\n", "sha256:aa\n[] []\n", 'sha256:aa\nsha256:bb\n["X=1"] []\n'])
def test_not_the_same(tmp_path: Path, other: str) -> None:
    compared = compare(tmp_path, LAYERS, other)
    assert compared.returncode == 1
    assert "two builds of one tree differ" in compared.stderr


def test_what_was_not_built_is_not_the_same(tmp_path: Path) -> None:
    assert compare(tmp_path, LAYERS, LAYERS, BUILD_FAILS="1").returncode != 0
