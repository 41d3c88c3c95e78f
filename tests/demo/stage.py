"""How the demo speaks: titles, sentences, prompts and output, paced so that a person can follow."""

from __future__ import annotations

import os
import subprocess
import textwrap
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TextIO

from tests.demo.person import Person, Ran

WIDTH = 100
PACE = 1.2
_BOLD, _DIM, _RED, _GREEN, _PLAIN = "\x1b[1m", "\x1b[2m", "\x1b[31m", "\x1b[32m", "\x1b[0m"


class Surprise(Exception):
    """Something differed from the story; the text says what."""


def expect(truth: bool, sentence: str) -> None:
    """
    Raises:
        Surprise
    """
    if not truth:
        raise Surprise(sentence)


def pace(environment: Mapping[str, str], *, terminal: bool) -> float:
    """Seconds between two sentences. PACE wins; without a terminal, or in CI, nobody is there to wait for.

    Raises:
        Surprise: PACE is not a number of seconds
    """
    text = environment.get("PACE", "")
    if not text:
        return PACE if terminal and not environment.get("CI") else 0.0
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    expect(0 <= seconds <= 60, f"PACE={text!r}: give the seconds between two sentences, from 0 to 60")
    return seconds


@dataclass(frozen=True, slots=True)
class Stage:
    out: TextIO
    pace: float
    colours: bool

    @classmethod
    def on(cls, out: TextIO) -> Stage:
        """
        Raises:
            Surprise
        """
        terminal = out.isatty()
        return cls(out, pace(os.environ, terminal=terminal), terminal and "NO_COLOR" not in os.environ)

    def title(self, number: int, of: int, text: str) -> None:
        head = f"── {number} of {of} · {text} "
        self._print()
        self._print(self._in(_BOLD, head + "─" * max(2, WIDTH - len(head))))
        self._wait()

    def say(self, text: str) -> None:
        self._print()
        for line in textwrap.wrap(" ".join(text.split()), WIDTH):
            self._print(self._in(_DIM, line))
        # Long sentences take longer to read.
        self._wait(1 + len(text) / 300)

    def plain(self, text: str) -> None:
        self._print(text)

    def good(self, text: str) -> None:
        self._print(self._in(_GREEN, text))

    def bad(self, text: str) -> None:
        self._print(self._in(_RED, text))

    def types(self, person: Person, command: str, *, timeout: float = 120) -> Ran:
        """Shows the command at the person's prompt, runs it, shows what came out.

        Raises:
            Surprise: it did not end in time
        """
        first, *others = command.rstrip("\n").split("\n")
        self._print()
        self._print(f"{self._in(_BOLD, f'{person.name}$')} {first}")
        for line in others:
            self._print(f"> {line}")
        self._wait(0.5)
        try:
            ran = person.run(command, timeout=timeout)
        except subprocess.TimeoutExpired as error:
            raise Surprise(f"`{first}` did not end within {timeout:.0f} s") from error
        if ran.text.strip():
            self._print(ran.text.rstrip("\n"))
        self._wait(0.5 + min(ran.text.count("\n"), 10) / 5)
        return ran

    def _print(self, text: str = "") -> None:
        print(text, file=self.out, flush=True)

    def _in(self, colour: str, text: str) -> str:
        return f"{colour}{text}{_PLAIN}" if self.colours else text

    def _wait(self, times: float = 1.0) -> None:
        if self.pace:
            time.sleep(self.pace * times)
