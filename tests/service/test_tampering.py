"""What follows a repair: who is told, what the environment `default` says, and the lockdown."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from countersign.domain.resources import Glass, Lockdown
from countersign.domain.snapshot import Snapshot
from countersign.domain.tampering import Repair, What
from countersign.service.glass import GlassWatch, glass_condition
from countersign.service.ports import ApiError
from countersign.service.shadows import Shadows
from countersign.service.tampering import SHOWN, Tampering
from tests.support.objects import MINUTE, NOW, environment, snapshot
from tests.support.operator import HandClock, MemoryNotices, MemoryStatuses

STATUS = "/apis/kube-countersign.dev/v1alpha1/protectedenvironments/default/status"
REPAIR = Repair(
    "ValidatingAdmissionPolicy",
    "countersign-guards",
    "validatingadmissionpolicies",
    What.CHANGED,
    ('spec.failurePolicy: "Fail" -> "Ignore"',),
    "kubectl",
    "sha256:a",
    "sha256:b",
    0.02,
)


class Meter:
    def __init__(self) -> None:
        self.repairs: list[tuple[str, str]] = []
        self.is_locked = self.is_broken = False
        self.mutators: Mapping[str, str] = {}

    def repaired(self, guard: str, what: str, _: float) -> None:
        self.repairs.append((guard, what))

    def locked(self, is_locked: bool) -> None:
        self.is_locked = is_locked

    def glass(self, is_broken: bool) -> None:
        self.is_broken = is_broken

    def foreign(self, mutators: Mapping[str, str]) -> None:
        self.mutators = dict(mutators)


class Records:
    def __init__(self) -> None:
        self.lines: list[Mapping[str, object]] = []
        self.full = False

    def append(self, record: Mapping[str, object]) -> None:
        if self.full:
            raise OSError("no space left")
        self.lines.append(record)


class StatusApi:
    """Of the API only what is used: the status is patched."""

    def __init__(self) -> None:
        self.patched: list[Any] = []
        self.down = self.rewritten = False

    async def patch(self, path: str, body: Any) -> Mapping[str, Any]:
        assert path == STATUS
        if self.down:
            raise ApiError(500, "no")
        self.patched.append(body)
        return {"status": {}} if self.rewritten else {"status": body["status"]}


class World:
    def __init__(self, *, lockdown: bool = False) -> None:
        self.api, self.clock, self.records, self.meter = StatusApi(), HandClock(), Records(), Meter()
        self.notices, self.statuses, self.woken = MemoryNotices(), MemoryStatuses(), 0
        self.tampering = self.process(lockdown=lockdown)
        self.default = environment()

    def process(self, *, lockdown: bool) -> Tampering:
        numbers = iter(f"incident-{number}" for number in range(100))
        made = Tampering(
            self.api,  # type: ignore[arg-type]  # of the API only what is used
            self.clock,
            log=self.records,
            notices=self.notices,
            statuses=self.statuses,
            meter=self.meter,
            number=lambda: next(numbers),
            lockdown=lockdown,
        )
        made.wake = self._wake
        return made

    def _wake(self) -> None:
        self.woken += 1

    async def repair(self, repair: Repair = REPAIR) -> None:
        self.tampering.repaired(repair)
        for _ in range(10):
            await asyncio.sleep(0)

    def condition(self, kind: str) -> tuple[bool | None, str]:
        return next((each.holds, each.message) for each in self.tampering.conditions(self.default) if each.type == kind)


async def test_everybody_is_told(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    await world.repair()
    assert world.meter.repairs == [("countersign-guards", "changed")]
    assert "TAMPERING incident-0" in caplog.text
    (record,) = world.records.lines
    assert record["incident"] == "incident-0"
    repair = record["repair"]
    assert isinstance(repair, dict)
    assert (repair["wanted"], repair["found"], repair["lines"]) == ("sha256:a", "sha256:b", REPAIR.lines)
    (notice,) = world.notices.told
    assert (notice.reason, notice.warning, notice.about.name) == ("GuardRepaired", True, "countersign-guards")
    assert "incident-0" in notice.message
    assert world.woken == 1
    assert world.api.patched == [], "locked down only where that is chosen"


async def test_the_condition_says_it_for_a_while() -> None:
    world = World()
    assert world.condition("GuardsIntact")[0] is True
    await world.repair()
    holds, message = world.condition("GuardsIntact")
    assert holds is False
    assert 'spec.failurePolicy: "Fail" -> "Ignore"' in message
    world.clock.forward(SHOWN)
    assert world.condition("GuardsIntact")[0] is True


@pytest.mark.parametrize(("minutes", "holds"), [(1, False), (14, False), (15, True)])
async def test_also_when_another_process_leads_meanwhile(minutes: int, holds: bool) -> None:
    world = World()
    said = {"type": "GuardsIntact", "status": "False", "message": "what was", "lastTransitionTime": "2026-11-22T12:00:00Z"}
    world.clock.moment = NOW.replace(hour=12, minute=minutes, second=0, microsecond=0, day=22, month=11, year=2026)
    world.statuses.kept["protectedenvironments", "default", world.default.meta.uid] = {"conditions": [said]}
    assert world.condition("GuardsIntact")[0] is holds


async def test_a_record_that_cannot_be_written_keeps_nothing_back(caplog: pytest.LogCaptureFixture) -> None:
    world = World(lockdown=True)
    world.records.full = True
    await world.repair()
    assert world.notices.told
    assert world.api.patched
    assert "could not be recorded" in caplog.text


async def test_one_that_is_rewritten_with_every_round_is_told_once_a_minute() -> None:
    world = World()
    rewritten = replace(REPAIR, what=What.REWRITTEN)
    for _ in range(3):
        await world.repair(rewritten)
    assert len(world.notices.told) == 1
    assert len(world.meter.repairs) == 3
    world.clock.forward(MINUTE)
    await world.repair(rewritten)
    assert len(world.notices.told) == 2


# ── the lockdown ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def locked(world: World) -> Lockdown:
    written = world.api.patched[-1]["status"]["lockdown"]
    return Lockdown(written["incident"], NOW, written["guard"], written["what"])


async def test_agents_are_locked_down_at_once() -> None:
    world = World(lockdown=True)
    await world.repair()
    lockdown = world.api.patched[0]["status"]["lockdown"]
    assert (lockdown["incident"], lockdown["guard"]) == ("incident-0", "ValidatingAdmissionPolicy/countersign-guards")
    world.default = replace(world.default, lockdown=locked(world))
    holds, message = world.condition("LockedDown")
    assert holds is True
    assert "spec.lockdownLifted: incident-0" in message


async def test_a_second_incident_leaves_the_first_to_be_lifted() -> None:
    world = World(lockdown=True)
    await world.repair()
    await world.repair()
    assert {body["status"]["lockdown"]["incident"] for body in world.api.patched} == {"incident-0"}


async def test_after_it_is_lifted_the_next_one_locks_again() -> None:
    world = World(lockdown=True)
    await world.repair()
    world.default = replace(world.default, lockdown=locked(world), lockdown_lifted="incident-0")
    await world.tampering.settle(world.default)
    assert world.meter.is_locked is False
    assert world.condition("LockedDown")[0] is False
    await world.repair()
    assert world.api.patched[-1]["status"]["lockdown"]["incident"] == "incident-1"


async def test_one_that_could_not_be_written_is_written_by_a_round() -> None:
    world = World(lockdown=True)
    world.api.down = True
    await world.repair()
    world.api.down = False
    await world.tampering.settle(world.default)
    assert locked(world).incident == "incident-0"
    assert world.meter.is_locked is True


async def test_one_that_somebodys_policy_takes_out_is_told_and_written_again(caplog: pytest.LogCaptureFixture) -> None:
    world = World(lockdown=True)
    world.api.rewritten = True
    await world.repair()
    assert "the lockdown incident-0 is NOT IN FORCE: a mutating policy" in caplog.text
    assert "LOCKED DOWN" not in caplog.text
    assert world.records.lines[-1]["lockdownTakenOut"]["incident"] == "incident-0"  # type: ignore[index]  # a JSON object
    world.api.rewritten = False
    await world.tampering.settle(world.default)
    assert "LOCKED DOWN" in caplog.text


async def test_it_is_not_shaken_off_with_the_environment() -> None:
    """Deleted and made again, `default` has lost its status; and while it is away there is nothing to write to."""
    world = World(lockdown=True)
    await world.repair()
    written = len(world.api.patched)
    await world.tampering.settle(None)
    assert len(world.api.patched) == written
    await world.tampering.settle(world.default)
    assert len(world.api.patched) == written + 1


async def test_another_process_takes_it_over() -> None:
    world = World(lockdown=False)
    lockdown = Lockdown("before", NOW, "a/b", "what")
    await world.tampering.settle(replace(world.default, lockdown=lockdown))
    await world.tampering.settle(world.default)
    assert locked(world).incident == "before"


# ── broken glass ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def with_glass(glass: Glass | None) -> Snapshot:
    return snapshot(replace(environment(), glass=glass))


async def test_glass_is_told_when_announced_when_broken_and_when_whole_again() -> None:
    world = World()
    watch = GlassWatch(world.clock, world.records, world.notices, world.meter)
    glass = Glass(NOW + 5 * MINUTE, "erin@example.com", "all reviewers have left")
    told: list[str] = []
    for step in (timedelta(0), 4 * MINUTE, MINUTE, 30 * MINUTE, 30 * MINUTE):
        world.clock.forward(step)
        await watch.reconcile(with_glass(glass))
        told.append(",".join(notice.reason for notice in world.notices.told))
        world.notices.told.clear()
    assert told == ["GlassAnnounced", "", "GlassBroken", "", "GlassWhole"]
    assert len(world.records.lines) == 3
    assert "erin@example.com" in str(world.records.lines[1])


async def test_taken_out_in_time_it_never_breaks() -> None:
    world = World()
    watch = GlassWatch(world.clock, world.records, world.notices, world.meter)
    await watch.reconcile(with_glass(Glass(NOW + 5 * MINUTE, "erin@example.com", "all reviewers have left")))
    world.clock.forward(10 * MINUTE)
    await watch.reconcile(with_glass(None))
    assert [notice.reason for notice in world.notices.told] == ["GlassAnnounced"]
    assert world.meter.is_broken is False


@pytest.mark.parametrize(
    ("ahead", "holds", "reason"), [(5 * MINUTE, False, "Announced"), (0 * MINUTE, True, "Broken"), (-60 * MINUTE, False, "Whole")]
)
def test_the_condition_of_glass(ahead: timedelta, holds: bool, reason: str) -> None:
    condition = glass_condition(replace(environment(), glass=Glass(NOW + ahead, "erin", "all have left")), NOW)
    assert (condition.holds, condition.reason) == (holds, reason)
    assert glass_condition(environment(), NOW).reason == "Whole"


# ── shadows ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def mutator(group: str, resource: str, selector: Mapping[str, Any] | None = None, **metadata: Any) -> dict[str, Any]:
    rule = {"apiGroups": [group], "resources": [resource], "operations": ["CREATE"]}
    hook = {"name": "x.example.com", "rules": [rule], "namespaceSelector": selector or {}}
    return {"metadata": {"name": "mesh", **metadata}, "webhooks": [hook]}


NOT_OURS = {"matchExpressions": [{"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["countersign"]}]}


@pytest.mark.parametrize(
    ("document", "named"),
    [
        (mutator("kube-countersign.dev", "approvals"), True),
        (mutator("*", "*"), True),
        (mutator("", "pods"), True),
        (mutator("apps", "deployments"), True),
        (mutator("", "pods", NOT_OURS), False),
        (mutator("", "pods", {"matchLabels": {"istio-injection": "enabled"}}), False),
        (mutator("", "pods", {"matchExpressions": [{"key": "a", "operator": "Nonsense"}]}), True),
        (mutator("example.com", "*"), False),
        (mutator("kube-countersign.dev", "*", NOT_OURS), True),
    ],
)
async def test_who_else_could_rewrite_what_is_ours(document: dict[str, Any], named: bool) -> None:
    world = World()
    shadows = Shadows(world.notices, world.meter, namespace="countersign")
    shadows.apply("mutatingwebhookconfigurations", "ADDED", document)
    await shadows.reconcile(snapshot(environment()))
    assert bool(world.meter.mutators) is named
    assert shadows.condition(environment()).holds is not named


async def test_what_was_there_before_is_no_news_and_what_comes_is() -> None:
    world = World()
    shadows = Shadows(world.notices, world.meter, namespace="countersign")
    shadows.replace("mutatingwebhookconfigurations", [mutator("*", "*")])
    view = snapshot(environment())
    await shadows.reconcile(view)
    assert world.notices.told == []
    agents = mutator("*", "*", labels={"kube-countersign.dev/agent": "kiro"})
    shadows.apply("mutatingwebhookconfigurations", "ADDED", {**agents, "metadata": {**agents["metadata"], "name": "another"}})
    await shadows.reconcile(view)
    await shadows.reconcile(view)
    (notice,) = world.notices.told
    assert notice.about.name == "another"
    assert "written by the agent kiro" in notice.message
    shadows.apply("mutatingwebhookconfigurations", "DELETED", {"metadata": {"name": "another"}})
    await shadows.reconcile(view)
    assert set(world.meter.mutators) == {"MutatingWebhookConfiguration/mesh"}
