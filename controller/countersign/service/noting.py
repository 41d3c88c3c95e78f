"""What a webhook leaves with the operator, once a minute at the most: the head of its decision log, and whom a trial would have held.

A note is created and never changed: the webhook may create and nothing else, so whoever breaks into it cannot take back what it has noted.
One note waits at a time; while the operator takes none, the next one gathers.
"""

import asyncio
import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Final, Protocol

from countersign.domain.answer import Answer
from countersign.domain.checkpoint import head_of
from countersign.domain.errors import CountersignError
from countersign.domain.notes import Note
from countersign.domain.record import Link
from countersign.domain.request import Request
from countersign.domain.trial import Gathering, sighting_of
from countersign.service.ports import Clock

_log = logging.getLogger(__name__)

_LAST_SECONDS: Final = 3.0
_AGAIN_SECONDS: Final = 5.0


class Outbox(Protocol):
    async def post(self, note: Note) -> bool:
        """Leave it for the operator. False where the one before still lies there, or Countersign is being uninstalled. Raises ApiError."""


class Noting:
    """`link` is the log's present link; `every`: how often at the most."""

    def __init__(self, outbox: Outbox, clock: Clock, link: Callable[[], Link], *, every: timedelta) -> None:
        self._outbox = outbox
        self._clock = clock
        self._link = link
        self._every = every.total_seconds()
        self._gathering = Gathering()
        self._pending: Note | None = None
        self._number = 0
        self._posted_hash = ""

    def decided(self, request: Request, answer: Answer) -> None:
        """Remember what the trial is to tell; nothing is written here."""
        sighting = sighting_of(request, answer, self._clock.now())
        if sighting is not None:
            self._gathering.add(sighting)

    async def run(self) -> None:
        """For ever: the first note at once, so that a process is known from its first record on."""
        while True:
            done = await self.note()
            await asyncio.sleep(self._every if done else min(self._every, _AGAIN_SECONDS))

    async def note(self) -> bool:
        """Leave one note, if there is anything new to say. False where it is to be tried again soon."""
        if self._pending is None:
            if not self._gathering and self._link().head == self._posted_hash:
                return True
            if self._gathering.dropped:
                _log.warning("%d changes of requesters past all bounds are not in the trial's list", self._gathering.dropped)
            self._number += 1
            self._pending = Note(self._number, head_of(self._link(), self._clock.now()), self._gathering.take())
        posted = await self._post(self._pending)
        if posted:
            self._posted_hash, self._pending = self._pending.head.hash, None
        return posted

    async def close(self) -> None:
        """The last note, with all that is left. Nothing may be recorded after it."""
        before, self._pending = self._pending, None
        number = before.number if before else self._number + 1
        sightings = Gathering((*(before.sightings if before else ()), *self._gathering.take())).take()
        try:
            async with asyncio.timeout(_LAST_SECONDS):
                await self._post(Note(number, head_of(self._link(), self._clock.now(), ended=True), sightings))
        except TimeoutError:
            _log.warning("the head of the decision log could not be noted at the end: the API server does not answer")

    async def _post(self, note: Note) -> bool:
        try:
            return await self._outbox.post(note)
        except CountersignError as error:
            _log.warning("the head of the decision log could not be noted: %s", error)
        except Exception:  # noqa: BLE001  # decisions go on whatever becomes of a note
            _log.exception("the head of the decision log could not be noted")
        return False
