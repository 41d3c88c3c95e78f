"""`make test` runs every stage, side by side where told to, and fails if one of them does."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from tests import stages


@pytest.fixture(autouse=True)
def fake_make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prints the target; `bad` fails; `slow` and `quick` can only end together, whichever is started first."""
    make = tmp_path / "make"
    meet = "touch %s; while [ ! -e %s ]; do sleep 0.05; done"
    slow, quick = tmp_path / "slow", tmp_path / "quick"
    make.write_text(
        f"#!/bin/sh\necho output of $2\ncase $2 in bad) exit 2;; slow) {meet % (slow, quick)};; quick) {meet % (quick, slow)};; esac\n"
    )
    make.chmod(make.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("MAKE", str(make))
    monkeypatch.setattr(stages, "LOGS", tmp_path / "stages")


def test_all_pass(capfd: pytest.CaptureFixture[str]) -> None:
    assert stages.main(["one", "two"]) == 0
    said = capfd.readouterr().out
    assert said.index("== one") < said.index("output of one") < said.index("== two") < said.index("output of two")
    assert "one        passed in 0 s" in said
    assert "passed in" in said.splitlines()[-1]


def test_side_by_side(capfd: pytest.CaptureFixture[str]) -> None:
    assert stages.main(["slow+quick"]) == 0
    said = capfd.readouterr().out
    assert "beside it, shown when they have ended: quick" in said
    assert said.index("== quick: what it printed") < said.index("output of quick")


def test_two_at_a_time(capfd: pytest.CaptureFixture[str]) -> None:
    assert stages.main(["one+slow+quick+two"]) == 0
    said = capfd.readouterr().out
    assert all(f"output of {name}" in said for name in ("one", "slow", "quick", "two"))


def test_one_fails_and_all_run(capfd: pytest.CaptureFixture[str]) -> None:
    assert stages.main(["one", "bad", "slow+quick"]) == 1
    said = capfd.readouterr().out
    assert "bad        FAILED" in said
    assert "output of quick" in said
    assert said.splitlines()[-1].endswith(": bad")


def test_a_hidden_one_fails(capfd: pytest.CaptureFixture[str]) -> None:
    assert stages.main(["one+bad"]) == 1
    assert "output of bad" in capfd.readouterr().out
