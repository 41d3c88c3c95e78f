"""Progress is one line per step, and a sign of life where a step is long."""

from __future__ import annotations

import io
import re
import time

import pytest

from tests.controlplane.progress import Progress


def test_a_step_ends_in_one_line_with_its_seconds() -> None:
    stream = io.StringIO()
    with Progress(stream).step("compiling etcd"):
        time.sleep(0.11)
    assert re.fullmatch(r"  compiling etcd +0\.1 s\n", stream.getvalue())


def test_a_long_step_in_a_file_gets_a_line_per_tick() -> None:
    stream = io.StringIO()
    with Progress(stream, tick=0.1).step("compiling etcd"):
        time.sleep(0.35)
    lines = stream.getvalue().splitlines()
    assert 2 <= len(lines[:-1]) <= 3
    assert all(line.endswith("so far") for line in lines[:-1])
    assert lines[-1].endswith("s")


def test_on_a_terminal_it_is_written_over() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    with Progress(stream, tick=0.1).step("compiling etcd"):
        time.sleep(0.25)
    assert stream.getvalue().count("\n") == 1
    assert stream.getvalue().count("\r") >= 3


def test_a_failed_step_says_so_and_hides_nothing() -> None:
    stream = io.StringIO()
    with pytest.raises(ZeroDivisionError), Progress(stream).step("compiling etcd"):
        _ = 1 // 0
    assert stream.getvalue().endswith("s  failed\n")


def test_quiet_is_quiet() -> None:
    stream = io.StringIO()
    progress = Progress(stream, quiet=True, tick=0.01)
    with progress.step("compiling etcd"):
        progress.say("hello")
        time.sleep(0.05)
    assert stream.getvalue() == ""
