"""`assemble.py STEP CONTEXT OUT`: what the image is made of, by the base's own Python in the Dockerfile's build stage; the same bytes each time.

The steps dependencies, runtime and own make the folders of these names in OUT, one layer each, to be laid over each other: what changes
with every commit is the smallest, and made alone.
Only the standard library is needed, and no shell: any Debian with Python 3.11 is good enough a base.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterable
from pathlib import Path

import interpreter
from bytecode import compile_all

# Nothing that is older than 1980 fits into a zip file.
EPOCH = 315_532_800
_UNUSED = {"tests", "__pycache__"}
# Sources of compiled modules and stubs are nobody's at run time.
_UNUSED_SUFFIXES = {".pyi", ".pyx", ".pxd", ".c", ".h"}
_APP = Path("app")
_USERS = "root:x:0:0:root:/:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/:/sbin/nologin\n"
_GROUPS = "root:x:0:\nnonroot:x:65532:\n"
_LOADS = "import countersign.entrypoints.serve, countersign.entrypoints.operator, countersign.entrypoints.posture"


def main(step: str, context: Path, out: Path) -> None:
    runtime, dependencies, own = parts = tuple(out / name for name in ("runtime", "dependencies", "own"))
    match step:
        case "dependencies":
            copy_without_the_unused(context / "site", dependencies / _APP)
            shutil.rmtree(dependencies / _APP / "bin", ignore_errors=True)
            pack(dependencies / _APP, "kubernetes")
            finish(dependencies)
        case "runtime":
            interpreter.place(runtime, extensions=sorted((dependencies / _APP).rglob("*.so*")))
            write(runtime / "etc/passwd", _USERS)
            write(runtime / "etc/group", _GROUPS)
            write(runtime / "etc/nsswitch.conf", "hosts: files dns\n")
            finish(runtime)
        case "own":
            copy_without_the_unused(context / "countersign", own / _APP / "countersign")
            write_metadata(context / "pyproject.toml", own / _APP)
            finish(own)
            try_out(out, parts)
        case _:
            raise SystemExit(f"assemble: there is no step {step!r}")


def finish(root: Path) -> None:
    # The root file system is read-only when it runs: what is not compiled now is compiled anew at each start.
    compile_all(root, beside=False)
    settle(root)


def copy_without_the_unused(source: Path, target: Path) -> None:
    def unused(_: str, names: list[str]) -> Iterable[str]:
        return [name for name in names if name in _UNUSED or Path(name).suffix in _UNUSED_SUFFIXES or name == ".lock"]

    shutil.copytree(source, target, ignore=unused, symlinks=True)


def pack(folder: Path, package: str) -> None:
    """The Kubernetes client is 75 MB of generated modules of which a hundred are ever loaded: compiled and packed, it is a seventh of that."""
    compile_all(folder / package, beside=True, shown_as=Path("/") / _APP / package)
    with zipfile.ZipFile(folder / f"{package}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted((folder / package).rglob("*")):
            if file.is_file() and file.suffix != ".py":
                entry = zipfile.ZipInfo(str(file.relative_to(folder)), (1980, 1, 1, 0, 0, 0))
                entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
                archive.writestr(entry, file.read_bytes())
    shutil.rmtree(folder / package)


def write_metadata(pyproject: Path, folder: Path) -> None:
    """What an installer would write: `countersign --version` reads it."""
    project = tomllib.loads(pyproject.read_text())["project"]
    text = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    write(folder / f"{project['name']}-{project['version']}.dist-info" / "METADATA", text)


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def settle(root: Path) -> None:
    """One time and plain permissions for everything: neither the clock nor the umask of who builds is in the image."""
    for path in sorted(root.rglob("*"), reverse=True):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644)
        os.utime(path, (EPOCH, EPOCH), follow_symlinks=False)
    root.chmod(0o755)
    os.utime(root, (EPOCH, EPOCH))


def try_out(out: Path, parts: Iterable[Path]) -> None:
    """Loads both processes in what was put together: a library that the image lacks fails the build and not a pod."""
    whole = out / "whole"
    for part in parts:
        shutil.copytree(part, whole, symlinks=True, dirs_exist_ok=True)
    environment = {"PATH": "/usr/local/bin:/usr/bin", "PYTHONPATH": f"/{_APP}:/{_APP}/kubernetes.zip", "PYTHONDONTWRITEBYTECODE": "1"}
    # As who builds it, and in nothing but the image.
    command = [sys.executable, "-W", "error::ImportWarning", "-c", _LOADS]
    subprocess.run(command, env=environment, preexec_fn=lambda: os.chroot(whole), cwd="/", check=True)
    shutil.rmtree(whole)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
