"""Which environments hold back a change to our settings, and from whom (docs/rules.md, Removing protection: from whom)."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, TypeAlias

from countersign.domain import weakening
from countersign.domain.classify import ENVIRONMENTS, IDENTITIES, REVIEWERS, Setting
from countersign.domain.emergency import describe
from countersign.domain.identify import Agent, Requester, matches, shown
from countersign.domain.names import DEFAULT_ENVIRONMENT
from countersign.domain.protect import Environments, Hold, asker, given_a_voice, hold, registration_is_closed
from countersign.domain.request import Operation, UserInfo
from countersign.domain.resources import AgentIdentity, ProtectedEnvironment, Reviewer, ReviewerKey
from countersign.domain.snapshot import Snapshot
from countersign.domain.sshkey import KeyRefused, parse_public_key


@dataclass(frozen=True, slots=True)
class SettingHold:
    """`weaker` names what is taken away. `closed_for_good`: nobody could sign for it, since no environment says how."""

    hold: Hold
    weaker: tuple[str, ...] = ()
    closed_for_good: bool = False


Writable: TypeAlias = AgentIdentity | Reviewer | ProtectedEnvironment

_FREE = SettingHold(Hold((), ()))
_SHOWN: Final = 5  # things that one sentence names


def setting_hold(
    change: Setting,
    old: Writable | None,
    new: Writable | None,
    who: Requester,
    user: UserInfo,
    snapshot: Snapshot,
) -> SettingHold:
    """What holds back one change to a setting; `old` and `new` are the parsed objects."""
    match old, new:
        case (ProtectedEnvironment() as before, None) if change.kind == ENVIRONMENTS:
            return SettingHold(hold((before,), who, user, snapshot.directory), ("an environment is deleted",))
        case (ProtectedEnvironment() as before, ProtectedEnvironment() as after) if change.kind == ENVIRONMENTS:
            weaker = weakening.of_environment(before, after)
            if weakening.LIFTS in weaker:
                return SettingHold(Hold((before,), ()), weaker)  # whoever asks, `except` or not: it takes a second human
            concerned = _all_of(snapshot) if _lets_others_register(before, after) else (before,)
            return SettingHold(hold(concerned, who, user, snapshot.directory), weaker) if weaker else _FREE
        case (None, ProtectedEnvironment() as after) if change.operation is Operation.CREATE and _lets_others_register(None, after):
            return SettingHold(hold(_all_of(snapshot), who, user, snapshot.directory), ("others may register people",))
        case (AgentIdentity(), None) if change.kind == IDENTITIES:
            return SettingHold(hold(_all_of(snapshot), who, user, snapshot.directory), ("an agent is no longer recognised",))
        case (AgentIdentity() as before, AgentIdentity() as after) if change.kind == IDENTITIES:
            weaker = weakening.of_identity(before, after)
            return SettingHold(hold(_all_of(snapshot), who, user, snapshot.directory), weaker) if weaker else _FREE
        case (Reviewer() | None as before, Reviewer() as after) if change.kind == REVIEWERS:
            return _registration(before, after, who, user, snapshot)
        case (Reviewer(), None) if change.kind == REVIEWERS and change.operation is Operation.DELETE:
            return _FREE
        case (None, ProtectedEnvironment() | AgentIdentity()) if change.operation is Operation.CREATE:
            return _FREE
        case _:
            return SettingHold(Hold((), ()), closed_for_good=True)


def _all_of(snapshot: Snapshot) -> Environments:
    """What belongs to no single environment is held by the strictest of them all."""
    return tuple(snapshot.environments.values())


def _lets_others_register(before: ProtectedEnvironment | None, after: ProtectedEnvironment) -> bool:
    """Whoever stands in `default.spec.except` registers people without a signature, and people sign for every environment."""
    known = before.exceptions if before is not None else ()
    return after.meta.name == DEFAULT_ENVIRONMENT and not weakening.all_covered(after.exceptions, by=known)


def notes(old: Writable | None, new: Writable | None, weaker: tuple[str, ...]) -> tuple[str, ...]:
    """What whoever made the change is told once it has passed.

    What arrived here is what mutating policies and webhooks have left of the request, and nobody can tell whose wish each part of it was:
    so the person is shown whose key is registered and what was taken away, and sees what is not his own.
    """
    taken = (f"this takes protection away: {'; '.join(weaker)}",) if weaker and (old is not None or new is None) else ()
    match new:
        case Reviewer():
            return (*_keys_registered(old if isinstance(old, Reviewer) else None, new), *taken)
        case AgentIdentity() if old is None:
            return (_said_of(f"the agent {new.meta.name} is", (shown(each) for each in new.subjects)),)
        case ProtectedEnvironment() if old is None:
            let_through = _said_of(f"the environment {new.meta.name} lets through", (shown(each) for each in new.exceptions))
            return (*_glass_announced(None, new), *((let_through,) if new.exceptions else ()))
        case ProtectedEnvironment() if isinstance(old, ProtectedEnvironment):
            return (*_glass_announced(old, new), *taken)
        case _:
            return taken


def _keys_registered(old: Reviewer | None, new: Reviewer) -> tuple[str, ...]:
    before = {weakening.material(key.public_key) for key in old.keys} if old else set()
    added = [f"{key.name} {_fingerprint(key)}" for key in new.keys if weakening.material(key.public_key) not in before]
    if not added:
        return ()
    sentence = _said_of(f"from now on {new.meta.name} signs with", added)
    return (f"{sentence} (compare with ssh-keygen -l)",)


def _glass_announced(old: ProtectedEnvironment | None, new: ProtectedEnvironment) -> tuple[str, ...]:
    if new.glass is None or (old is not None and old.glass == new.glass):
        return ()
    return (f"this announces broken glass: {describe(new.glass)}. If that is not your own wish, take spec.glass out again",)


def _fingerprint(key: ReviewerKey) -> str:
    try:
        return parse_public_key(key.public_key).fingerprint
    except KeyRefused:
        return "(unreadable)"


def _said_of(beginning: str, things: Iterable[str]) -> str:
    listed = list(things)
    more = f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
    return f"{beginning} {', '.join(listed[:_SHOWN])}{more}"


def _registration(before: Reviewer | None, after: Reviewer, who: Requester, user: UserInfo, snapshot: Snapshot) -> SettingHold:
    """Registering is guarded for everybody but `default.spec.except`, once registration is closed."""
    weaker = weakening.of_reviewer(before, after)
    if not weaker or not registration_is_closed(snapshot):
        unbarred = weakening.frees_a_sponsor(before, after, snapshot.identities.values())
        return SettingHold(hold(_all_of(snapshot), who, user, snapshot.directory), unbarred) if unbarred else _FREE
    default = snapshot.default
    if default is None:
        return SettingHold(Hold((), ()), weaker, closed_for_good=True)
    is_agent = isinstance(asker(default, who, user, snapshot.directory), Agent)
    if not is_agent and any(matches(subject, user) for subject in default.exceptions):
        return SettingHold(Hold((), (default,)), weaker)
    return SettingHold(Hold(given_a_voice(after, snapshot), ()), weaker)
