"""Broken glass is never quiet: it is told when it is announced, when it begins and when it is over, and while it lasts."""

import logging
from datetime import datetime
from typing import Protocol

from countersign.domain.emergency import GLASS_LASTS, describe, glass_is_broken
from countersign.domain.names import DEFAULT_ENVIRONMENT, GROUP, VERSION
from countersign.domain.record import rfc3339
from countersign.domain.resources import Glass, ProtectedEnvironment, Target
from countersign.domain.snapshot import Snapshot
from countersign.service.keeping import Condition, Notice, Notices
from countersign.service.ports import Clock, DecisionLog

_log = logging.getLogger(__name__)


class GlassMeter(Protocol):
    def glass(self, is_broken: bool) -> None: ...


class GlassWatch:
    """Compares each look with the one before. A process that has just begun tells what it finds."""

    def __init__(self, clock: Clock, log: DecisionLog, notices: Notices, meter: GlassMeter) -> None:
        self._clock = clock
        self._records = log
        self._notices = notices
        self._meter = meter
        self._announced: Glass | None = None
        self._is_broken = False

    async def reconcile(self, snapshot: Snapshot) -> None:
        default, now = snapshot.default, self._clock.now()
        glass = default.glass if default is not None else None
        is_broken = glass_is_broken(snapshot, now)
        self._meter.glass(is_broken)
        is_ahead = glass is not None and now < glass.since
        if default is not None and glass is not None and is_ahead and glass != self._announced:
            await self._tell(default, "GlassAnnounced", f"{describe(glass)}. Whoever does not agree removes spec.glass before that.")
        if default is not None and glass is not None and is_broken and not self._is_broken:
            await self._tell(default, "GlassBroken", f"{describe(glass)}.")
        if default is not None and self._is_broken and not is_broken:
            await self._tell(default, "GlassWhole", "People need signatures again where the environments say so.")
        self._announced, self._is_broken = glass, is_broken

    async def _tell(self, default: ProtectedEnvironment, reason: str, sentence: str) -> None:
        _log.error("%s: %s", reason, sentence)
        try:
            self._records.append({"time": rfc3339(self._clock.now()), "glass": {"state": reason, "what": sentence}})
        except OSError:
            _log.exception("this could not be recorded: %s", sentence)
        about = Target(GROUP, VERSION, "protectedenvironments", DEFAULT_ENVIRONMENT, uid=default.meta.uid)
        await self._notices.tell(Notice("ProtectedEnvironment", about, reason, sentence, warning=True))


def glass_condition(default: ProtectedEnvironment, now: datetime) -> Condition:
    glass = default.glass
    if glass is not None and now < glass.since:
        return Condition("GlassBroken", holds=False, reason="Announced", message=f"{describe(glass)}.")
    if glass is not None and now < glass.since + GLASS_LASTS:
        return Condition("GlassBroken", holds=True, reason="Broken", message=f"{describe(glass)}.")
    return Condition("GlassBroken", holds=False, reason="Whole", message="Signatures are needed as the environments say.")
