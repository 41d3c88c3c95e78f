"""What kind of guarded change a request is, if any (design: What is guarded, standard profile)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from countersign.domain.document import JsonObject, mapping, strings, text
from countersign.domain.names import GROUP
from countersign.domain.request import GroupResource, Operation, Request
from countersign.domain.resources import Change, Losses, Target
from countersign.domain.statement import change_lines, digest_deleted, digest_written

NAMESPACES: Final = GroupResource("", "namespaces")
CLAIMS: Final = GroupResource("", "persistentvolumeclaims")
VOLUMES: Final = GroupResource("", "persistentvolumes")
DEFINITIONS: Final = GroupResource("apiextensions.k8s.io", "customresourcedefinitions")
STATEFULSETS: Final = GroupResource("apps", "statefulsets")
BUILT_IN: Final = frozenset({NAMESPACES, CLAIMS, VOLUMES, DEFINITIONS})
HARDENED: Final = frozenset({STATEFULSETS})
"""What the hardened profile guards besides, from agents alone."""

APPROVALS: Final = GroupResource(GROUP, "approvals")
IDENTITIES: Final = GroupResource(GROUP, "agentidentities")
REVIEWERS: Final = GroupResource(GROUP, "reviewers")
ENVIRONMENTS: Final = GroupResource(GROUP, "protectedenvironments")
SETTINGS: Final = frozenset({IDENTITIES, REVIEWERS, ENVIRONMENTS})


@dataclass(frozen=True, slots=True)
class NotGuarded:
    """Nobody's rules speak of it."""


@dataclass(frozen=True, slots=True)
class Misunderstood:
    """A request we were not made for: refused, and `why` says what is missing."""

    why: str


@dataclass(frozen=True, slots=True)
class Deletion:
    """`labels` are the old object's. `home` is the namespace whose environments hold it: its own, or that of a volume's claim.

    `takes_claims`: a StatefulSet whose claims are deleted with it.
    """

    target: Target
    change: Change
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    home: str
    takes_claims: bool = False

    @property
    def kind(self) -> GroupResource:
        return GroupResource(self.target.group, self.target.resource)


@dataclass(frozen=True, slots=True)
class Relabelling:
    """An update of a namespace that changes its labels."""

    target: Target
    change: Change
    before: Mapping[str, str]
    after: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Setting:
    """A write to an identity, a reviewer or an environment. `generated`: the API server made up its name (generateName)."""

    target: Target
    change: Change
    operation: Operation
    generated: bool = False

    @property
    def kind(self) -> GroupResource:
        return GroupResource(self.target.group, self.target.resource)


@dataclass(frozen=True, slots=True)
class Countersigning:
    """The creation of an Approval."""


Classified: TypeAlias = NotGuarded | Misunderstood | Deletion | Relabelling | Setting | Countersigning
GuardedChange: TypeAlias = Deletion | Relabelling | Setting


def classify(request: Request, listed: frozenset[GroupResource]) -> Classified:
    """`listed` are the kinds that environments guard besides the built-in ones. Only a proven case is not `Misunderstood`."""
    if request.subresource:
        return Misunderstood(f"{request.kind}/{request.subresource} is not a request that Countersign was made for.")
    match request.operation:
        case Operation.DELETE if request.kind in BUILT_IN or request.kind in listed:
            return _deletion(request)
        case Operation.UPDATE if request.kind == NAMESPACES:
            return _relabelling(request)
        case Operation.CREATE | Operation.UPDATE | Operation.DELETE if request.kind in SETTINGS:
            return _setting(request)
        case Operation.CREATE if request.kind == APPROVALS:
            return Countersigning()
        case Operation.CREATE | Operation.UPDATE | Operation.DELETE | Operation.CONNECT:
            return Misunderstood(f"{request.operation} of {request.kind} is not a request that Countersign was made for.")


def fixed_losses(target: Target) -> Losses | None:
    """What a target's deletion costs where that needs no counting; None for a namespace, which must be counted."""
    match GroupResource(target.group, target.resource):
        case kind if kind == NAMESPACES:
            return None
        case kind if kind in (CLAIMS, VOLUMES):
            return Losses(volumes=1)
        case _:
            return Losses()


def _deletion(request: Request) -> Deletion | Misunderstood:
    old = request.old_object
    if old is None or not request.target_name or not request.target_uid:
        return Misunderstood("The deletion names no object with a UID, so nobody can sign for it.")
    home = request.namespace if request.kind != NAMESPACES else ""
    if request.kind == VOLUMES:
        home = text(old, "spec", "claimRef", "namespace")
    return Deletion(
        target=_target(request),
        change=Change(old=digest_deleted(old)),
        labels=strings(old, "metadata", "labels"),
        annotations=strings(old, "metadata", "annotations"),
        home=home,
        takes_claims=text(old, "spec", "persistentVolumeClaimRetentionPolicy", "whenDeleted") == "Delete",
    )


def _relabelling(request: Request) -> Relabelling | NotGuarded | Misunderstood:
    old, new = request.old_object, request.object
    if old is None or new is None or not request.target_uid:
        return Misunderstood("The update of a namespace shows not both the old and the new object.")
    before, after = strings(old, "metadata", "labels"), strings(new, "metadata", "labels")
    if before == after:
        return NotGuarded()
    return Relabelling(_target(request), _update(old, new, generation=False), before, after)


def _setting(request: Request) -> Setting | Misunderstood:
    old, new = request.old_object, request.object
    match request.operation:
        case Operation.CREATE if new is not None:
            if not request.target_name:
                return Misunderstood(f"Give the new {request.kind} a name: a generated one cannot be signed for.")
            change = Change(new=digest_written(new), lines=change_lines({}, new))
        case Operation.UPDATE if old is not None and new is not None:
            change = _update(old, new, generation=True)
        case Operation.DELETE if old is not None:
            change = Change(old=digest_deleted(old, generation=True), lines=change_lines(old, {}))
        case _:
            return Misunderstood(f"The {request.operation} of {request.kind} does not show the objects it is about.")
    generated = request.operation is Operation.CREATE and not request.name and bool(text(new, "metadata", "generateName"))
    return Setting(_target(request), change, request.operation, generated)


def _update(old: JsonObject, new: JsonObject, *, generation: bool) -> Change:
    return Change(old=digest_written(old, generation=generation), new=digest_written(new), lines=change_lines(old, new))


def _target(request: Request) -> Target:
    return Target(
        group=request.group,
        version=request.version,
        resource=request.resource,
        name=request.target_name,
        # The API server puts a Namespace's own name here (requestinfo.go); a namespace lies in none.
        namespace="" if request.kind == NAMESPACES else request.namespace,
        uid=text(mapping(request.old_object, "metadata"), "uid"),
    )
