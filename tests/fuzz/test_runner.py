"""`make fuzz` says what it did not do, and fails where something was found."""

import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.fuzz import __main__ as runner
from tests.fuzz import asking, decision
from tests.fuzz.__main__ import Result


def test_without_atheris_it_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(runner, "find_spec", lambda _: None)
    assert runner.run(["review", "key"], 1) == 0
    said = capsys.readouterr().out
    assert "NOT FUZZED: review, key" in said
    assert f"Python {sys.version_info.major}.{sys.version_info.minor}" in said


def test_a_finding_fails(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(runner, "find_spec", lambda _: object())
    monkeypatch.setattr(runner, "reader", lambda target, _: Result(target, 1, 10, 5, 3, "an allow" if target == "key" else ""))
    assert runner.run(["review", "key"], 2) == 1
    assert "FOUND in key: an allow" in capsys.readouterr().out


def test_what_atheris_found_is_named() -> None:
    text = "\n === Uncaught Python exception: ===\nFinding: allowed\nTest unit written to /x/finding-key-1\n"
    said = runner._finding(text, Path("log"))
    assert said.startswith("Finding: allowed\n")
    assert "/x/finding-key-1" in said


def test_lives_that_show_nothing_are_a_fault(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A fuzzer that never came to an allow has proven nothing, however green it is."""
    monkeypatch.setattr(sys, "argv", ["decision", "1"])
    monkeypatch.setattr(decision, "run", lambda *_, **__: (25, ""))
    monkeypatch.setattr(asking, "seen", Counter(Pending=30_000))
    assert decision.main() == 1
    assert "never came to Approved" in capsys.readouterr().err
