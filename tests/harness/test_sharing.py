"""No end-to-end test is lost between two shares."""

from __future__ import annotations

import pytest

from tests.e2e import sharing

FILES = [*["a.py"] * 30, *["b.py"] * 20, *["c.py"] * 11, "d.py"]


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_each_file_is_in_one_share(count: int) -> None:
    shares = [sharing.of(f"{number}/{count}", FILES) for number in range(1, count + 1)]
    assert sorted(file for share in shares for file in share) == ["a.py", "b.py", "c.py", "d.py"]


def test_shares_are_alike() -> None:
    assert sharing.of("1/2", FILES) == {"a.py", "d.py"}
    assert sharing.of("2/2", FILES) == {"b.py", "c.py"}


def test_order_has_no_say() -> None:
    assert sharing.of("1/2", list(reversed(FILES))) == sharing.of("1/2", FILES)


@pytest.mark.parametrize("share", ["0/2", "3/2", "1"])
def test_what_is_no_share(share: str) -> None:
    with pytest.raises(ValueError, match=r"E2E_SHARE|unpack"):
        sharing.of(share, FILES)


def test_what_is_left_out_is_counted() -> None:
    assert sharing.left_out("d b", FILES) == {"d.py": 1, "b.py": 20}
    assert sharing.left_out("", FILES) == {}


def test_a_file_that_is_not_there_cannot_be_left_out() -> None:
    with pytest.raises(ValueError, match=r"E2E_LEAVE_OUT names no file of tests/e2e: e\.py"):
        sharing.left_out("a e", FILES)
