"""Compiles Python so that two builds give the same bytes.

What else a process has loaded and compiled shows in the references of what it writes. So everything is compiled in processes of its own
that load this module alone, each of which gets the same files in the same order every time: a fixed number of them, however many processors
there are.
"""

from __future__ import annotations

import importlib.util
import py_compile
import subprocess
import sys
from pathlib import Path

_PROCESSES = 4


def compile_all(root: Path, *, beside: bool, shown_as: Path = Path("/")) -> None:
    """Each module below `root`: `beside` its source, or in __pycache__. Tracebacks show it below `shown_as`.

    Raises ValueError where what ships does not compile; the compiler has said why.
    """
    place = "beside" if beside else "cache"
    commands = [[sys.executable, "-S", __file__, str(number), place, str(root), str(shown_as)] for number in range(_PROCESSES)]
    running = [subprocess.Popen(command) for command in commands]
    ended = [process.wait() for process in running]
    if any(ended):
        raise ValueError(f"not everything below {root} compiles")


def _compile(number: int, root: Path, shown_as: Path, *, beside: bool) -> None:
    files = sorted(file for file in root.rglob("*.py") if file.is_file())
    for file in files[number::_PROCESSES]:
        target = file.with_suffix(".pyc") if beside else Path(importlib.util.cache_from_source(str(file)))
        py_compile.compile(
            str(file),
            cfile=str(target),
            dfile=str(shown_as / file.relative_to(root)),
            doraise=True,
            # Sources in an image do not change: a hash that nobody checks stands where a time would.
            invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        )


if __name__ == "__main__":
    _compile(int(sys.argv[1]), Path(sys.argv[3]), Path(sys.argv[4]), beside=sys.argv[2] == "beside")
