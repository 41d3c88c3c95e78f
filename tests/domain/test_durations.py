from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from countersign.domain.durations import parse_duration, render_duration

LONGEST = "99999d99999d99999d99999d"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("1h", 3600), ("1h30m", 5400), ("24h", 86_400), ("7d", 604_800), ("1d1h1m1s", 90_061), ("0s", 0), ("007s", 7)],
)
def test_reads(text: str, seconds: int) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text", ["", "1", "h", "1.5h", "-1h", "1 h", "1h ", "1h\n", "1H", "1w", "1ms", "100000s", "1d1h1m1s1s", "٣h", "1h30", "+1h", "1_0s"]
)
def test_refuses_and_says_how(text: str) -> None:
    with pytest.raises(ValueError, match="write it like 90s, 1h30m, 24h or 7d"):
        parse_duration(text)


def test_the_longest_can_be_added_to_a_date() -> None:
    assert datetime(2100, 1, 1, tzinfo=UTC) + parse_duration(LONGEST) < datetime.max.replace(tzinfo=UTC)


@given(st.integers(0, 99_999 * 86_400))
def test_what_is_written_reads_the_same(seconds: int) -> None:
    assert parse_duration(render_duration(timedelta(seconds=seconds))) == timedelta(seconds=seconds)


@pytest.mark.parametrize(("seconds", "text"), [(0, "0s"), (0.9, "0s"), (90, "1m30s"), (86_400, "1d"), (3_600, "1h")])
def test_writes_the_shortest(seconds: float, text: str) -> None:
    assert render_duration(timedelta(seconds=seconds)) == text


def test_nothing_negative_is_written() -> None:
    with pytest.raises(ValueError, match="negative"):
        render_duration(timedelta(seconds=-1))
