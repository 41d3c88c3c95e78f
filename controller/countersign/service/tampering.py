"""What follows when a guard was put back: people are told in every way they may listen to, and where it is chosen agents are locked down.

Told are the log, the operator's own chained records (stdout), the metrics, an Event, and a condition of the environment `default`.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

from countersign.domain.document import JsonObject, items, text
from countersign.domain.emergency import unlifted
from countersign.domain.names import DEFAULT_ENVIRONMENT, GROUP, VERSION
from countersign.domain.record import rfc3339
from countersign.domain.resources import Lockdown, ProtectedEnvironment, Target
from countersign.domain.tampering import Incident, Repair, What
from countersign.service.keeping import Condition, Notice, Notices, Statuses
from countersign.service.ports import Api, ApiError, Clock, DecisionLog

SHOWN: Final = timedelta(minutes=15)
"""For how long the condition says what has happened, after which it is for the log and the Events."""
_STATUS: Final = f"/apis/{GROUP}/{VERSION}/protectedenvironments/{DEFAULT_ENVIRONMENT}/status"
_CONDITION: Final = "GuardsIntact"
_TAKEN_OUT: Final = "the lockdown %s is NOT IN FORCE: a mutating policy or webhook of somebody takes it out of the status of the environment default; remove that"
_AGAIN: Final = timedelta(minutes=1)  # between two tellings that one guard is rewritten: it is found with every round

_log = logging.getLogger(__name__)


class RepairMeter(Protocol):
    def repaired(self, guard: str, what: str, seconds: float) -> None: ...

    def locked(self, is_locked: bool) -> None: ...


class Tampering:
    """`number` makes up the number of an incident. `also`: further conditions. `wake` is called when there is news for them."""

    def __init__(
        self,
        api: Api,
        clock: Clock,
        *,
        log: DecisionLog,
        notices: Notices,
        statuses: Statuses,
        meter: RepairMeter,
        number: Callable[[], str],
        lockdown: bool,
        also: Sequence[Callable[[ProtectedEnvironment], Condition]] = (),
    ) -> None:
        self._api = api
        self._clock = clock
        self._records = log
        self._notices = notices
        self._statuses = statuses
        self._meter = meter
        self._number = number
        self._locks = lockdown
        self._also = also
        self._last: Incident | None = None
        self._locking: Lockdown | None = None
        self._rewritten: dict[str, datetime] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.wake: Callable[[], None] = lambda: None

    def repaired(self, repair: Repair) -> None:
        """Take a repair; what needs the API server is done by itself afterwards."""
        now = self._clock.now()
        self._meter.repaired(repair.name, repair.what.value, repair.seconds)
        if repair.what is What.REWRITTEN:
            if now - self._rewritten.get(repair.guard, now - _AGAIN) < _AGAIN:
                return
            self._rewritten[repair.guard] = now
        incident = self._last = Incident(self._number(), now, repair)
        if self._locks and self._locking is None:
            self._locking = incident.lockdown()
        self._spawn(self._follow(incident))
        _log.error("TAMPERING %s: %s", incident.number, repair.sentence)
        self._record({"incident": incident.number, "repair": asdict(repair)})

    async def _follow(self, incident: Incident) -> None:
        """The lockdown first: it is what holds."""
        await self._lock(None)
        self.wake()
        repair = incident.repair
        about = Target(group="admissionregistration.k8s.io", version="v1", resource=repair.collection, name=repair.name)
        message = f"{repair.sentence} Incident {incident.number}."
        await self._notices.tell(Notice(repair.kind, about, "GuardRepaired", message, warning=True))

    # ── the environment `default` ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def settle(self, default: ProtectedEnvironment | None) -> None:
        """A lockdown stands until it is lifted, also where its status was lost with the object. Raises ApiError."""
        standing = unlifted(default) if default is not None else None
        if self._locking is None:
            self._locking = standing
        if self._locking is not None and default is not None:
            if default.lockdown_lifted == self._locking.incident:
                _log.warning("the lockdown %s is lifted", self._locking.incident)
                self._record({"lockdownLifted": self._locking.incident})
                self._locking = standing
            elif standing is None:
                await self._lock(default)
        self._meter.locked(self._locking is not None)

    async def _lock(self, default: ProtectedEnvironment | None) -> None:
        lockdown = self._locking
        if lockdown is None:
            return
        written = {**asdict(lockdown), "since": lockdown.since.strftime("%Y-%m-%dT%H:%M:%SZ")}
        uid = {"metadata": {"uid": default.meta.uid}} if default is not None else {}
        try:
            answer = await self._api.patch(_STATUS, {**uid, "status": {"lockdown": written}})
        except ApiError as error:
            _log.error("the lockdown %s is not in force yet: %s", lockdown.incident, error)
            return
        if text(answer, "status", "lockdown", "incident") != lockdown.incident:
            _log.error(_TAKEN_OUT, lockdown.incident)
            self._record({"lockdownTakenOut": written})
            return
        _log.error("LOCKED DOWN: no guarded change of an agent passes until people lift incident %s", lockdown.incident)
        self._record({"lockdown": written})

    def conditions(self, default: ProtectedEnvironment) -> tuple[Condition, ...]:
        return (self._intact(default), _locked(default), *(condition(default) for condition in self._also))

    def _intact(self, default: ProtectedEnvironment) -> Condition:
        now = self._clock.now()
        if self._last is not None and now - self._last.at < SHOWN:
            message = f"{self._last.repair.sentence} Incident {self._last.number}."
            return Condition(_CONDITION, holds=False, reason="Tampered", message=message)
        status = self._statuses.current("protectedenvironments", default.meta.name, default.meta.uid)
        if self._last is None and (before := _still_shown(status, now)):
            return Condition(_CONDITION, holds=False, reason="Tampered", message=before)
        return Condition(
            _CONDITION, holds=True, reason="Watched", message="All guards are as they should be; each change to one is undone at once."
        )

    def _record(self, record: Mapping[str, object]) -> None:
        try:
            self._records.append({"time": rfc3339(self._clock.now()), **record})
        except OSError:
            _log.exception("this could not be recorded: %s", record)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _locked(default: ProtectedEnvironment) -> Condition:
    lockdown = unlifted(default)
    if lockdown is None:
        return Condition("LockedDown", holds=False, reason="NotLocked", message="Agents' changes are let through once they are signed for.")
    message = (
        f"{lockdown.what} No guarded change of an agent is let through, signed for or not, until people have looked into it and "
        f"a second human has signed for spec.lockdownLifted: {lockdown.incident}."
    )
    return Condition("LockedDown", holds=True, reason="Tampered", message=message)


def _still_shown(status: JsonObject, now: datetime) -> str:
    """What an operator before this one had to say."""
    for condition in items(status, "conditions"):
        if text(condition, "type") == _CONDITION and text(condition, "status") == "False":
            try:
                since = datetime.fromisoformat(text(condition, "lastTransitionTime"))
            except ValueError:
                return ""
            return text(condition, "message") if now - since < SHOWN else ""
    return ""
