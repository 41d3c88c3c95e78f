"""What can go wrong in the harness. Each text says what to do next.

HarnessError
├── ToolMissing      a program that has to be there is not, or is too old
├── BuildFailed      the compiler, docker or helm said no; carries its last lines
├── StartFailed      a process or a cluster did not become ready; carries its last lines
├── PortTaken        a recorded port belongs to somebody else now
├── DiskFull
├── ClusterDown      there is no cluster, or one of the other kind
└── ApiError         the API server said no (api.py)
"""

from __future__ import annotations

from pathlib import Path


class HarnessError(Exception):
    """The root of the tree above."""


class ToolMissing(HarnessError):
    pass


class BuildFailed(HarnessError):
    pass


class StartFailed(HarnessError):
    pass


class PortTaken(HarnessError):
    pass


class DiskFull(HarnessError):
    pass


class ClusterDown(HarnessError):
    pass


def last_lines(text: str, count: int = 20) -> str:
    """The last `count` non-empty lines, indented, for the end of an error."""
    lines = [line for line in text.splitlines() if line.strip()]
    return "\n".join(f"    {line}" for line in lines[-count:])


def last_lines_of(file: Path, count: int = 20) -> str:
    try:
        return last_lines(file.read_text(errors="replace"), count)
    except FileNotFoundError:
        return f"    ({file} was never written)"
