"""What is refused when one of our settings is created or changed: lock-outs, weak or doubled keys, two people of one name.

A check returns sentences that say what to change. What may become right later is a warning (docs/rules.md, Registration).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from countersign.domain.classify import BUILT_IN
from countersign.domain.identify import BUILTIN_CONTROLLERS, SERVICE_ACCOUNT, Agent, glob, is_glob, matches, shown
from countersign.domain.lookalike import mistakable, unseen
from countersign.domain.names import DEFAULT_ENVIRONMENT, GROUP
from countersign.domain.request import GroupResource, UserInfo
from countersign.domain.resources import (
    AgentIdentity,
    ProtectedEnvironment,
    ProtectFrom,
    Registration,
    Reviewer,
    Selector,
    Subject,
    SubjectKind,
)
from countersign.domain.snapshot import Snapshot
from countersign.domain.sshkey import KeyRefused, PublicKey, parse_public_key

_OURS: Final = ("countersign-webhook", "countersign-operator")
_ACCOUNTS_OF: Final = "system:serviceaccounts:"
_KUBE_SYSTEM: Final = "kube-system"
_PODS: Final = GroupResource("", "pods")
_OF_THE_SERVER: Final = "authentication.kubernetes.io/"  # credential-id, pod-name, …: a ServiceAccount's and a certificate's alike


@dataclass(frozen=True, slots=True)
class Findings:
    errors: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


NOTHING_FOUND: Final = Findings()


def check_identity(new: AgentIdentity, snapshot: Snapshot, *, our_namespace: str, by: UserInfo) -> Findings:
    """`by` is whoever writes it."""
    errors = [*_subject_errors(new, snapshot, our_namespace), *_self_errors(new, by), *_unseen_errors(_names_in(new))]
    if not new.sponsors and not new.sponsor_from_username:
        errors.append("Name at least one sponsor: the human who runs this agent (spec.sponsors, or sponsorFrom: Username).")
    known = set(snapshot.reviewers) | {username for reviewer in snapshot.reviewers.values() for username in reviewer.usernames}
    warnings = [
        f"The sponsor {sponsor!r} is not a registered Reviewer; nobody else's signature is barred by it. Is it spelt as a Reviewer's name or username?"
        for sponsor in new.sponsors
        if sponsor not in known
    ]
    warnings.extend(_mistakable_warnings(_names_in(new), sorted(known)))
    if nobody := _nobody_left(new, snapshot):
        warnings.append(nobody)
    return Findings(tuple(errors), tuple(warnings))


def check_reviewer(new: Reviewer, snapshot: Snapshot, now: datetime) -> Findings:
    others = [reviewer for name, reviewer in snapshot.reviewers.items() if name != new.meta.name]
    errors = [*_username_errors(new, others, snapshot), *_key_errors(new, others), *_unseen_errors(new.usernames)]
    elsewhere = [username for other in others for username in other.usernames]
    elsewhere += [name for identity in snapshot.identities.values() for name in _names_in(identity)]
    warnings = [
        *_mistakable_warnings(new.usernames, elsewhere),
        *(
            f"The key {key.name!r} has expired already (notAfter)."
            for key in new.keys
            if key.not_after is not None and key.not_after <= now
        ),
    ]
    return Findings(tuple(errors), tuple(warnings))


def check_environment(new: ProtectedEnvironment, snapshot: Snapshot, *, closed: bool, now: datetime) -> Findings:
    errors: list[str] = []
    warnings: list[str] = []
    people = able_to_sign(new, snapshot, now)
    if new.approvals.required > len(people):
        sentence = (
            f"It requires {new.approvals.required} signatures, and {len(people)} people could sign"
            f"{' (' + ', '.join(people) + ')' if people else ''}; register more Reviewers or require fewer."
        )
        (errors if closed else warnings).append(sentence)
    errors.extend(
        f"spec.except names {shown(exception)}, which is an agent; agents are never excepted."
        for exception in new.exceptions
        for identity in snapshot.identities.values()
        if any(_overlap(exception, subject) for subject in identity.subjects)
    )
    errors.extend(_unseen_errors(name for exception in new.exceptions for name in _names_of(exception)))
    errors.extend(_selector_errors(new.selector))
    if new.meta.name == DEFAULT_ENVIRONMENT and snapshot.default is None and new.registration is not Registration.CLOSED:
        errors.extend(_reopening_errors(snapshot))
    errors.extend(
        f"spec.resources names {kind}, which is guarded already; leave it out."
        for kind in new.resources
        if kind in BUILT_IN or kind.group == GROUP
    )
    if new.protect_from is ProtectFrom.EVERYONE and _PODS in new.resources:
        errors.append(
            "spec.resources names pods under protectFrom: Everyone. The kubelets delete pods themselves, and none could ever end; leave pods out, or protect from People."
        )
    if new.widens:
        warnings.extend(_widening_warnings(new, snapshot, people))
    return Findings(tuple(errors), tuple(warnings))


def _widening_warnings(new: ProtectedEnvironment, snapshot: Snapshot, people: tuple[str, ...]) -> Iterator[str]:
    """What it means for people that every agent's reach counts (docs/posture.md)."""
    broad = [identity for _, identity in sorted(snapshot.identities.items()) if "*" in identity.could_become.users]
    if not broad:
        return
    names = ", ".join(identity.meta.name for identity in broad[:3]) + (f" and {len(broad) - 3} more" if len(broad) > 3 else "")  # noqa: PLR2004  # three are enough to see whose
    yield f"Agents could act as any user ({names}): every human is held back here as they are, until those rights are taken away."
    barred = {sponsor for identity in broad for sponsor in (*identity.sponsors, *snapshot.directory.lenders(identity))}
    free = [name for name in people if not barred & {name, *snapshot.reviewers[name].usernames}]
    if len(free) <= new.approvals.required:
        yield (
            f"Without the sponsors of those agents {len(free)} people could sign here, and who asks is none of them: "
            f"register more Reviewers, or take those rights away (kubectl get agentidentities {broad[0].meta.name} -o yaml)."
        )


def able_to_sign(environment: ProtectedEnvironment, snapshot: Snapshot, now: datetime) -> tuple[str, ...]:
    """The people whose signature could count for an environment, whoever asks."""
    return tuple(
        name
        for name, reviewer in sorted(snapshot.reviewers.items())
        if _is_in_team(reviewer, environment) and any(_is_usable(key, environment, now) for key in _keys(reviewer))
    )


def _names_in(identity: AgentIdentity) -> tuple[str, ...]:
    """Every name by which an identity recognises somebody."""
    return tuple(name for subject in identity.subjects for name in _names_of(subject)) + identity.sponsors


def _names_of(subject: Subject) -> tuple[str, ...]:
    return (subject.name, *subject.groups, *subject.extra, *(value for values in subject.extra.values() for value in values))


def _unseen_errors(names: Iterable[str]) -> Iterator[str]:
    for name in names:
        if why := unseen(name):
            yield f"The name {name!a} {why}; write the name that the API server sees without it, or give that person another."


def _mistakable_warnings(names: Iterable[str], known: Iterable[str]) -> Iterator[str]:
    known = tuple(known)
    for name in names:
        if why := mistakable(name, known):
            yield f"The name {name!a} {why}. Is it the one that is meant?"


def _keys(reviewer: Reviewer) -> Iterator[tuple[PublicKey, datetime | None]]:
    for key in reviewer.keys:
        try:
            yield parse_public_key(key.public_key), key.not_after
        except KeyRefused:
            continue


def _is_usable(key: tuple[PublicKey, datetime | None], environment: ProtectedEnvironment, now: datetime) -> bool:
    public, not_after = key
    return (not_after is None or now < not_after) and (public.hardware or not environment.approvals.hardware_keys_only)


def _is_in_team(reviewer: Reviewer, environment: ProtectedEnvironment) -> bool:
    teams = environment.approvals.teams
    return not teams or any(team in teams for team in reviewer.teams)


def _subject_errors(identity: AgentIdentity, snapshot: Snapshot, our_namespace: str) -> Iterator[str]:
    if not identity.subjects:
        yield "Name at least one subject."
    for subject in identity.subjects:
        named = shown(subject)
        if subject.kind is SubjectKind.SERVICE_ACCOUNT and "*" in subject.name and subject.name != "*":
            yield f'{named}: a ServiceAccount is named exactly, or "*" for all of its namespace.'
        if _locks_out(subject):
            yield f"{named} would make the cluster's own identities agents; name the agent's own account, user or group."
        if _is_ours(subject, our_namespace):
            yield f"{named} is Countersign's own account; it cannot be an agent."
        if not identity.sponsor_from_username and (person := _same_as_a_person(subject, snapshot)):
            yield (
                f"{named} is also the Reviewer {person}; add `groups` or `extra` that tell the agent from the person, "
                "or set sponsorFrom: Username."
            )


def _self_errors(identity: AgentIdentity, by: UserInfo) -> Iterator[str]:
    """An agent can never take an identity back, so nobody makes an agent of himself."""
    for subject in identity.subjects:
        if matches(subject, by):
            yield f"{shown(subject)} matches you ({by.username}): you would be an agent and could not take it back. Narrow it, or let somebody else write it."


def _nobody_left(identity: AgentIdentity, snapshot: Snapshot) -> str:
    able = [reviewer for reviewer in snapshot.reviewers.values() if reviewer.keys]
    if not able or any(not {reviewer.meta.name, *reviewer.usernames} & set(identity.sponsors) for reviewer in able):
        return ""
    return f"Everybody who could sign sponsors {identity.meta.name}: nothing that it asks for can be approved. Register another Reviewer."


def _locks_out(subject: Subject) -> bool:
    """`system:*` other than system:serviceaccounts:<namespace>, and whatever could match it."""
    match subject.kind:
        case SubjectKind.SERVICE_ACCOUNT:
            username = f"{SERVICE_ACCOUNT}{subject.namespace}:{subject.name}"
            return username in BUILTIN_CONTROLLERS or (subject.namespace == _KUBE_SYSTEM and subject.name == "*")
        case SubjectKind.GROUP:
            namespace = subject.name.removeprefix(_ACCOUNTS_OF)
            whole_namespace = subject.name.startswith(_ACCOUNTS_OF) and namespace not in ("", _KUBE_SYSTEM)
            return subject.name.startswith("system:") and not whole_namespace
        case SubjectKind.USER:
            prefix = subject.name.partition("*")[0].partition("?")[0]
            if prefix.startswith("system:"):
                return True
            return is_glob(subject.name) and "system:".startswith(prefix) and not _is_told_apart(subject)


def _is_told_apart(subject: Subject) -> bool:
    """By more than its name; groups like system:authenticated are everybody's, and so are what the API server adds to `extra` itself."""
    return any(not group.startswith("system:") for group in subject.groups) or any(
        not key.startswith(_OF_THE_SERVER) or not any(is_glob(value) for value in values) for key, values in subject.extra.items()
    )


def _is_ours(subject: Subject, our_namespace: str) -> bool:
    match subject.kind:
        case SubjectKind.SERVICE_ACCOUNT:
            return subject.namespace == our_namespace and subject.name in (*_OURS, "*")
        case SubjectKind.GROUP:
            return subject.name == f"{_ACCOUNTS_OF}{our_namespace}"
        case SubjectKind.USER:
            return False


def _same_as_a_person(subject: Subject, snapshot: Snapshot) -> str:
    if subject.kind is not SubjectKind.USER or _is_told_apart(subject):
        return ""
    return next(
        (name for name, reviewer in snapshot.reviewers.items() if any(glob(subject.name).fullmatch(u) for u in reviewer.usernames)), ""
    )


def _username_errors(new: Reviewer, others: Iterable[Reviewer], snapshot: Snapshot) -> Iterator[str]:
    taken = {username: other.meta.name for other in others for username in other.usernames}
    for username in new.usernames:
        if username in taken:
            yield f"The username {username!r} belongs to the Reviewer {taken[username]} already; one username is one person."
        if username.startswith("system:"):
            yield f"The username {username!r} is not a person's; register the name that the person logs in with."
        if isinstance(agent := snapshot.directory.identify(UserInfo(username)), Agent):
            if any(snapshot.identities[name].sponsor_from_username for name in agent.identities):
                continue
            yield f"The username {username!r} is an agent's ({', '.join(agent.identities)}); agents do not sign."


def _key_errors(new: Reviewer, others: Iterable[Reviewer]) -> Iterator[str]:
    registered = {public.blob: other.meta.name for other in others for public, _ in _keys(other)}
    seen: dict[bytes, str] = {}
    names: set[str] = set()
    for key in new.keys:
        if key.name in names:
            yield f"Two keys are called {key.name!r}; give each a name of its own."
        names.add(key.name)
        try:
            blob = parse_public_key(key.public_key).blob
        except KeyRefused as refusal:
            yield f"The key {key.name!r}: {refusal}"
            continue
        if blob in seen:
            yield f"The keys {seen[blob]!r} and {key.name!r} are the same; keep one."
        if blob in registered:
            yield f"The key {key.name!r} belongs to the Reviewer {registered[blob]} already; one key is one person."
        seen[blob] = key.name


def _selector_errors(selector: Selector) -> Iterator[str]:
    for key in [*selector.match_labels, *(requirement.key for requirement in selector.match_expressions)]:
        if key.partition("/")[0] == GROUP:
            yield f"The selector uses {key!r}, a label that Countersign writes itself; select by a label of your own."


def _reopening_errors(snapshot: Snapshot) -> Iterator[str]:
    """Registration closes for good: deleting `default` and writing it anew must not open it."""
    if snapshot.reviewers or snapshot.requests:
        yield "It would open registration again, which counts as closed while `default` is missing; write it with spec.registration: Closed."


def _overlap(exception: Subject, subject: Subject) -> bool:
    """Whether an exception names what an agent's subject names."""
    if exception.kind is not subject.kind:
        return False
    match exception.kind:
        case SubjectKind.SERVICE_ACCOUNT:
            return exception.namespace == subject.namespace and (exception.name == subject.name or "*" in (exception.name, subject.name))
        case SubjectKind.GROUP:
            return exception.name == subject.name
        case SubjectKind.USER:
            return bool(glob(subject.name).fullmatch(exception.name) or glob(exception.name).fullmatch(subject.name))
