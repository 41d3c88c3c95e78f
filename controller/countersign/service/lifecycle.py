"""The life of a change request as people see it: what it would cost, who has signed, how it ended; and cleaning up after it.

Nothing is decided by what is written here: the webhook never reads it (invariant 7). Both count by `domain.approval`, so they agree.
"""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from countersign.domain.approval import Phase, Standing, standing
from countersign.domain.document import JsonObject, text
from countersign.domain.errors import UnableError
from countersign.domain.identify import Agent, Human, Machine
from countersign.domain.names import GROUP, VERSION
from countersign.domain.protect import asker, protects_from, was_approved
from countersign.domain.request import UserInfo
from countersign.domain.resources import Approval, ChangeRequest, Mode, Outcome, ProtectedEnvironment, Registration, Target, Verdict
from countersign.domain.snapshot import Snapshot
from countersign.domain.statement import digest_written, timestamp
from countersign.service.keeping import Condition, Impact, Notice, Notices, Report, Statuses
from countersign.service.ports import Api, ApiError, Clock, LiveLook, NotFoundError

_log = logging.getLogger(__name__)

_ROOT: Final = f"/apis/{GROUP}/{VERSION}"
_ENDED: Final = frozenset({Outcome.REJECTED, Outcome.EXECUTED, Outcome.EXPIRED})
_LOOK_EVERY: Final = timedelta(seconds=15)  # at the target of a request that is not approved or may not be read, by GET
_LOOK_EVERY_APPROVED: Final = timedelta(seconds=1)
_LIVE_TIMEOUT: Final = 5.0
_KINDS: Final[Mapping[tuple[str, str], str]] = {
    ("", "namespaces"): "Namespace",
    ("", "persistentvolumes"): "PersistentVolume",
    ("", "persistentvolumeclaims"): "PersistentVolumeClaim",
    ("apiextensions.k8s.io", "customresourcedefinitions"): "CustomResourceDefinition",
    (GROUP, "agentidentities"): "AgentIdentity",
    (GROUP, "reviewers"): "Reviewer",
    (GROUP, "protectedenvironments"): "ProtectedEnvironment",
}


@dataclass(frozen=True, slots=True)
class Keeping:
    """The installation's own times (docs/rules.md): the pause after a rejection, and how long what has ended is kept."""

    cool_off: timedelta
    keep_ended: timedelta


@dataclass(frozen=True, slots=True)
class End:
    """Where a request stands, in a word and a sentence."""

    outcome: Outcome
    message: str


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen of a target. `done`: the change has happened. `gone`: it never can, the target is not there any more."""

    done: bool = False
    gone: bool = False


class Lifecycle:
    def __init__(
        self,
        api: Api,
        clock: Clock,
        live: LiveLook,
        *,
        statuses: Statuses,
        impact: Impact,
        notices: Notices,
        keeping: Keeping,
    ) -> None:
        self._api = api
        self._clock = clock
        self._live = live
        self._statuses = statuses
        self._impact = impact
        self._notices = notices
        self._keeping = keeping
        self._looked: dict[str, tuple[datetime, bool]] = {}  # when, and whether it could be read

    async def reconcile(self, snapshot: Snapshot) -> datetime | None:
        """Every request once; when the next of them ends by time alone. Raises the last ApiError, once all have been tried."""
        failed: ApiError | None = None
        ends: list[datetime] = []
        now = self._clock.now()
        for request in list(snapshot.requests.values()):
            try:
                end = await self._one(request, snapshot, now)
            except ApiError as error:
                _log.warning("the change request %s: %s", request.meta.name, error)
                failed = error
            else:
                ends += [end] if end is not None and end > now else []
        await self._orphans(snapshot, now)
        if failed is not None:
            raise failed
        return min(ends, default=None)

    async def _one(self, request: ChangeRequest, snapshot: Snapshot, now: datetime) -> datetime | None:
        """When it ends, or is cleaned up, by time alone."""
        before = self._statuses.current("changerequests", request.meta.name, request.meta.uid)
        outcome = text(before, "outcome")
        if outcome in _ENDED:
            return await self._clean(request, snapshot, now)
        state = standing(request, snapshot, now, environments=environments_now(request, snapshot))
        seen = await self._look(request, state, snapshot, now)
        end = outcome_of(state, seen, request)
        for report in approval_reports(request, state, snapshot):
            await self._statuses.report(report)
        impact = before["impact"] if "impact" in before else await self._impact_of(request)
        if await self._statuses.report(request_report(request, state, end, impact)) and outcome != end.outcome:
            for notice in notices_of(request, end):
                await self._notices.tell(notice)
        return state.tally.usable_until or request.expires_at

    async def _impact_of(self, request: ChangeRequest) -> Mapping[str, int]:
        try:
            return await self._impact.count(request.target) if request.operation == "DELETE" else {}
        except ApiError as error:
            _log.warning("what would go with %s was not counted: %s", request.target.name, error)
            return {}

    async def _look(self, request: ChangeRequest, state: Standing, snapshot: Snapshot, now: datetime) -> Seen:
        """See whether the target is as the change would leave it. Namespaces are watched, the rest is looked at now and then."""
        if not self._is_worth_a_look(request, state, snapshot, now):
            return Seen()
        self._looked[request.meta.name] = (now, True)
        try:
            live = await self._live.target(request.target, timeout=_LIVE_TIMEOUT)
        except UnableError as error:
            self._looked[request.meta.name] = (now, False)
            _log.warning("the target of %s: %s", request.meta.name, error)
            return Seen()
        return seen_in(live, request)

    def _is_worth_a_look(self, request: ChangeRequest, state: Standing, snapshot: Snapshot, now: datetime) -> bool:
        if request.operation == "DELETE" and (request.target.group, request.target.resource) == ("", "namespaces"):
            namespace = snapshot.namespaces.get(request.target.name)
            return namespace is None or namespace.meta.deleting or namespace.meta.uid != request.target.uid
        last, readable = self._looked.get(request.meta.name, (datetime.min.replace(tzinfo=now.tzinfo), True))
        return now - last >= (_LOOK_EVERY_APPROVED if state.tally.quorum_at is not None and readable else _LOOK_EVERY)

    async def _clean(self, request: ChangeRequest, snapshot: Snapshot, now: datetime) -> datetime | None:
        """The request before its Approvals: without the request they count for nothing, without them a rejection would be forgotten."""
        until = kept_until(request, snapshot.approvals.get(request.meta.name, ()), self._keeping)
        if now < until:
            return until
        if keeps_registration_closed(request, snapshot):
            return None
        self._looked.pop(request.meta.name, None)
        approvals = snapshot.approvals.get(request.meta.name, ())
        await self._delete("changerequests", request.meta.name, request.meta.uid)
        for approval in approvals:
            await self._delete("approvals", approval.meta.name, approval.meta.uid)
        _log.info("deleted the change request %s, which had ended, and its %d approvals", request.meta.name, len(approvals))
        return None

    async def _orphans(self, snapshot: Snapshot, now: datetime) -> None:
        """Approvals whose request is gone: an earlier cleaning was cut short."""
        for name in [name for name in snapshot.approvals if name not in snapshot.requests]:
            approvals = snapshot.approvals.get(name, ())
            if any(approval.meta.created is None or now - approval.meta.created < self._keeping.cool_off for approval in approvals):
                continue
            try:
                await self._api.get(f"{_ROOT}/changerequests/{name}")
            except NotFoundError:
                for approval in approvals:
                    await self._delete("approvals", approval.meta.name, approval.meta.uid)

    async def _delete(self, plural: str, name: str, uid: str) -> None:
        try:
            await self._api.delete(f"{_ROOT}/{plural}/{name}", uid=uid)
        except NotFoundError:
            return


def environments_now(request: ChangeRequest, snapshot: Snapshot) -> tuple[ProtectedEnvironment, ...]:
    """The environments that would hold the change back if it were asked for now, besides those that the request names."""
    target = request.target
    if (target.group, target.resource) != ("", "namespaces"):
        return ()
    namespace = snapshot.namespaces.get(target.name)
    if namespace is None:
        return ()
    return tuple(
        environment
        for environment in snapshot.environments.values()
        if environment.mode is Mode.ENFORCE
        and environment.covers(target.name, namespace.labels)
        and protects_from(environment.protect_from, _asker(request, environment, snapshot))
    )


def _asker(request: ChangeRequest, environment: ProtectedEnvironment, snapshot: Snapshot) -> Agent | Human | Machine:
    """Who asked, in the eyes of one environment. A name that an agent could have taken on is an agent's only where that counts."""
    requester = request.requester
    user = UserInfo(requester.username)
    named = snapshot.directory.identify(user)
    if requester.agents and (isinstance(named, Agent) or named.key != requester.key):
        return Agent(requester.username, requester.agents, requester.sponsors, requester.key)
    return asker(environment, named, user, snapshot.directory)


def seen_in(live: JsonObject | None, request: ChangeRequest) -> Seen:
    """What a live object says about a change (docs/rules.md, Executed)."""
    same = live is not None and text(live, "metadata", "uid") == request.target.uid
    match request.operation:
        case "DELETE":
            going = not same or bool(text(live, "metadata", "deletionTimestamp"))
            return Seen(done=going, gone=going)
        case "UPDATE":
            if not same:
                return Seen(gone=True)
            return Seen(done=live is not None and digest_written(live) == request.change.new)
        case _:
            return Seen(done=live is not None and digest_written(live) == request.change.new)


def outcome_of(state: Standing, seen: Seen, request: ChangeRequest) -> End:
    """1. done after quorum  2. the target is gone  3. what the signatures say."""
    if seen.done and state.tally.quorum_at is not None and state.phase is not Phase.REJECTED:
        return End(Outcome.EXECUTED, f"{_signed_by(state)} signed, and it was done.")
    if seen.gone and state.phase is not Phase.REJECTED:
        return End(Outcome.EXPIRED, "The target is gone: there is nothing left to sign for.")
    match state.phase:
        case Phase.PENDING:
            tally = state.tally
            missing = f"signatures ({tally.counted} of {tally.required} so far), until {timestamp(request.expires_at)}"
            return End(Outcome.PENDING, f"Waiting for {missing}{_by_environment(state)}.")
        case Phase.USABLE:
            until = state.tally.usable_until
            assert until is not None
            return End(Outcome.APPROVED, f"{_signed_by(state)} signed: the same request passes until {timestamp(until)}.")
        case Phase.REJECTED:
            rejection = state.tally.rejection
            assert rejection is not None
            return End(Outcome.REJECTED, f"{rejection.reviewer} rejected it: {rejection.comment or 'no comment'}")
        case Phase.ENDED:
            return End(Outcome.EXPIRED, f"{state.why[:1].upper()}{state.why[1:]}.")


def _by_environment(state: Standing) -> str:
    """Which environments still wait, where several are judged by themselves."""
    judgements = state.tally.judgements
    waiting = [f"{each.environment} {len(each.votes)} of {each.required}" for each in judgements if not each.satisfied]
    return f" ({', '.join(waiting)})" if len(judgements) > 1 else ""


def _signed_by(state: Standing) -> str:
    people = [vote.reviewer for vote in state.tally.votes]
    return " and ".join([", ".join(people[:-1]), people[-1]] if len(people) > 1 else people)


def request_report(request: ChangeRequest, state: Standing, end: End, impact: Mapping[str, int]) -> Report:
    tally = state.tally
    fields: dict[str, Any] = {
        "outcome": end.outcome.value,
        "message": end.message,
        "impact": dict(impact),
        "approvals": [{"reviewer": vote.reviewer, "key": vote.key, "at": timestamp(vote.at)} for vote in tally.votes],
        "eligibleReviewers": list(tally.eligible),
    }
    approved = end.outcome in (Outcome.APPROVED, Outcome.EXECUTED)
    settled = end.outcome is not Outcome.PENDING
    conditions = (
        Condition("Approved", holds=approved, reason=end.outcome.value, message=end.message),
        Condition("Settled", holds=settled, reason=end.outcome.value, message=end.message),
    )
    return Report("changerequests", request.meta, conditions, fields)


def approval_reports(request: ChangeRequest, state: Standing, snapshot: Snapshot) -> Iterable[Report]:
    counted = {vote.approval: vote for vote in state.tally.votes}
    for approval in snapshot.approvals.get(request.meta.name, ()):
        yield Report("approvals", approval.meta, (_counted(approval, counted.keys(), state.tally.refused),))


def _counted(approval: Approval, counted: Iterable[str], refused: Mapping[str, str]) -> Condition:
    if approval.verdict is Verdict.REJECT:
        return Condition("Counted", holds=True, reason="Rejection", message="It ends the change request.")
    if approval.meta.name in counted:
        return Condition("Counted", holds=True, reason="Verified", message="The signature is good, and counts.")
    return Condition("Counted", holds=False, reason="NotCounted", message=refused.get(approval.meta.name, "It does not count."))


def notices_of(request: ChangeRequest, end: End) -> tuple[Notice, ...]:
    """Events on the change request, and on its target where that can have some."""
    about = Target(group=GROUP, version=VERSION, resource="changerequests", name=request.meta.name, uid=request.meta.uid)
    what = f"{request.operation} by {request.requester.username}"
    warning = end.outcome in (Outcome.REJECTED, Outcome.EXPIRED)
    made = [Notice("ChangeRequest", about, end.outcome.value, end.message, warning=warning)]
    kind = _KINDS.get((request.target.group, request.target.resource))
    if kind is not None and request.target.uid:
        reason = "ChangeHeldBack" if end.outcome is Outcome.PENDING else f"Change{end.outcome.value}"
        made.append(
            Notice(kind, request.target, reason, f"{what}, changerequests.{GROUP}/{request.meta.name}: {end.message}", warning=True)
        )
    return tuple(made)


def keeps_registration_closed(request: ChangeRequest, snapshot: Snapshot) -> bool:
    """Whether this is the record that registration counts as closed by while its field is not written (the latch never opens again)."""
    default = snapshot.default
    if default is not None and default.registration is Registration.CLOSED:
        return False
    first = min((name for name, each in snapshot.requests.items() if was_approved(each, snapshot)), default="")
    return request.meta.name == first


def kept_until(request: ChangeRequest, approvals: Iterable[Approval], keeping: Keeping) -> datetime:
    """Past expiry and past the pause after a rejection, and then for `keep_ended`."""
    ends = [request.expires_at]
    ends += [a.meta.created + keeping.cool_off for a in approvals if a.verdict is Verdict.REJECT and a.meta.created is not None]
    return max(ends) + keeping.keep_ended
