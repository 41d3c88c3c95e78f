"""Which environments hold back a change to our settings, and from whom (docs/rules.md, Removing protection: from whom)."""

from dataclasses import dataclass

from countersign.domain import weakening
from countersign.domain.classify import ENVIRONMENTS, IDENTITIES, REVIEWERS, Setting
from countersign.domain.identify import Requester, matches
from countersign.domain.protect import Hold, given_a_voice, hold, registration_is_closed
from countersign.domain.request import Operation, UserInfo
from countersign.domain.resources import AgentIdentity, ProtectedEnvironment, Reviewer
from countersign.domain.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class SettingHold:
    """`weaker` names what is taken away. `closed_for_good`: nobody could sign for it, since no environment says how."""

    hold: Hold
    weaker: tuple[str, ...] = ()
    closed_for_good: bool = False


_FREE = SettingHold(Hold((), ()))


def setting_hold(
    change: Setting,
    old: AgentIdentity | Reviewer | ProtectedEnvironment | None,
    new: AgentIdentity | Reviewer | ProtectedEnvironment | None,
    who: Requester,
    user: UserInfo,
    snapshot: Snapshot,
) -> SettingHold:
    """What holds back one change to a setting; `old` and `new` are the parsed objects."""
    match old, new:
        case (ProtectedEnvironment() as before, None) if change.kind == ENVIRONMENTS:
            return SettingHold(hold((before,), who, user), ("an environment is deleted",))
        case (ProtectedEnvironment() as before, ProtectedEnvironment() as after) if change.kind == ENVIRONMENTS:
            weaker = weakening.of_environment(before, after)
            return SettingHold(hold((before,), who, user), weaker) if weaker else _FREE
        case (AgentIdentity(), None) if change.kind == IDENTITIES:
            return SettingHold(hold(tuple(snapshot.environments.values()), who, user), ("an agent is no longer recognised",))
        case (AgentIdentity() as before, AgentIdentity() as after) if change.kind == IDENTITIES:
            weaker = weakening.of_identity(before, after)
            return SettingHold(hold(tuple(snapshot.environments.values()), who, user), weaker) if weaker else _FREE
        case (Reviewer() | None as before, Reviewer() as after) if change.kind == REVIEWERS:
            return _registration(before, after, who, user, snapshot)
        case (Reviewer(), None) if change.kind == REVIEWERS and change.operation is Operation.DELETE:
            return _FREE
        case (None, ProtectedEnvironment() | AgentIdentity()) if change.operation is Operation.CREATE:
            return _FREE
        case _:
            return SettingHold(Hold((), ()), closed_for_good=True)


def _registration(before: Reviewer | None, after: Reviewer, who: Requester, user: UserInfo, snapshot: Snapshot) -> SettingHold:
    """Registering is guarded for everybody but `default.spec.except`, once registration is closed."""
    weaker = weakening.of_reviewer(before, after)
    if not weaker or not registration_is_closed(snapshot):
        unbarred = weakening.frees_a_sponsor(before, after, snapshot.identities.values())
        return SettingHold(hold(tuple(snapshot.environments.values()), who, user), unbarred) if unbarred else _FREE
    default = snapshot.default
    if default is None:
        return SettingHold(Hold((), ()), weaker, closed_for_good=True)
    if any(matches(subject, user) for subject in default.exceptions):
        return SettingHold(Hold((), (default,)), weaker)
    return SettingHold(Hold(given_a_voice(after, snapshot), ()), weaker)
