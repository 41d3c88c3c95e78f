"""Free ports on loopback."""

from __future__ import annotations

import random
import socket
import time
from contextlib import ExitStack

# Below the range from which the system takes ports for outgoing connections: a port chosen there could be gone a second later.
LOWEST, HIGHEST = 20000, 32000
TRIES = 200


def _bound(port: int) -> socket.socket | None:
    """A socket on 127.0.0.1:port, or None where somebody has it."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
    except OSError:
        listener.close()
        return None
    return listener


def is_free(port: int) -> bool:
    listener = _bound(port)
    if listener is None:
        return False
    listener.close()
    return True


def becomes_free(port: int, patience: float = 5.0) -> bool:
    """The same, with some patience: a killed process is gone a moment before its sockets are."""
    deadline = time.monotonic() + patience
    while not is_free(port):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def choose(count: int) -> list[int]:
    """As many different free ports; all are held until the last is found, so that none is given twice."""
    chosen: list[int] = []
    with ExitStack() as held:
        for port in random.sample(range(LOWEST, HIGHEST), TRIES + count):
            if len(chosen) == count:
                break
            listener = _bound(port)
            if listener is not None:
                held.enter_context(listener)
                chosen.append(port)
    if len(chosen) < count:
        raise OSError(f"no {count} free ports between {LOWEST} and {HIGHEST} on 127.0.0.1")
    return chosen
