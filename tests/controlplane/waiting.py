"""Waiting for something to become true, with an error that says what it was waiting for."""

from __future__ import annotations

import time
from collections.abc import Callable

from tests.controlplane.errors import StartFailed


def until(
    condition: Callable[[], bool],
    what: str,
    *,
    timeout: float,
    pause: float = 0.1,
    explain: Callable[[], str] = lambda: "",
    give_up: Callable[[], bool] = lambda: False,
) -> None:
    """Polls until `condition` holds.

    Raises:
        StartFailed: after `timeout` seconds, or as soon as `give_up` holds; `explain` adds what is known.
    """
    deadline = time.monotonic() + timeout
    while not condition():
        if give_up():
            raise StartFailed(f"{what}: it ended\n{explain()}".rstrip())
        if time.monotonic() > deadline:
            raise StartFailed(f"{what}: not within {timeout:.0f} s\n{explain()}".rstrip())
        time.sleep(pause)
