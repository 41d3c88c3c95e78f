"""Background processes: recorded with pid and start time, stopped by pid, never one that merely got the number later."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.controlplane.errors import StartFailed, last_lines_of
from tests.controlplane.paths import HERE

PAUSE = 0.05


@dataclass(frozen=True, slots=True)
class Identity:
    """One process, told apart from a later one of the same number by when it started."""

    pid: int
    started: str


def started(pid: int) -> str | None:
    """When a living process started, in whatever unit the system tells; None for the dead and for zombies."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        if Path("/proc/self/stat").exists():
            return None
        answer = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
        return answer.stdout.strip() or None
    return None if fields[0] in "ZX" else fields[19]


def read(record: Path) -> Identity | None:
    """What launch.sh wrote, or None."""
    try:
        pid, begun, *_ = record.read_text().splitlines()
        return Identity(int(pid), begun.strip())
    except (FileNotFoundError, ValueError):
        return None


def is_alive(record: Path) -> bool:
    identity = read(record)
    return identity is not None and started(identity.pid) == identity.started


def start(
    record: Path,
    command: Sequence[str | Path],
    *,
    env: Mapping[str, str],
    output: Path,
    errors: Path | None = None,
    cwd: Path | None = None,
) -> None:
    """Starts a process that outlives us, appending stdout to `output` and stderr to `errors` (the same file if None).

    Raises:
        StartFailed: it did not even record itself.
    """
    record.unlink(missing_ok=True)
    # The shell forks and ends at once, so that the process is nobody's child here: none of our exits can wait for it or warn of it.
    detach = '/bin/sh "$0" "$@" &'
    with output.open("ab") as out, (errors or output).open("ab") as err:
        subprocess.run(
            ["/bin/sh", "-c", detach, HERE / "launch.sh", record, *command],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            env=dict(env),
            cwd=cwd,
            start_new_session=True,
            check=True,
        )
    deadline = time.monotonic() + 10
    while read(record) is None:
        if time.monotonic() > deadline:
            raise StartFailed(f"{command[0]} did not start:\n{last_lines_of(errors or output)}")
        time.sleep(0.01)


def stop(record: Path, *, grace: float = 10) -> None:
    """Asks the recorded process to end, after `grace` seconds makes it, and forgets it. Nothing happens if it is not running."""
    for number, patience in ((signal.SIGTERM, grace), (signal.SIGKILL, 5.0)):
        if not _signal(record, number) or _ended(record, patience):
            break
    record.unlink(missing_ok=True)


def _signal(record: Path, number: signal.Signals) -> bool:
    identity = read(record)
    if identity is None or not is_alive(record):
        return False
    try:
        os.kill(identity.pid, number)
    except ProcessLookupError:
        return False
    return True


def _ended(record: Path, patience: float) -> bool:
    deadline = time.monotonic() + patience
    while is_alive(record):
        if time.monotonic() > deadline:
            return False
        time.sleep(PAUSE)
    return True
