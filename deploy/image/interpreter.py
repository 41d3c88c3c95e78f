"""Python itself, out of the base: the interpreter, its standard library and the shared libraries that these and the extensions load.

Nothing else of the base is taken: no shell, no compiler, no package manager, no pip.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

# Of the standard library: tests, other people's programs, and what installs or builds.
_UNUSED = {
    *("test", "tests", "idlelib", "lib2to3", "ensurepip", "distutils", "turtledemo", "tkinter", "pydoc_data", "__pycache__"),
    *("site-packages", "dist-packages", "sitecustomize.py", "_distutils_system_mod.py", "EXTERNALLY-MANAGED"),
}
# What programs read that link to these libraries.
_DATA = ("/usr/lib/ssl/openssl.cnf", "/etc/ld.so.cache", "/etc/os-release")
# Loaded by name when a thread ends, so that no program lists it.
_BY_NAME = ("libgcc_s.so.1",)
_DPKG = Path("/var/lib/dpkg")


def place(root: Path, extensions: Iterable[Path]) -> None:
    """Copies it all below `root`, to where it lies now. Raises LookupError where a library that is needed is nowhere."""
    taken = [*_copy_path(root, Path(sys.executable))]
    standard = Path(sysconfig.get_path("stdlib"))
    taken += _copy_tree(root, standard)
    libraries = _libraries([Path(sys.executable).resolve(), *extensions], root.parent)
    for module in sorted((root / standard.relative_to("/")).rglob("*.so")):
        try:
            libraries |= _libraries([Path("/") / module.relative_to(root)], root.parent)
        except LookupError:
            module.unlink()  # what the base itself cannot load, such as Tk's where it has no Tk
    beside_c = next(library for library in libraries if library.name == "libc.so.6").parent
    libraries |= {beside_c / name for name in _BY_NAME if (beside_c / name).exists()}
    for library in sorted(libraries):
        taken += _copy_path(root, library)
    for data in map(Path, _DATA):
        if data.exists():
            taken += _copy_path(root, data)
    _tell_packages(root, taken)


def _libraries(programs: Sequence[Path], out: Path) -> set[Path]:
    """By the dynamic linker's own account."""
    linker = _linker()
    found = {linker}
    for program in programs:
        listing = subprocess.run([linker, "--list", program], capture_output=True, text=True, check=False)
        if "not found" in listing.stdout or (listing.returncode != 0 and "statically linked" not in listing.stdout):
            raise LookupError(f"{program} does not link: {listing.stdout}{listing.stderr}")
        words = {Path(word) for word in listing.stdout.split() if word.startswith("/")}
        # A wheel brings libraries of its own along; they are in the image already.
        found |= {library for library in words if not library.is_relative_to(out)}
    return found


def _linker() -> Path:
    for folder in ("/lib64", "/lib"):
        for file in sorted(Path(folder).glob("ld-linux*.so.*")):
            return file
    raise LookupError("the base has no dynamic linker: it is to be a Debian, or another Linux with glibc")


def _copy_tree(root: Path, source: Path) -> Iterator[Path]:
    def unused(_: str, names: list[str]) -> Iterable[str]:
        # config-3.11-…: what one links against to embed Python, 60 MB of it in some bases.
        return [name for name in names if name in _UNUSED or name.startswith(("_test", "config-")) or name.endswith(".pyc")]

    shutil.copytree(source, root / source.relative_to("/"), ignore=unused, symlinks=True, dirs_exist_ok=True)
    yield from (Path("/") / file.relative_to(root) for file in (root / source.relative_to("/")).rglob("*"))


def _copy_path(root: Path, path: Path) -> Iterator[Path]:
    """The file and each symbolic link on the way to it."""
    here = Path("/")
    parts = path.parts[1:]
    for number, part in enumerate(parts):
        here /= part
        copy = root / here.relative_to("/")
        if here.is_symlink():
            if not copy.is_symlink():
                copy.symlink_to(here.readlink())
            target = Path(os.path.normpath(here.parent / here.readlink()))
            yield from _copy_path(root, target.joinpath(*parts[number + 1 :]))
            return
        if number < len(parts) - 1:
            copy.mkdir(parents=True, exist_ok=True)
    if here.is_dir():
        (root / here.relative_to("/")).mkdir(parents=True, exist_ok=True)
        for child in sorted(here.iterdir()):
            if child.exists():
                yield from _copy_path(root, child)
    else:
        shutil.copyfile(here, root / here.relative_to("/"))
        shutil.copymode(here, root / here.relative_to("/"))
        yield here


def _tell_packages(root: Path, taken: Sequence[Path]) -> None:
    """Which Debian packages the files are of, where scanners for known faults look for it; and their licences."""
    files = {Path(os.path.realpath(path)) for path in taken}
    descriptions = _descriptions()
    for listing in sorted(_DPKG.glob("info/*.list")):
        package = listing.stem
        owned = (Path(os.path.realpath(line)) for line in listing.read_text().splitlines() if "/doc/" not in line)
        if not any(path in files for path in owned if path.is_file()):
            continue
        name = package.partition(":")[0]
        status = root / "var/lib/dpkg/status.d" / name
        status.parent.mkdir(parents=True, exist_ok=True)
        status.write_text(descriptions[name])
        licence = Path("/usr/share/doc") / name / "copyright"
        if licence.is_file():
            copy = root / licence.relative_to("/")
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(licence, copy)


def _descriptions() -> dict[str, str]:
    text = (_DPKG / "status").read_text() if (_DPKG / "status").exists() else ""
    found: dict[str, str] = {}
    for paragraph in text.split("\n\n"):
        if paragraph.startswith("Package: "):
            found[paragraph.splitlines()[0].removeprefix("Package: ")] = paragraph.strip() + "\n"
    return found
