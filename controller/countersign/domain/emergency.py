"""Two states of the whole installation, both kept in the environment `default`: a lockdown, and broken glass (docs/breaking-glass.md).

A lockdown holds agents after a guard was tampered with, whatever was signed, until a second human says that the incident is over.
Broken glass is the other way round: a human, never an agent and no machine, does without signatures for an hour, and everybody hears of it
`ahead` of that.
"""

from datetime import UTC, datetime, timedelta
from typing import Final

from countersign.domain.identify import Agent, Human, Requester
from countersign.domain.names import DEFAULT_ENVIRONMENT
from countersign.domain.request import UserInfo
from countersign.domain.resources import Glass, Lockdown, ProtectedEnvironment
from countersign.domain.snapshot import Snapshot

GLASS_LASTS: Final = timedelta(hours=1)
_LONGEST_AHEAD: Final = timedelta(days=1)
_LATEST: Final = datetime.max.replace(tzinfo=UTC) - GLASS_LASTS
_SLACK: Final = timedelta(seconds=30)  # between the clock of whoever writes the time and ours

_GUISE: Final = (
    "An agent could have asked in your name (whenAgentsCanImpersonate: Widen), and only a human breaks the glass: "
    "take away the agent's right first (kubectl get agentidentities, WAYS-ROUND), then ask again."
)


def lockdown_in(snapshot: Snapshot) -> Lockdown | None:
    """The lockdown that nobody has lifted. Without `default` there is none: nothing could say that it is over."""
    return unlifted(snapshot.default) if snapshot.default is not None else None


def unlifted(environment: ProtectedEnvironment) -> Lockdown | None:
    lockdown = environment.lockdown
    return lockdown if lockdown is not None and lockdown.incident != environment.lockdown_lifted else None


def glass_is_broken(snapshot: Snapshot, now: datetime) -> bool:
    glass = snapshot.default.glass if snapshot.default is not None else None
    return glass is not None and glass.since <= now < glass.since + GLASS_LASTS


def glass_faults(
    old: ProtectedEnvironment | None, new: ProtectedEnvironment, who: Requester, user: UserInfo, now: datetime, ahead: timedelta
) -> tuple[str, ...]:
    """What is wrong with an announcement that this change makes; none where it makes none. `who`: in the eyes of the environment."""
    glass = new.glass
    if glass is None or (old is not None and glass == old.glass):
        return ()
    rules = (
        (
            new.meta.name == DEFAULT_ENVIRONMENT,
            f"spec.glass is a setting of the environment {DEFAULT_ENVIRONMENT!r} alone: leave it out here.",
        ),
        (not _is_guise(who), _GUISE),
        (isinstance(who, Human) or _is_guise(who), "Only a human breaks the glass: neither an agent nor a machine may set spec.glass."),
        (glass.by == user.username, f"spec.glass.by must be your own username, {user.username!r}: everybody is told who did it."),
        (
            now + ahead - _SLACK <= glass.since <= now + _LONGEST_AHEAD,
            f"Glass is announced {_minutes(ahead)} ahead, so that nobody breaks it quietly: "
            f"set spec.glass.from to {_rendered(now + ahead)} or later, within a day.",
        ),
    )
    return tuple(sentence for holds, sentence in rules if not holds)


def _is_guise(who: Requester) -> bool:
    return isinstance(who, Agent) and isinstance(who.guise, Human)


def describe(glass: Glass) -> str:
    until = min(glass.since, _LATEST) + GLASS_LASTS  # any time can be asked for, and whoever asks is told what is wrong with it
    return f"{glass.by} does without signatures from {_rendered(glass.since)} to {_rendered(until)}, saying: {glass.why}"


def _rendered(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _minutes(span: timedelta) -> str:
    seconds = int(span.total_seconds())
    return f"{seconds // 60} minutes" if seconds % 60 == 0 else f"{seconds} seconds"
