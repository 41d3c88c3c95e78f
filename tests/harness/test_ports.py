"""Ports that are given out are free, different, and not those of outgoing connections."""

from __future__ import annotations

import socket
import threading

import pytest

from tests.controlplane import ports


def test_as_many_as_asked_for_all_different() -> None:
    chosen = ports.choose(20)
    assert len(set(chosen)) == 20
    assert all(ports.LOWEST <= port < ports.HIGHEST and ports.is_free(port) for port in chosen)


def test_a_port_in_use_is_not_free() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        assert not ports.is_free(port)
        assert not ports.becomes_free(port, patience=0.2)


def test_a_port_that_is_given_back_is_waited_for() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        threading.Timer(0.3, listener.close).start()
        assert ports.becomes_free(listener.getsockname()[1])


def test_taken_ports_are_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    [first, second, third] = ports.choose(3)
    monkeypatch.setattr("random.sample", lambda *_: [first, second, third])
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", first))
        listener.listen()
        assert ports.choose(2) == [second, third]


def test_none_left_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("random.sample", lambda *_: [])
    with pytest.raises(OSError, match="no 1 free ports"):
        ports.choose(1)
