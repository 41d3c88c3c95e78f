"""`make test`: its stages one after the other, those that mostly wait side by side, and a summary.

Each stage is a target of the Makefile. Of those that run side by side the first is shown as it runs, the others when they have ended.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

ROOT: Final = Path(__file__).resolve().parents[1]
LANES: Final = 3
TIME_TO_CLEAR_UP: Final = 60.0
LOGS: Final = ROOT / "build" / "stages"


@dataclass(frozen=True)
class Ended:
    stage: str
    seconds: float
    status: int

    @property
    def line(self) -> str:
        return f"  {self.stage:<10} {'passed' if self.status == 0 else 'FAILED'} in {self.seconds:.0f} s"


class Stage:
    """One target, running. What a hidden one prints goes into a file."""

    def __init__(self, name: str, *, hidden: bool) -> None:
        self.name = name
        self._begun = time.monotonic()
        self._log = LOGS / f"{name}.log"
        self._output: IO[bytes] | None = None
        if hidden:
            LOGS.mkdir(parents=True, exist_ok=True)
            self._output = self._log.open("wb")
        command = [os.environ.get("MAKE", "make"), "--no-print-directory", name]
        self._process = subprocess.Popen(command, cwd=ROOT, stdout=self._output, stderr=subprocess.STDOUT if hidden else None)
        self._ended: Ended | None = None

    def poll(self) -> Ended | None:
        """Set once it has ended, at its own time and not when somebody asks again."""
        status = self._process.poll()
        if self._ended is None and status is not None:
            self._ended = Ended(self.name, time.monotonic() - self._begun, status)
        return self._ended

    def show(self) -> None:
        if self._output is not None:
            self._output.close()
            print(f"== {self.name}: what it printed", flush=True)
            sys.stdout.buffer.write(self._log.read_bytes())
            sys.stdout.flush()

    def stop(self) -> None:
        """After an interrupt, which it has heard as well: it takes its own cluster down before it ends."""
        if self._process.poll() is None:
            try:
                self._process.wait(TIME_TO_CLEAR_UP)
            except subprocess.TimeoutExpired:
                self._process.terminate()


def run_group(names: Sequence[str]) -> list[Ended]:
    """Side by side, at most `LANES` at once."""
    beside = f" (beside it, shown when they have ended: {', '.join(names[1:])})" if names[1:] else ""
    print(f"== {names[0]}{beside}", flush=True)
    waiting, stages = list(names), [Stage(names[0], hidden=False)]
    waiting.remove(names[0])
    try:
        while True:
            ended = [found for stage in stages if (found := stage.poll()) is not None]
            if waiting and len(stages) - len(ended) < LANES:
                stages.append(Stage(waiting.pop(0), hidden=True))
            elif len(ended) == len(names):
                break
            else:
                time.sleep(0.2)
    finally:
        for stage in stages:
            stage.stop()
    for stage in stages:
        stage.show()
    return ended


def main(groups: Sequence[str]) -> int:
    """`groups`: stages, those to run side by side joined by `+`."""
    cluster = os.environ.get("CLUSTER") or "local"
    begun = time.monotonic()
    ended = [result for group in groups for result in run_group(group.split("+"))]
    print("\n" + "\n".join(result.line for result in ended))
    failed = [result.stage for result in ended if result.status != 0]
    seconds = f"in {time.monotonic() - begun:.0f} s"
    print(f"make test (CLUSTER={cluster}) " + (f"FAILED {seconds}: {', '.join(failed)}" if failed else f"passed {seconds}"))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
