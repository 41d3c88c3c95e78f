"""What has become of protection between two looks at the cluster: namespaces that left an environment, settings that were weakened.

The webhook judges requests; this compares states, so it also finds what came another way: a change that nobody was asked about, or one
that a mutating policy made of somebody else's update.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from countersign.domain import weakening
from countersign.domain.names import ANNOTATION_ENVIRONMENTS, GROUP
from countersign.domain.resources import AgentIdentity, Meta, Namespace, ProtectedEnvironment, Reviewer
from countersign.domain.snapshot import Snapshot

_LONGEST: Final = 4000  # of the annotation; what is cut off is not remembered over a restart


@dataclass(frozen=True, slots=True)
class Home:
    """The environments that a namespace was in; `labels` None where only its annotation tells."""

    environments: frozenset[str]
    labels: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Left:
    """A namespace that is in an environment no more, though both may still be there."""

    namespace: Meta
    environment: str
    before: Mapping[str, str] | None
    after: Mapping[str, str]

    @property
    def difference(self) -> str:
        """The labels that differ, for people."""
        if self.before is None:
            return "its labels were changed while nobody looked"
        keys = sorted(key for key in self.before.keys() | self.after.keys() if self.before.get(key) != self.after.get(key))
        lines = [f"{key}: {self.before.get(key, '(absent)')} -> {self.after.get(key, '(absent)')}" for key in keys if not _is_ours(key)]
        return "; ".join(lines) or "its labels are as they were: the environment was changed"


@dataclass(frozen=True, slots=True)
class Weakened:
    """A setting that protects less than before; `what` is a phrase each."""

    kind: str
    plural: str
    meta: Meta
    what: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings at one look."""

    environments: Mapping[str, ProtectedEnvironment]
    identities: Mapping[str, AgentIdentity]
    reviewers: Mapping[str, Reviewer]

    @classmethod
    def of(cls, snapshot: Snapshot) -> "Settings":
        """A copy: a snapshot of the operator's goes on changing."""
        return cls(dict(snapshot.environments), dict(snapshot.identities), dict(snapshot.reviewers))


def home_of(namespace: Namespace, environments: Iterable[ProtectedEnvironment]) -> Home:
    names = frozenset(each.meta.name for each in environments if each.covers(namespace.meta.name, namespace.labels))
    return Home(names, dict(namespace.labels))


def home_noted(namespace: Namespace) -> Home:
    """What the annotation remembers, over a restart of the operator."""
    return Home(frozenset(name for name in namespace.annotations.get(ANNOTATION_ENVIRONMENTS, "").split(",") if name))


def note(home: Home) -> str | None:
    """The annotation's value; None where there is none."""
    text = ",".join(sorted(home.environments))
    return (text if len(text) <= _LONGEST else text[:_LONGEST].rpartition(",")[0]) or None


def left(namespace: Namespace, before: Home, now: Home) -> tuple[Left, ...]:
    gone = sorted(before.environments - now.environments)
    return tuple(Left(namespace.meta, name, before.labels, namespace.labels) for name in gone)


def weakened(old: Settings, new: Settings) -> tuple[Weakened, ...]:
    """Also where an object was deleted and written anew between two looks."""
    found = [
        Weakened("ProtectedEnvironment", "protectedenvironments", (after or before).meta, what)
        for name, before in old.environments.items()
        if (what := _of_environment(before, after := new.environments.get(name)))
    ]
    found += [
        Weakened("AgentIdentity", "agentidentities", (now or before).meta, what)
        for name, before in old.identities.items()
        if (what := _of_identity(before, now := new.identities.get(name)))
    ]
    found += [
        Weakened("Reviewer", "reviewers", after.meta, what)
        for name, after in new.reviewers.items()
        if (what := weakening.of_reviewer(old.reviewers.get(name), after))
    ]
    return tuple(found)


def _of_environment(before: ProtectedEnvironment, after: ProtectedEnvironment | None) -> tuple[str, ...]:
    return ("an environment is deleted",) if after is None else weakening.of_environment(before, after)


def _of_identity(before: AgentIdentity, after: AgentIdentity | None) -> tuple[str, ...]:
    return ("an agent is no longer recognised",) if after is None else weakening.of_identity(before, after)


def _is_ours(key: str) -> bool:
    return key.partition("/")[0] == GROUP
