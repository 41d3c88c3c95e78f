from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from countersign.wire.times import parse_time, render_time


def test_reads_utc() -> None:
    assert parse_time("2026-11-22T21:00:00Z") == datetime(2026, 11, 22, 21, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-11-22",
        "2026-11-22T21:00:00",
        "2026-11-22T21:00:00+00:00",
        "2026-11-22T21:00:00.5Z",
        "2026-11-22 21:00:00Z",
        "2026-11-22T21:00:00z",
        "2026-11-22T21:00:00Z\n",
        "٢026-11-22T21:00:00Z",
    ],
)
def test_refuses_other_notations(text: str) -> None:
    with pytest.raises(ValueError, match="write it like 2026-11-22T21:00:00Z"):
        parse_time(text)


@pytest.mark.parametrize("text", ["2026-02-31T00:00:00Z", "2026-13-01T00:00:00Z", "2026-01-01T24:00:01Z", "0000-01-01T00:00:00Z"])
def test_refuses_dates_that_are_not(text: str) -> None:
    with pytest.raises(ValueError, match="is no date"):
        parse_time(text)


@given(st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC)))  # noqa: DTZ001  # the bounds are naive by contract
def test_what_is_written_reads_the_same_but_for_fractions(time: datetime) -> None:
    assert parse_time(render_time(time)) == time.replace(microsecond=0)


def test_another_zone_is_turned_into_utc() -> None:
    assert render_time(datetime(2026, 11, 22, 21, tzinfo=timezone(timedelta(hours=2)))) == "2026-11-22T19:00:00Z"


def test_a_time_without_a_zone_is_not_written() -> None:
    with pytest.raises(ValueError, match="UTC"):
        render_time(datetime(2026, 11, 22))  # noqa: DTZ001  # that is the point
