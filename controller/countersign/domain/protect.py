"""Which environments hold a guarded change back from a requester, each judged by itself."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from countersign.domain.classify import BUILT_IN, DEFINITIONS, NAMESPACES, VOLUMES, Deletion, Relabelling
from countersign.domain.errors import UnableError
from countersign.domain.identify import Agent, Directory, Human, Machine, Requester, matches
from countersign.domain.names import ANNOTATION_CREATED_BY
from countersign.domain.request import GroupResource, UserInfo
from countersign.domain.resources import ChangeRequest, ProtectedEnvironment, ProtectFrom, Registration, Reviewer, Verdict
from countersign.domain.snapshot import Snapshot

Environments: TypeAlias = tuple[ProtectedEnvironment, ...]


@dataclass(frozen=True, slots=True)
class Hold:
    """`held` hold the change back; `excepted` would, but for their `except`."""

    held: Environments
    excepted: Environments


def matching(deletion: Deletion, snapshot: Snapshot, beyond: frozenset[GroupResource] = frozenset()) -> Environments:
    """The environments that a deletion would touch. Raises UnableError where a namespace's labels are not known.

    `beyond` are kinds that each environment guards besides the built-in ones.
    """
    everything, kind = snapshot.environments.values(), deletion.kind
    if kind == NAMESPACES:
        return tuple(e for e in everything if e.covers(deletion.target.name, deletion.labels))
    concerned = tuple(everything) if kind in BUILT_IN | beyond else tuple(e for e in everything if kind in e.resources)
    if deletion.target.namespace:
        return _in_namespace(deletion.home, concerned, snapshot)
    # Cluster-scoped: what lists the kind; for volumes the claim's environments; and always the default.
    if kind == VOLUMES:
        at_home = _in_namespace(deletion.home, concerned, snapshot) if deletion.home in snapshot.namespaces else ()
        return _with_default(at_home, snapshot)
    if kind == DEFINITIONS:
        return _with_default(tuple(e for e in everything if any(str(listed) == deletion.target.name for listed in e.resources)), snapshot)
    return concerned


def losing(relabelling: Relabelling, snapshot: Snapshot) -> Environments:
    """The environments that a namespace would leave by its new labels (invariant 10)."""
    name = relabelling.target.name
    return tuple(e for e in snapshot.environments.values() if e.covers(name, relabelling.before) and not e.covers(name, relabelling.after))


def hold(environments: Environments, who: Requester, user: UserInfo, directory: Directory | None = None) -> Hold:
    """Which of the environments hold the change back from this requester. `directory` knows as whom else it counts where one widens."""
    barring = tuple(e for e in environments if protects_from(e.protect_from, asker(e, who, user, directory)))
    excepted = tuple(e for e in barring if _is_excepted(e, asker(e, who, user, directory), user))
    return Hold(tuple(environment for environment in barring if environment not in excepted), excepted)


def asker(environment: ProtectedEnvironment, who: Requester, user: UserInfo, directory: Directory | None) -> Requester:
    """The requester in the eyes of one environment."""
    return directory.counted(user) if environment.widens and directory is not None else who


def protects_from(scope: ProtectFrom, who: Requester) -> bool:
    match who:
        case Agent():
            return True
        case Human():
            return scope in (ProtectFrom.PEOPLE, ProtectFrom.EVERYONE)
        case Machine(builtin=builtin):
            return scope is ProtectFrom.EVERYONE and not builtin


def may_be_own_work(environment: ProtectedEnvironment, deletion: Deletion, created: datetime | None, user: UserInfo, now: datetime) -> bool:
    """Whether the requester made this namespace itself and lately; that no claim is in it is for a live count to say."""
    return deletion.kind == NAMESPACES and is_own_work(environment, deletion.annotations, created, user, now)


def is_own_work(
    environment: ProtectedEnvironment, annotations: Mapping[str, str], created: datetime | None, user: UserInfo, now: datetime
) -> bool:
    """Whether the requester made the namespace that bears these annotations, and lately."""
    return (
        environment.own_work is not None
        and created is not None
        and now - created <= environment.own_work
        and annotations.get(ANNOTATION_CREATED_BY) == user.username
    )


def registration_is_closed(snapshot: Snapshot) -> bool:
    """Closed by its field, when `default` is absent, or when a change request has been approved: never open by doubt.

    For that the signatures need not count any more: taking a key or a Reviewer away opens nothing again. An Approval was verified when
    it was created, and cannot change.
    """
    default = snapshot.default
    if default is None or default.registration is Registration.CLOSED:
        return True
    return any(was_approved(request, snapshot) for request in snapshot.requests.values())


def was_approved(request: ChangeRequest, snapshot: Snapshot) -> bool:
    """Whether enough people have signed it at any time, whatever has become of their keys."""
    signed = {approval.reviewer for approval in snapshot.approvals.get(request.meta.name, ()) if approval.verdict is Verdict.APPROVE}
    return len(signed) >= request.required


def given_a_voice(reviewer: Reviewer, snapshot: Snapshot) -> Environments:
    """The environments whose signers a Reviewer's registration would add to; `default` always."""
    return tuple(
        e
        for e in snapshot.environments.values()
        if e is snapshot.default or not e.approvals.teams or any(team in e.approvals.teams for team in reviewer.teams)
    )


def _in_namespace(namespace: str, environments: Iterable[ProtectedEnvironment], snapshot: Snapshot) -> Environments:
    known = snapshot.namespaces.get(namespace)
    if known is None:
        raise UnableError(f"The namespace {namespace!r} is not known here yet.")
    labels: Mapping[str, str] = known.labels
    return tuple(e for e in environments if e.covers(namespace, labels))


def _with_default(environments: Environments, snapshot: Snapshot) -> Environments:
    default = snapshot.default
    return environments if default is None or default in environments else (default, *environments)


def _is_excepted(environment: ProtectedEnvironment, who: Requester, user: UserInfo) -> bool:
    match who:
        case Agent():
            return False
        case Human() | Machine():
            return any(matches(subject, user) for subject in environment.exceptions)
