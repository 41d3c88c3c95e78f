"""One line per step, with its seconds: live on a terminal, every 15 seconds where the output is a file."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

TERMINAL_TICK = 1.0
FILE_TICK = 15.0
WIDTH = 62


def line(title: str, seconds: float, note: str = "") -> str:
    return f"  {title:<{WIDTH}} {seconds:6.1f} s{f'  {note}' if note else ''}"


class Progress:
    """Writes steps to one stream. Steps do not nest."""

    def __init__(self, stream: TextIO | None = None, *, quiet: bool = False, tick: float | None = None) -> None:
        self._stream = stream or sys.stdout
        self._quiet = quiet
        self._terminal = self._stream.isatty()
        self._tick = tick or (TERMINAL_TICK if self._terminal else FILE_TICK)

    def say(self, text: str) -> None:
        if not self._quiet:
            print(text, file=self._stream, flush=True)

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Prints the title with its seconds when it ends; while it runs, ticks."""
        begun = time.monotonic()
        ended = threading.Event()
        ticker = threading.Thread(target=self._ticks, args=(title, begun, ended), daemon=True)
        if not self._quiet:
            ticker.start()
        note = "failed"
        try:
            yield
            note = ""
        finally:
            ended.set()
            if not self._quiet:
                ticker.join()
                self._clear()
                self.say(line(title, time.monotonic() - begun, note))

    def _ticks(self, title: str, begun: float, ended: threading.Event) -> None:
        while not ended.wait(self._tick):
            text = line(title, time.monotonic() - begun, "so far")
            print(f"\r{text}" if self._terminal else text, end="" if self._terminal else "\n", file=self._stream, flush=True)

    def _clear(self) -> None:
        if self._terminal:
            print("\r\x1b[K", end="", file=self._stream, flush=True)
