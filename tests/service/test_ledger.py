"""The operator takes the notes: heads into one list, who would have been held into status; nothing is lost, nothing counted twice."""

from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest

from countersign.domain.checkpoint import head_of
from countersign.domain.document import JsonObject
from countersign.domain.notes import Heads, Note, Waiting
from countersign.domain.record import Link
from countersign.domain.resources import Mode, ProtectedEnvironment
from countersign.domain.trial import Sighting
from countersign.service.ledger import Ledger
from countersign.service.ports import ApiError, ConflictError
from countersign.wire.resources.trial import TrialStatus
from tests.domain.test_trial import TARGET
from tests.support.objects import NOW, environment, snapshot
from tests.support.operator import HandClock, MemoryStatuses, Targets

TRIAL = environment("trial", mode=Mode.AUDIT)
ENFORCED = environment("enforced")
GONE: dict[str, JsonObject] = {}
STILL_THERE: dict[str, JsonObject] = {"payments": {"metadata": {"uid": "uid-1"}}}


@dataclass
class Inbox:
    lying: dict[str, Note | None] = field(default_factory=dict)
    known: Heads = field(default_factory=Heads)
    kept: int = 0
    failing: Exception | None = None

    async def waiting(self) -> list[Waiting]:
        return [Waiting(name, f"uid-of-{name}", note) for name, note in self.lying.items()]

    async def remove(self, name: str, uid: str) -> None:
        assert uid == f"uid-of-{name}"
        del self.lying[name]

    async def heads(self) -> Heads:
        return self.known

    async def keep(self, heads: Heads) -> None:
        if self.failing:
            raise self.failing
        assert heads.version == self.known.version
        self.kept += 1
        self.known = replace(heads, version=str(self.kept))


class Operator:
    def __init__(self, inbox: Inbox | None = None, statuses: MemoryStatuses | None = None) -> None:
        self.inbox, self.statuses, self.clock, self.targets = inbox or Inbox(), statuses or MemoryStatuses(), HandClock(), Targets(GONE)
        self.link = Link("operator-a", "own").append({"start": {}})[1]
        self.ledger = Ledger(
            self.inbox, self.targets, self.statuses, self.clock, TrialStatus(), lambda: self.link, every=timedelta(seconds=10)
        )

    async def look(self, *environments: ProtectedEnvironment) -> None:
        self.clock.forward(timedelta(seconds=11))
        await self.ledger.reconcile(snapshot(*(environments or (TRIAL, ENFORCED))))

    def would_hold(self, name: str = "trial") -> Any:
        each = snapshot(TRIAL, ENFORCED).environments[name]
        return self.statuses.current("protectedenvironments", name, each.meta.uid).get("wouldHold")


def seen(username: str = "alice", **changes: Any) -> Sighting:
    return replace(Sighting(("trial",), username, "Human", "DELETE", TARGET, NOW), **changes)


def note(number: int = 1, *sightings: Sighting, process: str = "p1", records: int = 3, ended: bool = False) -> Note:
    link = Link("webhook-a", process)
    for each in range(records):
        link = link.append({"n": each})[1]
    return Note(number, head_of(link, NOW, ended=ended), sightings)


@pytest.fixture
def operator() -> Operator:
    return Operator()


class TestHeads:
    async def test_they_come_into_the_list_with_the_operators_own_and_the_notes_go(self, operator: Operator) -> None:
        operator.inbox.lying = {"one": note(), "two": note(process="p2")}
        await operator.look()
        assert {head.process: head.seq for head in operator.inbox.known.heads} == {"p1": 2, "p2": 2, "own": 0}
        assert operator.inbox.lying == {}

    async def test_without_news_nothing_is_written(self, operator: Operator) -> None:
        await operator.look()
        assert operator.inbox.kept == 1
        await operator.look()
        assert operator.inbox.kept == 1
        operator.link = operator.link.append({"tampering": "x"})[1]
        await operator.look()
        assert operator.inbox.known.heads[0].seq == 1

    async def test_it_does_not_look_more_often_than_it_was_told(self, operator: Operator) -> None:
        await operator.look()
        operator.inbox.lying = {"one": note()}
        await operator.ledger.reconcile(snapshot(TRIAL))
        assert operator.inbox.lying
        await operator.look()
        assert not operator.inbox.lying

    async def test_how_the_operators_own_log_ends(self, operator: Operator) -> None:
        await operator.ledger.close()
        assert [(head.process, head.ended) for head in operator.inbox.known.heads] == [("own", True)]

    async def test_what_is_no_note_is_removed_and_said(self, operator: Operator, caplog: pytest.LogCaptureFixture) -> None:
        operator.inbox.lying = {"one": None}
        await operator.look()
        assert operator.inbox.lying == {}
        assert "the note one cannot be read" in caplog.text


class TestWouldHold:
    async def test_a_trial_lists_who_and_an_enforcing_environment_nothing(self, operator: Operator) -> None:
        operator.inbox.lying = {"one": note(1, seen(), seen("bob", times=4))}
        await operator.look()
        told = operator.would_hold()
        assert (told["requesters"], told["requests"]) == (2, 5)
        assert told["listed"][0] == {
            "username": "alice",
            "kind": "Human",
            "count": 1,
            "last": "2026-11-22T12:00:00Z",
            "operation": "DELETE",
            "example": {"group": "", "resource": "namespaces", "namespace": "", "name": "payments"},
            "days": {"2026-11-22": 1},
        }
        assert operator.would_hold("enforced") is None

    async def test_a_trial_says_from_when_on_it_was_watched_also_where_nothing_was_seen(self, operator: Operator) -> None:
        await operator.look()
        assert operator.would_hold() == {"since": "2026-11-22T12:00:11Z", "requesters": 0, "requests": 0, "unlisted": 0, "listed": []}

    async def test_it_goes_on_over_a_restart_and_with_another_replica(self, operator: Operator) -> None:
        operator.inbox.lying = {"one": note(1, seen())}
        await operator.look()
        again = Operator(operator.inbox, operator.statuses)
        again.inbox.lying = {"two": note(1, seen(), seen("bob"), process="p2")}
        await again.look()
        assert [(each["username"], each["count"]) for each in again.would_hold()["listed"]] == [("alice", 2), ("bob", 1)]

    async def test_the_week_moves_on_without_news(self, operator: Operator) -> None:
        operator.inbox.lying = {"one": note(1, seen())}
        await operator.look()
        operator.clock.forward(timedelta(days=7))
        await operator.look()
        assert operator.would_hold()["listed"] == []

    async def test_once_it_enforces_the_list_is_taken_away(self, operator: Operator) -> None:
        operator.inbox.lying = {"one": note(1, seen())}
        await operator.look()
        await operator.look(replace(TRIAL, mode=Mode.ENFORCE))
        assert operator.would_hold() is None

    async def test_a_review_that_somebody_made_up_is_not_listed(self, operator: Operator) -> None:
        operator.targets.there = dict(STILL_THERE)
        operator.inbox.lying = {"one": note(1, seen())}
        await operator.look()
        assert operator.would_hold()["listed"] == []
        assert operator.inbox.lying == {}

    async def test_what_cannot_be_seen_is_listed_and_said(self, operator: Operator, caplog: pytest.LogCaptureFixture) -> None:
        operator.targets.unable = True
        operator.inbox.lying = {"one": note(1, seen())}
        await operator.look()
        assert operator.would_hold()["requests"] == 1
        assert "whether DELETE payments happened: no answer" in caplog.text

    async def test_what_was_let_through_a_moment_ago_is_looked_at_later(self, operator: Operator) -> None:
        operator.inbox.lying = {"one": note(1, seen(at=operator.clock.now() + timedelta(seconds=9)))}
        await operator.look()
        assert operator.inbox.lying
        await operator.look()
        assert not operator.inbox.lying
        assert operator.would_hold()["requests"] == 1


class TestOnce:
    async def test_a_note_that_came_through_unnoticed_and_was_left_again(self, operator: Operator) -> None:
        operator.inbox.lying = {"one": note(1, seen())}
        await operator.look()
        operator.inbox.lying = {"one": note(1, seen()), "one-last": note(2, seen("bob"))}
        await operator.look()
        assert [(each["username"], each["count"]) for each in operator.would_hold()["listed"]] == [("alice", 1), ("bob", 1)]

    async def test_two_that_lie_there_at_once_with_one_number(self, operator: Operator) -> None:
        operator.inbox.lying = {"one": note(1, seen()), "one-last": note(1, seen(), ended=True)}
        await operator.look()
        assert operator.would_hold()["requests"] == 1
        assert next(head for head in operator.inbox.known.heads if head.process == "p1").ended

    @pytest.mark.parametrize("failure", [ApiError(0, "no answer"), ConflictError(409, "another wrote")])
    async def test_notes_stay_until_the_list_is_written(self, operator: Operator, failure: ApiError) -> None:
        operator.inbox.lying = {"one": note(1)}
        operator.inbox.failing = failure
        with pytest.raises(ApiError):
            await operator.look()
        assert operator.inbox.lying
        operator.inbox.failing = None
        await operator.look()
        assert operator.inbox.lying == {}
        assert operator.inbox.known.heads
