"""The cache folder, shared by all checkouts of one person: finished binaries by the hash of what they are made from."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.controlplane.errors import DiskFull

NEEDED_BYTES = 1 << 30


def folder() -> Path:
    """COUNTERSIGN_CACHE, else `countersign` in XDG_CACHE_HOME or ~/.cache."""
    named = os.environ.get("COUNTERSIGN_CACHE")
    if named:
        return Path(named).expanduser().resolve()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "countersign"


@contextmanager
def reporting_full_disk(place: Path) -> Iterator[None]:
    """Turns "no space left" into our own error, which says where and what to do.

    Raises:
        DiskFull: instead of OSError(ENOSPC).
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise disk_full(place) from error
        raise


def disk_full(place: Path) -> DiskFull:
    return DiskFull(
        f"the disk that holds {place} is full. Free some space (a cold build wants about 8 GB: Go's caches 7, the binaries 0.5), "
        "or name another disk: COUNTERSIGN_CACHE for the binaries, GOCACHE and GOMODCACHE for Go's own caches."
    )


def require_space(place: Path, needed: int = NEEDED_BYTES) -> None:
    """Fails before a long build rather than at its end.

    Raises:
        DiskFull: fewer than `needed` bytes are free.
    """
    place.mkdir(parents=True, exist_ok=True)
    if shutil.disk_usage(place).free < needed:
        raise disk_full(place)
