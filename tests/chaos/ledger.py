"""What was asked while something broke, what was answered, and what is to be thought of it. Pure: no cluster, no clock."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

import httpx

from tests.controlplane.api import Answer

OURS = "countersign"


class Who(StrEnum):
    GUARDED = "agents, guarded"  # what nobody has signed for
    APPROVED = "agents, approved"  # what somebody has
    AGENTS = "agents, ordinary"
    PEOPLE = "people"
    SIGNING = "signatures"


class Verdict(StrEnum):
    RIGHT = "right"
    WRONG = "wrong"  # let through what nobody has signed for, or twice what was signed for once
    UNABLE = "unable"  # a guarded request refused because we could not decide: asked again it goes the right way
    BLOCKED = "blocked"  # somebody's ordinary request that failed because of us
    SERVER = "server"  # the API server's own failure, while it was what we broke


@dataclass(frozen=True, slots=True)
class Asked:
    """One request. `begun` and `ended` are on the clock of `time.monotonic`; `said` is what was answered, for people."""

    who: Who
    what: str
    begun: float
    ended: float
    verdict: Verdict
    said: str


@dataclass(slots=True)
class Change:
    """One approved deletion, from the first refusal to the second one, of the namespace recreated under its name."""

    name: str
    signed: bool = False
    executed: bool = False
    refused_again: bool = False

    @property
    def done(self) -> bool:
        return self.signed and self.executed and self.refused_again


@dataclass(slots=True)
class Ledger:
    """Of one fault. `touches_server`: the API server itself is what breaks, so its silence is not held against us."""

    touches_server: bool = False
    asked: list[Asked] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)

    def count(self, verdict: Verdict, *who: Who) -> int:
        return sum(1 for each in self.asked if each.verdict is verdict and (not who or each.who in who))

    def requests(self, *who: Who) -> int:
        return sum(1 for each in self.asked if each.who in who)

    def last_trouble(self) -> float | None:
        """When the last answer was given that was not the right one."""
        return max((each.ended for each in self.asked if each.verdict is not Verdict.RIGHT), default=None)

    def slowest(self, *who: Who) -> float:
        return max((each.ended - each.begun for each in self.asked if each.who in who), default=0.0)

    # --- judging one answer; None is no answer at all -------------------------------------------

    def unsigned(self, answer: Answer | None) -> Verdict:
        """Of an agent's guarded change that nobody has signed for."""
        if answer is not None and answer.ok:
            return Verdict.WRONG
        if answer is not None and answer.status == httpx.codes.FORBIDDEN and cause(answer, "outcome") in ("Pending", "DryRun"):
            return Verdict.RIGHT
        return self._trouble(answer, Verdict.UNABLE)

    def signed(self, answer: Answer | None) -> Verdict:
        """Of an agent's guarded change that enough people have signed for: a refusal costs another try."""
        return Verdict.RIGHT if answer is not None and answer.ok else self._trouble(answer, Verdict.UNABLE)

    def signature(self, answer: Answer | None) -> Verdict:
        """Of a reviewer's Approval. One that is there already was taken in by an attempt whose answer got lost."""
        if answer is not None and (answer.ok or answer.status == httpx.codes.CONFLICT):
            return Verdict.RIGHT
        return self._trouble(answer, Verdict.UNABLE)

    def sponsors_signature(self, answer: Answer | None) -> Verdict:
        """Of an Approval by the human who runs the agent, which never counts."""
        if answer is not None and answer.ok:
            return Verdict.WRONG
        if answer is not None and cause(answer, "fault"):
            return Verdict.RIGHT
        return self._trouble(answer, Verdict.UNABLE)

    def ordinary(self, answer: Answer | None) -> Verdict:
        """Of what is none of our business."""
        return Verdict.RIGHT if answer is not None and answer.ok else self._trouble(answer, Verdict.BLOCKED)

    def _trouble(self, answer: Answer | None, ours: Verdict) -> Verdict:
        names_us = answer is not None and OURS in str(answer.body.get("message", "")).lower()
        return Verdict.SERVER if self.touches_server and not names_us else ours


def cause(answer: Answer, name: str) -> str:
    """One of a refusal's facts for machines; "" where it has none of that name."""
    causes = (answer.body.get("details") or {}).get("causes") or []
    return next((str(each.get("message", "")) for each in causes if each.get("reason") == name), "")


def said(answer: Answer | None) -> str:
    return "no answer" if answer is None else f"{answer.status} {' '.join(str(answer.body.get('message', '')).split())[:300]}"
