"""Who would have been held: counted by requester over seven days, bounded, and only what the cluster shows to have happened."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from countersign.domain.answer import Answer, Reason
from countersign.domain.request import Operation, Request, UserInfo
from countersign.domain.resources import Target
from countersign.domain.trial import IN_ALL, OF_ONE, Gathering, Sighting, Trial, fold, happened, sighting_of

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
TARGET = Target("", "v1", "namespaces", "payments", "", "uid-1")
EMPTY = Trial(NOW)


def seen(username: str = "alice", at: datetime = NOW, **changes: Any) -> Sighting:
    return replace(Sighting(("trial",), username, "Human", "DELETE", TARGET, at), **changes)


def request(**changes: Any) -> Request:
    old = {"metadata": {"name": "payments", "uid": "uid-1"}}
    made = Request("r", Operation.DELETE, "", "v1", "namespaces", "", "payments", "payments", UserInfo("alice"), None, old, dry_run=False)
    return replace(made, **changes)


LET_THROUGH = Answer(allowed=True, reason=Reason.AUDIT, chain={"environments": ["trial"], "kind": "Human"})


class TestWhatIsTold:
    def test_what_passed_only_for_the_mode(self) -> None:
        assert sighting_of(request(), LET_THROUGH, NOW) == seen()

    @pytest.mark.parametrize("reason", [reason for reason in Reason if reason is not Reason.AUDIT])
    def test_nothing_else(self, reason: Reason) -> None:
        assert sighting_of(request(), replace(LET_THROUGH, reason=reason), NOW) is None

    def test_no_refusal_and_no_dry_run(self) -> None:
        assert sighting_of(request(), replace(LET_THROUGH, allowed=False), NOW) is None
        assert sighting_of(request(dry_run=True), LET_THROUGH, NOW) is None

    def test_a_forged_name_is_cut(self) -> None:
        told = sighting_of(request(user=UserInfo("x" * 100_000), name="y" * 100_000), LET_THROUGH, NOW)
        assert told is not None
        assert (len(told.username), len(told.target.name)) == (1024, 253)


class TestWhetherItHappened:
    @pytest.mark.parametrize(
        ("live", "answer"),
        [
            pytest.param(None, True, id="gone"),
            pytest.param({"metadata": {"uid": "uid-2"}}, True, id="another of its name"),
            pytest.param({"metadata": {"uid": "uid-1", "deletionTimestamp": "2026-11-22T12:00:00Z"}}, True, id="going"),
            pytest.param({"metadata": {"uid": "uid-1"}}, False, id="still there: somebody posted a review by himself"),
        ],
    )
    def test_a_deletion(self, live: dict[str, Any] | None, answer: bool) -> None:
        assert happened(seen(), live) is answer

    def test_an_update_of_what_is_there(self) -> None:
        assert happened(seen(operation="UPDATE"), {"metadata": {"uid": "uid-1"}})
        assert not happened(seen(operation="UPDATE"), None)


class TestTheWeek:
    def test_requesters_are_counted_each_by_itself(self) -> None:
        trial = fold(EMPTY, [seen(), seen("bob"), seen(at=NOW + timedelta(minutes=1))], NOW + timedelta(minutes=2))
        assert [(each.username, each.count) for each in trial.listed] == [("alice", 2), ("bob", 1)]
        assert trial.requests == 3

    def test_the_latest_is_the_example_in_whatever_order_they_come(self) -> None:
        first, last = seen(), seen(at=NOW + timedelta(minutes=1), operation="UPDATE", target=replace(TARGET, name="ledger"))
        for order in ([first, last], [last, first]):
            (alice,) = fold(EMPTY, order, NOW + timedelta(minutes=2)).listed
            assert (alice.example.name, alice.operation, alice.last) == ("ledger", "UPDATE", last.at)

    def test_after_seven_days_a_day_is_forgotten(self) -> None:
        trial = fold(EMPTY, [seen(), seen(at=NOW + timedelta(days=3))], NOW + timedelta(days=3))
        assert trial.requests == 2
        assert fold(trial, [], NOW + timedelta(days=6)).requests == 2
        assert fold(trial, [], NOW + timedelta(days=7)).requests == 1
        assert fold(trial, [], NOW + timedelta(days=10)).listed == ()
        assert fold(trial, [], NOW + timedelta(days=10)).since == NOW

    def test_what_is_told_too_late_counts_no_more(self) -> None:
        assert fold(EMPTY, [seen()], NOW + timedelta(days=7)).listed == ()

    def test_names_that_somebody_makes_up_push_nobody_out(self) -> None:
        trial = fold(EMPTY, [seen("zoe")], NOW)
        flooded = fold(trial, [seen(f"made-up-{number:04}") for number in range(1000)], NOW, most=50)
        assert len(flooded.listed) == 50
        assert "zoe" in {each.username for each in flooded.listed}
        assert (flooded.unlisted, flooded.requests) == (951, 1001)
        assert fold(flooded, [], NOW + timedelta(days=7), most=50).unlisted == 0


class TestGathering:
    def test_it_is_emptied_by_taking(self) -> None:
        gathering = Gathering([seen("bob", NOW + timedelta(1)), seen()])
        assert bool(gathering)
        assert [each.username for each in gathering.take()] == ["alice", "bob"]
        assert not gathering
        assert gathering.take() == ()

    def test_of_one_who_is_busy_the_number_is_right_and_the_rest_is_bounded(self) -> None:
        gathering = Gathering(seen(target=replace(TARGET, uid=f"uid-{number}")) for number in range(1000))
        taken = gathering.take()
        assert len(taken) == OF_ONE
        assert fold(EMPTY, taken, NOW).requests == 1000

    def test_what_the_api_server_asks_twice_counts_once(self) -> None:
        later = NOW + timedelta(milliseconds=5)
        gathering = Gathering([seen(), seen(at=later), seen(operation="UPDATE"), seen("bob"), seen(target=replace(TARGET, uid="uid-2"))])
        assert len(gathering.take()) == 4
        gathering.add(seen())
        assert len(gathering.take()) == 1

    def test_of_very_many_some_are_dropped_and_counted(self) -> None:
        gathering = Gathering(seen(f"user-{number}") for number in range(IN_ALL + 7))
        assert gathering.dropped == 7
        assert len(gathering.take()) == IN_ALL
        assert gathering.dropped == 0
