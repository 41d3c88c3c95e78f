"""Heads that were noted outside of a log show that its end was cut off, or that it was made anew."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from countersign.domain.checkpoint import Head, head_of, lost, noted
from countersign.domain.record import Link, verify

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def log(count: int = 5, process: str = "p1", word: str = "kiro") -> tuple[list[str], list[Head]]:
    """The lines of one process, and its head after each of them."""
    link, lines, heads = Link("webhook-a", process), [], []
    for number in range(count):
        line, link = link.append({"user": word, "n": number})
        lines.append(line)
        heads.append(head_of(link, NOW + timedelta(minutes=number)))
    return lines, heads


def said(lines: list[str], *heads: Head, whole: bool = True) -> tuple[str, ...]:
    result = verify(lines, whole=whole)
    assert not result.faults, "what the chain shows by itself is another test's"
    return lost(heads, result.chains, whole=whole)


@pytest.mark.parametrize("number", range(5))
def test_a_whole_log_holds_whatever_was_noted_of_it(number: int) -> None:
    lines, heads = log()
    assert said(lines, heads[number]) == ()


def test_an_end_that_was_cut_off() -> None:
    lines, heads = log()
    (sentence,) = said(lines[:3], heads[4])
    assert sentence == (
        "the process webhook-a/p1 ends with number 2, and its record number 4 was noted at 2026-11-22T12:04:00.000000Z: the end was cut off."
    )
    assert said(lines[:3], heads[2]) == (), "what was noted before still holds"


def test_a_chain_that_was_made_anew() -> None:
    """Whoever can write the log can write a whole chain that verifies by itself."""
    _, heads = log()
    forged, _ = log(word="alice")
    (sentence,) = said(forged, heads[3])
    assert "has another record number 3 than the one noted" in sentence


def test_a_process_that_is_missing_as_a_whole() -> None:
    lines, _ = log()
    _, others = log(process="p2")
    (sentence,) = said(lines, others[4])
    assert sentence.startswith("nothing of the process webhook-a/p2 is there")


def test_a_rotated_log_may_lack_what_has_ended_and_nothing_else() -> None:
    lines, heads = log()
    _, others = log(process="p2")
    assert said(lines, replace(others[4], ended=True), whole=False) == ()
    assert said(lines, others[4], whole=False), "it still runs"
    assert said(lines[:3], replace(heads[4], ended=True), whole=False), "of what is there the end may not lack"
    assert said(lines[2:], heads[4], whole=False) == ()


class TestTheList:
    def test_a_head_never_goes_back(self) -> None:
        _, heads = log()
        assert noted(noted((), [heads[3]]), [heads[1]]) == (heads[3],)
        assert noted((heads[1],), [heads[3]]) == (heads[3],)

    def test_what_stands_is_not_replaced_by_another_of_the_same_number(self) -> None:
        _, heads = log()
        _, forged = log(word="alice")
        assert noted((heads[3],), [forged[3]]) == (heads[3],)
        assert noted((heads[3],), [replace(forged[3], ended=True)]) == (heads[3],)

    def test_an_end_is_remembered(self) -> None:
        _, heads = log()
        ended = replace(heads[3], ended=True)
        assert noted((heads[3],), [ended]) == (ended,)
        assert noted((ended,), [heads[3]]) == (ended,)

    def test_each_process_has_its_own(self) -> None:
        _, one = log()
        _, other = log(process="p2")
        assert set(noted((one[0],), [other[1], one[2]])) == {one[2], other[1]}

    def test_past_its_bound_the_ended_ones_go_first_then_the_oldest(self) -> None:
        heads = [Head("w", f"p{number}", 1, "h", NOW + timedelta(days=number), ended=number == 3) for number in range(5)]
        assert [head.process for head in noted((), heads, most=4)] == ["p0", "p1", "p2", "p4"]
        assert [head.process for head in noted((), heads, most=2)] == ["p2", "p4"]
