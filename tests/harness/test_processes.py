"""Processes are stopped by pid, and only the ones that were started here."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.controlplane import processes
from tests.controlplane.processes import Identity

ENV = {"PATH": os.environ["PATH"]}
SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)",
]


@pytest.fixture
def record(tmp_path: Path) -> Iterator[Path]:
    file = tmp_path / "sleeper"
    yield file
    processes.stop(file, grace=0)


def start(record: Path, command: list[str]) -> Identity:
    processes.start(record, command, env=ENV, output=record.with_suffix(".log"))
    identity = processes.read(record)
    assert identity is not None
    return identity


def until(text: str, file: Path) -> None:
    deadline = time.monotonic() + 5
    while not file.exists() or text not in file.read_text():
        assert time.monotonic() < deadline, file
        time.sleep(0.01)


def test_started_recorded_and_stopped(record: Path) -> None:
    identity = start(record, SLEEP)
    assert processes.is_alive(record)
    assert processes.started(identity.pid) == identity.started
    processes.stop(record)
    assert processes.started(identity.pid) is None
    assert not record.exists()


def test_it_is_nobodys_child_here(record: Path) -> None:
    identity = start(record, SLEEP)
    with pytest.raises(ChildProcessError):
        os.waitpid(identity.pid, os.WNOHANG)


def test_output_and_errors_go_to_their_files(record: Path, tmp_path: Path) -> None:
    output, errors = tmp_path / "out", tmp_path / "err"
    command = [sys.executable, "-c", "import sys; print('said'); print('warned', file=sys.stderr)"]
    processes.start(record, command, env=ENV, output=output, errors=errors)
    until("said", output)
    until("warned", errors)
    assert output.read_text() == "said\n"
    assert errors.read_text() == "warned\n"


def test_a_recycled_pid_is_not_ours_and_is_never_killed(record: Path) -> None:
    with subprocess.Popen(SLEEP) as stranger:
        record.write_text(f"{stranger.pid}\n1\n")
        assert not processes.is_alive(record)
        processes.stop(record)
        assert stranger.poll() is None
        assert not record.exists()
        stranger.kill()


def test_who_does_not_listen_is_made_to_end(record: Path) -> None:
    identity = start(record, STUBBORN)
    until("deaf", record.with_suffix(".log"))
    processes.stop(record, grace=0.2)
    assert processes.started(identity.pid) is None


def test_a_zombie_is_dead() -> None:
    child = subprocess.Popen(["/bin/sh", "-c", "exit 0"])
    deadline = time.monotonic() + 5
    while processes.started(child.pid) is not None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert child.wait() == 0


@pytest.mark.parametrize("content", [None, "", "12\n", "twelve\nnoon\n"])
def test_an_unreadable_record_is_no_process(record: Path, content: str | None) -> None:
    if content is not None:
        record.write_text(content)
    assert processes.read(record) is None
    assert not processes.is_alive(record)
    processes.stop(record)


def test_a_program_that_is_not_there_leaves_nothing_alive(record: Path) -> None:
    processes.start(record, ["/nonexistent/etcd"], env=ENV, output=record.with_suffix(".log"))
    until("nonexistent/etcd", record.with_suffix(".log"))
    deadline = time.monotonic() + 5
    while processes.is_alive(record):
        assert time.monotonic() < deadline
