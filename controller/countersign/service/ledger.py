"""The operator takes the webhooks' notes: heads of decision logs into one list, and who would have been held into each trial's status.

In this order, so that what was cut short is done again and nothing is lost: status, heads, then the notes go.
"""

import logging
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Final, Protocol

from countersign.domain.checkpoint import head_of, noted
from countersign.domain.document import JsonObject
from countersign.domain.errors import UnableError
from countersign.domain.notes import Heads, Note, Waiting
from countersign.domain.record import Link
from countersign.domain.resources import Mode, ProtectedEnvironment, Target
from countersign.domain.snapshot import Snapshot
from countersign.domain.trial import Sighting, Trial, fold, happened
from countersign.service.keeping import Report, Statuses
from countersign.service.ports import ApiError, Clock, LiveLook

_log = logging.getLogger(__name__)

_LOOK_SECONDS: Final = 3.0
RIPE: Final = timedelta(seconds=3)
"""What was let through a moment ago need not have happened yet."""


class Inbox(Protocol):
    async def waiting(self) -> Sequence[Waiting]:
        """Raises ApiError."""

    async def remove(self, name: str, uid: str) -> None:
        """Raises ApiError."""

    async def heads(self) -> Heads:
        """Raises ApiError."""

    async def keep(self, heads: Heads) -> None:
        """Raises ApiError; ConflictError where another wrote since."""


class Trials(Protocol):
    """How a trial stands in a status."""

    def read(self, status: JsonObject) -> Trial | None: ...

    def render(self, trial: Trial) -> JsonObject: ...


class Ledger:
    """`link` is that of the operator's own log; `every`: how often the notes are taken at the most."""

    def __init__(
        self, inbox: Inbox, live: LiveLook, statuses: Statuses, clock: Clock, trials: Trials, link: Callable[[], Link], *, every: timedelta
    ) -> None:
        self._inbox = inbox
        self._live = live
        self._statuses = statuses
        self._clock = clock
        self._trials = trials
        self._link = link
        self._every = every.total_seconds()
        self._last: float | None = None
        self._own_hash = ""

    async def reconcile(self, snapshot: Snapshot) -> None:
        """Raises ApiError."""
        now = self._clock.monotonic()
        if self._last is not None and now - self._last < self._every:
            return
        self._last = now
        await self._take(snapshot)

    async def close(self) -> None:
        """Note how the operator's own log ends. Raises ApiError."""
        known = await self._inbox.heads()
        await self._inbox.keep(self._with(known, [], ended=True))

    async def _take(self, snapshot: Snapshot) -> None:
        ripe = self._clock.now() - RIPE
        waiting = [
            each for each in await self._inbox.waiting() if each.note is None or all(seen.at <= ripe for seen in each.note.sightings)
        ]
        notes = [each.note for each in waiting if each.note is not None]
        known = await self._inbox.heads()
        taken = dict(known.taken)
        numbered = {(note.head.process, note.number): note for note in notes}  # one that came through unnoticed lies there twice
        fresh = [note for (process, number), note in numbered.items() if number > taken.get(process, 0)]
        await self._tell(snapshot, [sighting for note in fresh for sighting in note.sightings])
        if notes or self._link().head != self._own_hash:
            await self._inbox.keep(self._with(known, notes))
            self._own_hash = self._link().head
        for each in waiting:
            if each.note is None:
                _log.warning("the note %s cannot be read, and is removed", each.name)
            await self._inbox.remove(each.name, each.uid)

    def _with(self, known: Heads, notes: Sequence[Note], *, ended: bool = False) -> Heads:
        own = head_of(self._link(), self._clock.now(), ended=ended)
        heads = noted(known.heads, [*(note.head for note in notes), own])
        taken = dict(known.taken)
        for note in notes:
            taken[note.head.process] = max(note.number, taken.get(note.head.process, 0))
        kept = {head.process for head in heads}
        return Heads(heads, tuple(sorted((process, number) for process, number in taken.items() if process in kept)), known.version)

    async def _tell(self, snapshot: Snapshot, sightings: Sequence[Sighting]) -> None:
        """Every environment in Audit mode, also where nothing was seen: its week moves on."""
        seen: defaultdict[str, list[Sighting]] = defaultdict(list)
        for sighting in sightings:
            if await self._happened(sighting):
                for name in sighting.environments:
                    seen[name].append(sighting)
        failed: ApiError | None = None
        for name, environment in sorted(snapshot.environments.items()):
            try:
                await self._report(environment, seen[name])
            except ApiError as error:
                _log.warning("who would have been held by the environment %s could not be written: %s", name, error)
                failed = error
        if failed is not None:
            raise failed

    async def _report(self, environment: ProtectedEnvironment, seen: Sequence[Sighting]) -> None:
        meta = environment.meta
        status = self._statuses.current("protectedenvironments", meta.name, meta.uid)
        if environment.mode is Mode.ENFORCE:
            if "wouldHold" in status:
                await self._statuses.report(Report("protectedenvironments", meta, (), {"wouldHold": None}))
            return
        now = self._clock.now()
        trial = fold(self._trials.read(status) or Trial(now), seen, now)
        await self._statuses.report(Report("protectedenvironments", meta, (), {"wouldHold": self._trials.render(trial)}))

    async def _happened(self, sighting: Sighting) -> bool:
        """Also yes where it cannot be seen: a list that leaves somebody out does more harm than one that names too many."""
        try:
            return happened(sighting, await self._look(sighting.target))
        except UnableError as error:
            _log.warning("whether %s %s happened: %s", sighting.operation, sighting.target.name, error)
            return True

    async def _look(self, target: Target) -> JsonObject | None:
        return await self._live.target(target, timeout=_LOOK_SECONDS)
