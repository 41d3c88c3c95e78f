"""The decision log: one JSON object a line on stdout, chained (domain/record.py), and handed to the system before the answer is given."""

import errno
import os
import secrets
import select
from collections.abc import Mapping
from typing import Final

from countersign.domain.record import Link, start
from countersign.service.ports import Clock

STDOUT: Final = 1
PATIENCE: Final = 1.0
"""Seconds to wait for a reader that takes nothing. All decisions wait with it; after that they are refusals."""

_PIECE: Final = select.PIPE_BUF  # a pipe that polls as writable takes so much without blocking


class StreamDecisionLog:
    """The `DecisionLog` port on a file descriptor (a pipe, as a rule). Construction writes the record that the process begins with.

    Raises OSError where a record cannot be written; the record then does not stand in the chain.
    """

    def __init__(self, *, replica: str, version: str, clock: Clock, descriptor: int = STDOUT, patience: float = PATIENCE) -> None:
        self._descriptor = descriptor
        self._patience = patience
        self._link = Link(replica=replica, process=secrets.token_hex(8))
        self._torn = False
        self.append(start(now=clock.now(), version=version))

    @property
    def link(self) -> Link:
        """Where the log stands: behind its last record."""
        return self._link

    def append(self, record: Mapping[str, object]) -> None:
        line, link = self._link.append(record)
        self._write((b"\n" if self._torn else b"") + line.encode("ascii") + b"\n")
        self._link = link

    def _write(self, data: bytes) -> None:
        """Not `select.select`: it knows descriptors up to 1023 only. Not a non-blocking descriptor: others may share it."""
        rest = memoryview(data)
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        while rest:
            if not poll.poll(self._patience * 1000):
                raise OSError(errno.ETIMEDOUT, "the reader of the decision log takes nothing")
            written = os.write(self._descriptor, rest[:_PIECE])
            rest = rest[written:]
            self._torn = bool(rest)
