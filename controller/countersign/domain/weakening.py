"""Which part of a change to our settings takes protection away (invariant 10). An empty answer: it only adds."""

from collections.abc import Iterable
from typing import Final

from countersign.domain.identify import glob
from countersign.domain.resources import (
    AgentIdentity,
    Mode,
    ProtectedEnvironment,
    Registration,
    Requirement,
    Reviewer,
    Selector,
    Subject,
    SubjectKind,
)

LIFTS: Final = "a lockdown is lifted"


def of_environment(old: ProtectedEnvironment, new: ProtectedEnvironment) -> tuple[str, ...]:
    """What the change would weaken, a phrase each."""
    rules = (
        ("fewer namespaces may match its selector", not widens(old.selector, new.selector)),
        ("more namespaces are excluded", _adds(old.exclude, new.exclude)),
        ("it protects from fewer", new.protect_from.strictness < old.protect_from.strictness),
        ("more identities are excepted", not all_covered(new.exceptions, by=old.exceptions)),
        ("own work lasts longer", new.own_work is not None and (old.own_work is None or new.own_work > old.own_work)),
        ("it only audits", old.mode is Mode.ENFORCE and new.mode is Mode.AUDIT),
        ("fewer signatures are required", new.approvals.required < old.approvals.required),
        ("more people may sign", _more_teams(old.approvals.teams, new.approvals.teams)),
        ("software keys may sign", old.approvals.hardware_keys_only and not new.approvals.hardware_keys_only),
        ("an approval may be used for longer", new.approvals.use_within > old.approvals.use_within),
        ("fewer kinds are guarded", _adds(new.resources, old.resources)),
        ("whom agents could become count as agents no more", old.widens and not new.widens),
        ("registration opens again", old.registration is Registration.CLOSED and new.registration is not Registration.CLOSED),
        (LIFTS, lifts_lockdown(old, new)),
    )
    return tuple(phrase for phrase, weaker in rules if weaker)


def lifts_lockdown(old: ProtectedEnvironment, new: ProtectedEnvironment) -> bool:
    """Whether another incident is named as over, whatever it is: nobody may say so ahead of its time either."""
    return bool(new.lockdown_lifted) and new.lockdown_lifted != old.lockdown_lifted


def of_identity(old: AgentIdentity, new: AgentIdentity) -> tuple[str, ...]:
    rules = (
        ("fewer subjects are recognised", not all_covered(old.subjects, by=new.subjects)),
        ("its sponsors change", set(old.sponsors) != set(new.sponsors) or old.sponsor_from_username != new.sponsor_from_username),
    )
    return tuple(phrase for phrase, weaker in rules if weaker)


def of_reviewer(old: Reviewer | None, new: Reviewer) -> tuple[str, ...]:
    """What a registration adds: a person, a username, a key, a key's longer life, a team."""
    if old is None:
        return ("a reviewer is registered",)
    lives = {material(key.public_key): key.not_after for key in old.keys}
    outlives = any(
        (known := material(key.public_key)) in lives
        and (before := lives[known]) is not None
        and (key.not_after is None or key.not_after > before)
        for key in new.keys
    )
    rules = (
        ("a username is added", _adds(old.usernames, new.usernames)),
        ("a key is added", _adds(lives, (material(key.public_key) for key in new.keys))),
        ("a key lives longer", outlives),
        ("a team is added", _adds(old.teams, new.teams)),
    )
    return tuple(phrase for phrase, more in rules if more)


def frees_a_sponsor(old: Reviewer | None, new: Reviewer, identities: Iterable[AgentIdentity]) -> tuple[str, ...]:
    """Whether a person sheds a username by which an identity names its sponsor: from then on that person could sign for the agent."""
    if old is None or not new.keys:
        return ()
    gone = set(old.usernames) - set(new.usernames)
    return tuple(
        f"a sponsor of {identity.meta.name} is no longer known by that name"
        for identity in identities
        if gone & set(identity.sponsors) and not {new.meta.name, *new.usernames} & set(identity.sponsors)
    )


def all_covered(subjects: Iterable[Subject], *, by: Iterable[Subject]) -> bool:
    """Whether whoever any of the subjects matches is surely matched by one of the others too."""
    wide = tuple(by)
    return all(any(covers(each, subject) for each in wide) for subject in subjects)


def covers(wide: Subject, narrow: Subject) -> bool:
    """Whether `wide` surely matches whomever `narrow` matches. What is not plain counts as no."""
    return (
        wide.kind is narrow.kind
        and _name_covers(wide, narrow)
        and set(wide.groups) <= set(narrow.groups)
        and all(_values_covered(globs, narrow.extra.get(key, ())) for key, globs in wide.extra.items())
    )


def _name_covers(wide: Subject, narrow: Subject) -> bool:
    match wide.kind:
        case SubjectKind.SERVICE_ACCOUNT:
            return wide.namespace == narrow.namespace and wide.name in ("*", narrow.name)
        case SubjectKind.GROUP:
            return wide.name == narrow.name
        case SubjectKind.USER:
            return _glob_covers(wide.name, narrow.name)


def _values_covered(wide: Iterable[str], narrow: Iterable[str]) -> bool:
    """A value that one of the narrow globs takes is taken by one of the wide ones; none at all take any value, or lack the key."""
    globs, values = tuple(wide), tuple(narrow)
    return bool(values) and all(any(_glob_covers(each, value) for each in globs) for value in values)


def _glob_covers(wide: str, narrow: str) -> bool:
    """The wide glob read over the text of the narrow one: `*` takes any of it, stars too, `?` any one character but a star."""
    return wide == narrow or bool(glob(wide, one="[^*]").fullmatch(narrow))


def material(public_key: str) -> str:
    """Type and key of an OpenSSH public key line: another comment is no other key."""
    return " ".join(public_key.split()[:2])


def widens(old: Selector, new: Selector) -> bool:
    """Whether everything that the old selector matches is surely matched by the new one: each new term follows from an old one."""
    before = _terms(old)
    return all(any(_follows(term, known) for known in before) for term in _terms(new))


def _terms(selector: Selector) -> tuple[Requirement, ...]:
    return (*(Requirement(key, "In", (value,)) for key, value in selector.match_labels.items()), *selector.match_expressions)


def _follows(term: Requirement, known: Requirement) -> bool:
    if term.key != known.key:
        return False
    wanted, had = set(term.values), set(known.values)
    match known.operator, term.operator:
        case "In", "In":
            return had <= wanted
        case "In", "NotIn":
            return not had & wanted
        case "In" | "Exists", "Exists":
            return True
        case "NotIn", "NotIn":
            return wanted <= had
        case "DoesNotExist", "NotIn" | "DoesNotExist":
            return True
        case _:
            return False


def _adds(old: Iterable[object], new: Iterable[object]) -> bool:
    before = list(old)
    return any(item not in before for item in new)


def _more_teams(old: tuple[str, ...], new: tuple[str, ...]) -> bool:
    """No teams means everybody."""
    return bool(old) and (not new or _adds(old, new))
