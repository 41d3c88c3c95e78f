"""No end-to-end test is lost between two shares."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e import sharing

FILES = [*["a.py"] * 30, *["b.py"] * 20, *["c.py"] * 11, "d.py"]


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_each_file_is_in_one_share(count: int) -> None:
    shares = [sharing.of(f"{number}/{count}", FILES, {}) for number in range(1, count + 1)]
    assert sorted(file for share in shares for file in share) == ["a.py", "b.py", "c.py", "d.py"]


def test_shares_are_alike() -> None:
    assert sharing.of("1/2", FILES, {}) == {"a.py", "d.py"}
    assert sharing.of("2/2", FILES, {}) == {"b.py", "c.py"}


def test_order_has_no_say() -> None:
    assert sharing.of("1/2", list(reversed(FILES)), {}) == sharing.of("1/2", FILES, {})


@pytest.mark.parametrize("share", ["0/2", "3/2", "1"])
def test_what_is_no_share(share: str) -> None:
    with pytest.raises(ValueError, match=r"E2E_SHARE|unpack"):
        sharing.of(share, FILES, {})


def test_what_takes_long_weighs_more_than_its_number_of_tests() -> None:
    assert sharing.of("1/2", FILES, {"d.py": 300.0}) == {"d.py"}


def test_what_is_measured_is_there() -> None:
    there = {file.name for file in Path(sharing.MEASURED).parent.glob("test_*.py")} | {"test_commands.py"}
    assert set(sharing.measured()) <= there, "E2E_MEASURE=yes make e2e, and take out what is gone"


def test_what_is_left_out_is_counted() -> None:
    assert sharing.left_out("d b", FILES) == {"a.py": 30, "c.py": 11}
    assert sharing.left_out("", FILES) == {}


def test_a_file_that_is_not_there_cannot_be_taken() -> None:
    with pytest.raises(ValueError, match=r"E2E_ONLY names no file of these suites: e\.py"):
        sharing.left_out("a e", FILES)
