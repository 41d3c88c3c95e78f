"""The agents' identities dealt out over CEL expressions, so that none outgrows what the API server takes."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from countersign.domain.identify import SERVICE_ACCOUNT, is_glob
from countersign.domain.resources import AgentIdentity, Subject, SubjectKind
from countersign.wire.cel import ADMISSION, Asker, literal, some, subject_matches, username_in

SHARD_NAMES: Final = 1_500
SHARD_LETTERS: Final = 90_000  # of the API server's 100,000 code points an expression; the rest is for what stands around the names
_AROUND: Final = 10  # code points around one entry: brackets, commas, the colon of a map, the question mark of a condition
MAX_SHARDS: Final = 6  # times SHARD_LETTERS, in the webhook configuration and in each policy: below etcd's 1.5 MB an object


@dataclass(frozen=True, slots=True)
class Shard:
    """So many agents as one expression holds: identities by exact username, and by identity a condition for its globs and groups."""

    named: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    conditions: Mapping[str, str] = field(default_factory=dict)
    asker: Asker = ADMISSION

    @property
    def matches(self) -> str:
        """CEL: whether the requester is one of these agents."""
        exact = [username_in(self.named, self.asker)] if self.named else []
        return some(*exact, *self.conditions.values())


@dataclass(frozen=True, slots=True)
class Dealt:
    """`left_out` names the identities for which there was no room: they are reported, and the surface is never widened instead."""

    shards: tuple[Shard, ...]
    left_out: tuple[str, ...] = ()


def deal(identities: Iterable[AgentIdentity], asker: Asker = ADMISSION) -> Dealt:
    """Fill shard after shard, the oldest identity first, so that a new one changes only the last shard."""
    hands: list[_Hand] = []
    left_out: list[str] = []
    for identity in sorted(identities, key=_age):
        entries = [(username, "") for subject in identity.subjects for username in exact_usernames(subject)]
        rest = [subject_matches(subject, asker) for subject in identity.subjects if not exact_usernames(subject)]
        if rest:
            entries.append(("", some(*rest)))
        taken = [_dealt_to(hands, identity.meta.name, username, condition) for username, condition in entries]
        if not all(taken):
            left_out.append(identity.meta.name)
            for hand in hands:
                hand.forget(identity.meta.name)
    shards = tuple(Shard(hand.named, hand.conditions, asker) for hand in hands if hand.named or hand.conditions)
    return Dealt(shards, tuple(left_out))


def exact_usernames(subject: Subject) -> tuple[str, ...]:
    """The one username a subject stands for, if it stands for one and asks for nothing else."""
    if subject.groups or subject.extra or subject.kind is SubjectKind.GROUP or is_glob(subject.name):
        return ()
    if subject.kind is SubjectKind.SERVICE_ACCOUNT:
        return (f"{SERVICE_ACCOUNT}{subject.namespace}:{subject.name}",)
    return (subject.name,)


def _age(identity: AgentIdentity) -> tuple[str, str]:
    return (identity.meta.created.isoformat() if identity.meta.created else "", identity.meta.name)


@dataclass(slots=True)
class _Hand:
    """A shard while it is filled; `letters` is what its map literal would take, which is more than its list."""

    named: dict[str, tuple[str, ...]] = field(default_factory=dict)
    conditions: dict[str, str] = field(default_factory=dict)
    letters: int = 0

    def take(self, identity: str, username: str, condition: str) -> bool:
        """False where there is no room."""
        more = len(literal(identity)) + _AROUND + len(condition or literal(username))
        if self.letters + more > SHARD_LETTERS or (username not in self.named and len(self.named) >= SHARD_NAMES):
            return False
        self.letters += more
        if condition:
            self.conditions[identity] = condition
        else:
            self.named[username] = tuple(sorted({*self.named.get(username, ()), identity}))
        return True

    def forget(self, identity: str) -> None:
        self.conditions.pop(identity, None)
        for username in [name for name, identities in self.named.items() if identity in identities]:
            others = tuple(name for name in self.named[username] if name != identity)
            if others:
                self.named[username] = others
            else:
                del self.named[username]


def _dealt_to(hands: list[_Hand], identity: str, username: str, condition: str) -> bool:
    """Put one entry where its username already stands, else into the last hand, else into a new one."""
    if username:
        for hand in hands:
            if username in hand.named:
                return hand.take(identity, username, "")
    if hands and hands[-1].take(identity, username, condition):
        return True
    if len(hands) == MAX_SHARDS:
        return False
    hand = _Hand()
    if not hand.take(identity, username, condition):
        return False
    hands.append(hand)
    return True
