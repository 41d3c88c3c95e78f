"""The decision log on a descriptor and the one in memory keep the same promises; the real one also meets what pipes do."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from countersign.adapters.decision_log import StreamDecisionLog
from countersign.domain.record import verify
from countersign.service.ports import DecisionLog
from tests.support.memory_log import MemoryDecisionLog


class StoppedClock:
    def now(self) -> datetime:
        return datetime(2026, 11, 22, tzinfo=UTC)

    def monotonic(self) -> float:
        return 0.0


@dataclass
class Bench:
    log: DecisionLog
    lines: Callable[[], list[str]]
    break_it: Callable[[], None]


@pytest.fixture(params=["memory", "file", "pipe"])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    if request.param == "memory":
        memory = MemoryDecisionLog(replica="r", clock=StoppedClock())

        def break_memory() -> None:
            memory.broken = True

        yield Bench(memory, lambda: list(memory.lines), break_memory)
    elif request.param == "file":
        path = tmp_path / "log"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        log = StreamDecisionLog(replica="r", version="0", clock=StoppedClock(), descriptor=descriptor)

        def break_file() -> None:
            read_only = os.open(path, os.O_RDONLY)
            os.dup2(read_only, descriptor)
            os.close(read_only)

        yield Bench(log, lambda: path.read_text().splitlines(), break_file)
        os.close(descriptor)
    else:
        reader = Reader()
        log = StreamDecisionLog(replica="r", version="0", clock=StoppedClock(), descriptor=reader.descriptor)
        yield Bench(log, reader.lines, reader.hang_up)
        reader.close()


class Reader:
    """Reads a pipe as a container runtime does, in a thread."""

    def __init__(self) -> None:
        self._end, self.descriptor = os.pipe()
        self._data = b""
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        while chunk := os.read(self._end, 65536):
            with self._changed:
                self._data += chunk
                self._changed.notify_all()

    def lines(self) -> list[str]:
        with self._changed:
            self._changed.wait_for(lambda: self._data.endswith(b"END\n"), timeout=0.3)
            return self._data.decode().splitlines()

    def hang_up(self) -> None:
        gone, dead = os.pipe()
        os.close(gone)
        os.dup2(dead, self.descriptor)
        os.close(dead)
        self._thread.join(5)

    def close(self) -> None:
        os.close(self.descriptor)
        self._thread.join(5)
        os.close(self._end)


def test_it_begins_with_the_start_of_the_process(bench: Bench) -> None:
    first, *rest = bench.lines()
    assert '"start":' in first
    assert rest == []


def test_what_is_appended_stands_there_as_a_chain_of_lines(bench: Bench) -> None:
    for number in range(5):
        bench.log.append({"user": f"u{number}", "text": "line\nbreak é \x00"})
    lines = bench.lines()
    assert len(lines) == 6
    assert [f'"u{number}"' in lines[number + 1] for number in range(5)] == [True] * 5
    assert verify(lines).faults == ()


def test_long_records_stand_on_one_line(bench: Bench) -> None:
    bench.log.append({"environments": ["e" * 60] * 2000})
    bench.log.append({})
    lines = bench.lines()
    assert [len(line) > 100_000 for line in lines] == [False, True, False]
    assert verify(lines).faults == ()


def test_what_cannot_be_written_is_an_error(bench: Bench) -> None:
    bench.log.append({"n": 1})
    before = bench.lines()
    bench.break_it()
    with pytest.raises(OSError, match=r"told to fail|Bad file descriptor|Broken pipe"):
        bench.log.append({"n": 2})
    assert bench.lines() == before


# --- what only a pipe does


def small_pipe() -> tuple[int, int]:
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    return reading, writing


def drained(reading: int) -> bytes:
    data = b""
    while True:
        try:
            chunk = os.read(reading, 1 << 20)
        except BlockingIOError:
            return data
        if not chunk:
            return data
        data += chunk


def test_a_reader_that_takes_nothing_makes_an_error_in_bounded_time_and_the_chain_goes_on() -> None:
    reading, writing = small_pipe()
    log = StreamDecisionLog(replica="r", version="0", clock=StoppedClock(), descriptor=writing, patience=0.2)

    def fill() -> None:
        for number in range(3000):
            log.append({"n": number})

    with pytest.raises(OSError, match="takes nothing"):
        fill()
    began = time.monotonic()
    with pytest.raises(OSError, match="takes nothing"):
        log.append({"n": "again"})
    assert 0.1 < time.monotonic() - began < 2
    whole = drained(reading)
    log.append({"n": "after"})
    lines = (whole + drained(reading)).decode().splitlines()
    assert '"after"' in lines[-1]
    assert verify(lines).faults == ()
    os.close(reading)
    os.close(writing)


def test_a_line_that_was_torn_is_found_and_the_next_stands_by_itself() -> None:
    reading, writing = small_pipe()
    log = StreamDecisionLog(replica="r", version="0", clock=StoppedClock(), descriptor=writing, patience=0.2)
    with pytest.raises(OSError, match="takes nothing"):
        log.append({"environments": ["e" * 60] * 5000})  # more than a pipe holds
    whole = drained(reading)
    log.append({"n": "after"})
    lines = (whole + drained(reading)).decode().splitlines()
    assert len(lines) == 3
    faults = verify(lines).faults
    assert [fault.line for fault in faults] == [2]
    os.close(reading)
    os.close(writing)


def test_a_reader_that_is_gone_is_an_error_and_no_signal() -> None:
    reading, writing = os.pipe()
    log = StreamDecisionLog(replica="r", version="0", clock=StoppedClock(), descriptor=writing)
    os.close(reading)
    with pytest.raises(BrokenPipeError):
        log.append({"n": 1})
    os.close(writing)


def test_every_process_has_a_name_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "log"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for _ in range(2):
        StreamDecisionLog(replica="r", version="0", clock=StoppedClock(), descriptor=descriptor).append({"n": 1})
    os.close(descriptor)
    result = verify(path.read_text().splitlines())
    assert result.faults == ()
    assert len(result.chains) == 2
