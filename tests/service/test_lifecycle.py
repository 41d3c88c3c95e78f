"""The life of a change request in its status, from the first refusal to its cleaning up."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest

from countersign.domain.document import JsonObject
from countersign.domain.names import GROUP
from countersign.domain.resources import Change, ChangeRequest, Meta, Mode, Namespace, ProtectFrom, Registration, Target, Verdict
from countersign.domain.snapshot import Snapshot
from countersign.domain.statement import digest_written
from countersign.service.lifecycle import Keeping, Lifecycle
from countersign.service.ports import ApiError
from tests.support.api import MemoryApi
from tests.support.objects import HOUR, MINUTE, NOW, approval, change_request, environment, namespace, person, snapshot
from tests.support.operator import CountedImpact, HandClock, MemoryNotices, MemoryStatuses, Targets

UID = change_request().target.uid
PAYMENTS = namespace("payments", uid=UID)
SECOND = timedelta(seconds=1)
ROOT = f"/apis/{GROUP}/v1alpha1"


@dataclass
class World:
    """A lifecycle with everything around it in memory."""

    api: MemoryApi = field(default_factory=MemoryApi)
    clock: HandClock = field(default_factory=HandClock)
    live: Targets = field(default_factory=lambda: Targets({"payments": PAYMENTS.document}))
    statuses: MemoryStatuses = field(default_factory=MemoryStatuses)
    impact: CountedImpact = field(default_factory=lambda: CountedImpact({"pods": 41}))
    notices: MemoryNotices = field(default_factory=MemoryNotices)

    def __post_init__(self) -> None:
        self.lifecycle = Lifecycle(
            self.api,
            self.clock,
            self.live,
            statuses=self.statuses,
            impact=self.impact,
            notices=self.notices,
            keeping=Keeping(cool_off=HOUR, keep_ended=timedelta(days=7)),
        )

    async def see(self, *objects: object, after: timedelta = timedelta()) -> Mapping[str, Any]:
        """One round; the status of the one change request."""
        self.clock.forward(after)
        view: Snapshot = snapshot(*objects)
        await self.lifecycle.reconcile(view)
        [request] = view.requests.values()
        return self.statuses.current("changerequests", request.meta.name, request.meta.uid)

    def reasons(self) -> list[str]:
        return [notice.reason for notice in self.notices.told if notice.kind == "ChangeRequest"]


@pytest.fixture
def world() -> World:
    return World()


def holds(status: Mapping[str, Any]) -> dict[str, bool]:
    return {condition.type: condition.holds for condition in status["conditions"]}


def gone(request: ChangeRequest) -> Namespace:
    return replace(PAYMENTS, meta=replace(PAYMENTS.meta, uid="another"))


class TestWaiting:
    async def test_a_new_request_waits_and_says_for_whom(self, world: World) -> None:
        status = await world.see(change_request(), PAYMENTS)
        assert status["outcome"] == "Pending"
        assert status["impact"] == {"pods": 41}
        assert status["eligibleReviewers"] == ["bob", "carol", "dave"]
        assert status["approvals"] == []
        assert "0 of 1" in status["message"]
        assert "2026-11-23T12:00:00Z" in status["message"]
        assert holds(status) == {"Approved": False, "Settled": False}

    async def test_people_are_told_once_on_the_request_and_on_its_target(self, world: World) -> None:
        for _ in range(3):
            await world.see(change_request(), PAYMENTS)
        assert [(notice.kind, notice.reason, notice.about.name) for notice in world.notices.told] == [
            ("ChangeRequest", "Pending", change_request().meta.name),
            ("Namespace", "ChangeHeldBack", "payments"),
        ]

    async def test_what_would_go_is_counted_once(self, world: World) -> None:
        for _ in range(3):
            await world.see(change_request(), PAYMENTS)
        assert world.impact.asked == 1
        assert len(world.statuses.written) == 1

    async def test_a_watched_namespace_that_stands_is_not_asked_for(self, world: World) -> None:
        await world.see(change_request(), PAYMENTS)
        assert world.live.looked == 0

    async def test_one_request_in_trouble_does_not_stop_the_others(self, world: World) -> None:
        world.impact.counts = {}
        first = change_request(meta=Meta("a", created=NOW))
        second = change_request(meta=Meta("b", created=NOW))

        async def stumble(report: Any, real: Any = world.statuses.report) -> bool:
            if report.meta.name == "a":
                raise ApiError(500, "no")
            return bool(await real(report))

        world.statuses.report = stumble  # type: ignore[method-assign]  # one answer of this fake goes wrong
        with pytest.raises(ApiError, match="no"):
            await world.lifecycle.reconcile(snapshot(first, second, PAYMENTS))
        assert world.statuses.current("changerequests", "b", "")["outcome"] == "Pending"


class TestSigned:
    async def test_a_quorum_approves(self, world: World) -> None:
        request = change_request()
        await world.see(request, PAYMENTS)
        status = await world.see(request, approval(request), PAYMENTS, after=2 * MINUTE)
        assert status["outcome"] == "Approved"
        assert status["approvals"] == [{"reviewer": "bob", "key": "key-0", "at": "2026-11-22T12:01:00Z"}]
        assert status["message"] == "bob signed: the same request passes until 2026-11-22T13:01:00Z."
        assert holds(status) == {"Approved": True, "Settled": True}
        assert world.reasons() == ["Pending", "Approved"]

    async def test_one_of_two_waits(self, world: World) -> None:
        request = change_request(required=2)
        status = await world.see(request, approval(request), PAYMENTS)
        assert status["outcome"] == "Pending"
        assert "1 of 2" in status["message"]

    async def test_each_approval_says_whether_it_counts(self, world: World) -> None:
        request = change_request(required=2)
        good, borrowed = approval(request), approval(request, "carol", text="another text")
        await world.see(request, good, borrowed, PAYMENTS)
        reports = {report.meta.name: report.conditions[0] for report in world.statuses.written if report.plural == "approvals"}
        assert (reports[good.meta.name].holds, reports[good.meta.name].reason) == (True, "Verified")
        assert (reports[borrowed.meta.name].holds, reports[borrowed.meta.name].reason) == (False, "NotCounted")
        assert reports[borrowed.meta.name].message

    async def test_an_environment_that_covers_it_now_counts_too(self, world: World) -> None:
        request = change_request()
        view = (environment(), environment("stricter", required=2), request, approval(request), PAYMENTS)
        assert (await world.see(*view))["outcome"] == "Pending"

    async def test_one_that_does_not_hold_it_back_does_not(self, world: World) -> None:
        human = replace(change_request().requester, username="dave@example.com", key="dave@example.com", agents=(), sponsors=())
        request = change_request(requester=human)
        strict = environment("agents-only", required=2)
        view = (environment("default", ProtectFrom.PEOPLE), strict, request, approval(request), PAYMENTS)
        assert (await world.see(*view))["outcome"] == "Approved"

    async def test_nor_does_one_that_only_audits(self, world: World) -> None:
        request = change_request()
        view = (environment(), environment("watching", required=2, mode=Mode.AUDIT), request, approval(request), PAYMENTS)
        assert (await world.see(*view))["outcome"] == "Approved"

    async def test_a_signature_that_decides_nothing_is_no_event(self, world: World) -> None:
        request = change_request(required=2)
        await world.see(request, PAYMENTS)
        await world.see(request, approval(request), PAYMENTS)
        assert world.reasons() == ["Pending"]

    async def test_a_window_that_closes_ends_it(self, world: World) -> None:
        request = change_request()
        await world.see(request, approval(request), PAYMENTS, after=2 * MINUTE)
        status = await world.see(request, approval(request), PAYMENTS, after=HOUR)
        assert status["outcome"] == "Expired"
        assert status["message"] == "It was approved, but not used before 2026-11-22T13:01:00Z."
        assert holds(status) == {"Approved": False, "Settled": True}

    async def test_a_key_that_is_revoked_takes_its_approval_back(self, world: World) -> None:
        request = change_request()
        assert (await world.see(request, approval(request), PAYMENTS))["outcome"] == "Approved"
        keyless = [person("bob", keys=()), person("carol"), person("alice")]
        status = await world.see(request, approval(request), PAYMENTS, *keyless)
        assert status["outcome"] == "Pending"
        assert holds(status) == {"Approved": False, "Settled": False}


class TestEnds:
    async def test_a_rejection_with_its_comment(self, world: World) -> None:
        request = change_request()
        no = replace(approval(request, "carol", verdict=Verdict.REJECT), comment="still in use")
        status = await world.see(request, approval(request), no, PAYMENTS)
        assert (status["outcome"], status["message"]) == ("Rejected", "carol rejected it: still in use")
        assert holds(status) == {"Approved": False, "Settled": True}
        assert [notice.warning for notice in world.notices.told if notice.kind == "ChangeRequest"] == [True]

    async def test_time_runs_out(self, world: World) -> None:
        status = await world.see(change_request(), PAYMENTS, after=24 * HOUR)
        assert (status["outcome"], status["message"]) == ("Expired", "It expired at 2026-11-23T12:00:00Z.")

    @pytest.mark.parametrize("how", ["gone", "terminating", "another"])
    async def test_executed_once_the_target_is_seen_to_go(self, world: World, how: str) -> None:
        request = change_request()
        await world.see(request, approval(request), PAYMENTS, after=2 * MINUTE)
        going: dict[str, tuple[list[Namespace], dict[str, JsonObject]]] = {
            "gone": ([], {}),
            "terminating": (
                [replace(PAYMENTS, meta=replace(PAYMENTS.meta, deleting=True))],
                {"payments": {"metadata": {"uid": UID, "deletionTimestamp": "2026-11-22T12:03:00Z"}}},
            ),
            "another": ([gone(request)], {"payments": {"metadata": {"uid": "another"}}}),
        }
        namespaces, world.live.there = going[how]
        status = await world.see(request, approval(request), *namespaces)
        assert (status["outcome"], status["message"]) == ("Executed", "bob signed, and it was done.")
        assert holds(status) == {"Approved": True, "Settled": True}
        assert world.reasons()[-1] == "Executed"

    async def test_gone_without_a_quorum_is_expired(self, world: World) -> None:
        world.live.there = {}
        status = await world.see(change_request())
        assert (status["outcome"], status["message"]) == ("Expired", "The target is gone: there is nothing left to sign for.")

    async def test_the_cache_alone_never_says_gone(self, world: World) -> None:
        assert (await world.see(change_request()))["outcome"] == "Pending", "the live object is there"
        world.live.unable = True
        assert (await world.see(change_request()))["outcome"] == "Pending"

    async def test_an_end_is_an_end(self, world: World) -> None:
        request = change_request()
        no = approval(request, "carol", verdict=Verdict.REJECT)
        await world.see(request, no, PAYMENTS)
        assert (await world.see(request, approval(request), PAYMENTS))["outcome"] == "Rejected", (
            "its approval is gone, the rejection stands"
        )

    async def test_who_looks_late_sees_what_was_done(self, world: World) -> None:
        """The operator was down while the approved change was made, and the window is over."""
        world.live.there = {}
        request = change_request()
        assert (await world.see(request, approval(request), after=30 * HOUR))["outcome"] == "Executed"


class TestOtherChanges:
    def update(self, new: JsonObject) -> ChangeRequest:
        return change_request(operation="UPDATE", change=Change(old="sha256:" + "0" * 64, new=digest_written(new)))

    async def test_an_update_is_done_when_the_live_object_is_what_was_signed(self, world: World) -> None:
        wanted: JsonObject = {"metadata": {"name": "payments", "uid": UID, "resourceVersion": "9", "labels": {"tier": "dev"}}, "spec": {}}
        request = self.update(wanted)
        assert (await world.see(request, approval(request), PAYMENTS))["outcome"] == "Approved"
        world.live.there = {"payments": {**wanted, "metadata": {**wanted["metadata"], "resourceVersion": "10"}}}
        assert (await world.see(request, approval(request), PAYMENTS, after=SECOND))["outcome"] == "Executed"

    async def test_not_before_the_quorum(self, world: World) -> None:
        wanted: JsonObject = {"metadata": {"name": "payments", "uid": UID}, "spec": {}}
        world.live.there = {"payments": wanted}
        assert (await world.see(self.update(wanted), PAYMENTS))["outcome"] == "Pending"

    async def test_an_update_of_what_is_gone_is_over(self, world: World) -> None:
        world.live.there = {}
        assert (await world.see(self.update({"metadata": {}}), PAYMENTS))["outcome"] == "Expired"

    async def test_a_creation_waits_for_what_is_not_there_yet(self, world: World) -> None:
        wanted: JsonObject = {"metadata": {"name": "mallory"}, "spec": {"usernames": ["m"]}}
        target = Target(group=GROUP, version="v1alpha1", resource="reviewers", name="mallory")
        request = change_request(operation="CREATE", target=target, change=Change(new=digest_written(wanted)))
        assert (await world.see(request))["outcome"] == "Pending"
        assert (await world.see(request, approval(request)))["outcome"] == "Approved"
        world.live.there = {"mallory": {"metadata": {"name": "mallory", "uid": "u", "generation": 1}, "spec": {"usernames": ["m"]}}}
        assert (await world.see(request, approval(request), after=SECOND))["outcome"] == "Executed"

    async def test_what_is_not_watched_is_looked_at_now_and_then(self, world: World) -> None:
        target = Target(group="", version="v1", resource="persistentvolumes", name="pv", uid="u")
        world.live.there = {"pv": {"metadata": {"uid": "u"}}}
        for _ in range(4):
            await world.see(change_request(target=target), after=timedelta(seconds=5))
        assert world.live.looked == 2

    async def test_what_is_approved_is_looked_at_once_a_second_however_many_events_there_are(self, world: World) -> None:
        target = Target(group="", version="v1", resource="persistentvolumes", name="pv", uid="u")
        world.live.there = {"pv": {"metadata": {"uid": "u"}}}
        request = change_request(target=target)
        for _ in range(20):
            await world.see(request, approval(request), after=SECOND / 10)
        assert world.live.looked == 2

    async def test_what_may_not_be_read_is_asked_for_no_more_often_than_what_waits(self, world: World) -> None:
        target = Target(group="example.com", version="v1", resource="widgets", name="one", uid="u")
        world.live.unable = True
        request = change_request(target=target)
        for _ in range(20):
            await world.see(request, approval(request), after=SECOND)
        assert world.live.looked == 2


class TestCleaningUp:
    def stored(self, world: World, request: ChangeRequest) -> None:
        world.api.objects |= MemoryApi(
            (f"{ROOT}/changerequests/{request.meta.name}", {"metadata": {"uid": "r"}}),
            (f"{ROOT}/approvals/{request.meta.name}-carol", {"metadata": {"uid": "a"}}),
        ).objects

    async def test_the_request_before_its_approvals_and_not_too_soon(self, world: World) -> None:
        request = change_request(meta=Meta("one", uid="r", created=NOW))
        no = approval(request, "carol", verdict=Verdict.REJECT)
        self.stored(world, request)
        await world.see(request, no, PAYMENTS)
        await world.see(request, no, PAYMENTS, after=24 * HOUR + timedelta(days=7) - timedelta(seconds=1))
        assert world.api.writes() == []
        await world.see(request, no, PAYMENTS, after=timedelta(seconds=1))
        assert world.api.writes() == [("DELETE", f"{ROOT}/changerequests/one"), ("DELETE", f"{ROOT}/approvals/one-carol")]

    async def test_a_late_rejection_keeps_it_for_its_pause(self, world: World) -> None:
        request = change_request(meta=Meta("one", uid="r", created=NOW))
        no = approval(request, "carol", verdict=Verdict.REJECT, at=NOW + 24 * HOUR - MINUTE)
        self.stored(world, request)
        await world.see(request, no, PAYMENTS, after=24 * HOUR)
        await world.see(request, no, PAYMENTS, after=timedelta(days=7) + HOUR - 2 * MINUTE)
        assert world.api.writes() == []
        await world.see(request, no, PAYMENTS, after=MINUTE)
        assert len(world.api.writes()) == 2

    async def test_what_has_not_ended_is_kept(self, world: World) -> None:
        request = change_request(expires_at=NOW + timedelta(days=100))
        await world.see(request, PAYMENTS, after=timedelta(days=50))
        assert world.api.writes() == []

    async def test_the_record_that_keeps_registration_closed_stays_while_nothing_else_does(self, world: World) -> None:
        """Registration counts as closed while an approved request is there; cleaned up before the field is written, it would open again."""
        one, two = (change_request(meta=Meta(name, uid="r", created=NOW)) for name in ("one", "two"))
        signed = [replace(each, meta=replace(each.meta, uid="a")) for each in (approval(one, "carol"), approval(two, "carol"))]
        for request in (one, two):
            self.stored(world, request)
        everything = (one, two, *signed, PAYMENTS)
        await world.lifecycle.reconcile(snapshot(*everything))
        world.clock.forward(timedelta(days=30))
        await world.lifecycle.reconcile(snapshot(*everything))  # both have ended
        await world.lifecycle.reconcile(snapshot(*everything))
        assert world.api.writes() == [("DELETE", f"{ROOT}/changerequests/two"), ("DELETE", f"{ROOT}/approvals/two-carol")]
        closed = environment(registration=Registration.CLOSED)
        await world.lifecycle.reconcile(snapshot(one, signed[0], PAYMENTS, closed))
        assert world.api.writes()[2:] == [("DELETE", f"{ROOT}/changerequests/one"), ("DELETE", f"{ROOT}/approvals/one-carol")]

    async def test_another_object_of_its_name_is_not_deleted(self, world: World) -> None:
        request = change_request(meta=Meta("one", uid="older", created=NOW))
        self.stored(world, request)
        await world.see(request, PAYMENTS, after=24 * HOUR)
        with pytest.raises(ApiError, match="UID"):
            await world.see(request, PAYMENTS, after=timedelta(days=8))

    async def test_approvals_without_their_request_follow_it(self, world: World) -> None:
        request = change_request(meta=Meta("one", uid="r", created=NOW))
        left = approval(request, "carol")
        left = replace(left, meta=replace(left.meta, uid="a"))
        self.stored(world, request)
        del world.api.objects[f"{ROOT}/changerequests/one"]
        await world.lifecycle.reconcile(snapshot(left))
        assert world.api.writes() == [], "it may be that the cache has not seen the request yet"
        world.clock.forward(2 * HOUR)
        await world.lifecycle.reconcile(snapshot(left))
        assert world.api.writes() == [("DELETE", f"{ROOT}/approvals/one-carol")]

    async def test_but_not_where_the_request_is_there_after_all(self, world: World) -> None:
        request = change_request(meta=Meta("one", uid="r", created=NOW))
        self.stored(world, request)
        world.clock.forward(2 * HOUR)
        await world.lifecycle.reconcile(snapshot(approval(request, "carol")))
        assert world.api.writes() == []


class TestWaking:
    async def test_it_wants_to_be_woken_when_the_next_request_ends(self, world: World) -> None:
        early = change_request(meta=Meta("early", created=NOW), expires_at=NOW + HOUR)
        late = change_request(meta=Meta("late", created=NOW))
        assert await world.lifecycle.reconcile(snapshot(early, late, PAYMENTS)) == NOW + HOUR

    async def test_or_when_the_window_of_an_approved_one_closes(self, world: World) -> None:
        request = change_request()
        assert await world.lifecycle.reconcile(snapshot(request, approval(request), PAYMENTS)) == NOW + MINUTE + HOUR

    async def test_with_nothing_to_come_it_wants_nothing(self, world: World) -> None:
        assert await world.lifecycle.reconcile(snapshot(PAYMENTS)) is None
