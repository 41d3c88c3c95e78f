"""AgentIdentity: who is an agent, and whose. And the subjects, which environments' `except` uses too."""

from collections.abc import Iterable
from typing import Annotated, Any, Final, Literal

from pydantic import Field, ValidationError

from countersign.domain.document import JsonObject, mapping
from countersign.domain.resources import ANYBODY, AgentIdentity, Becoming, Subject, SubjectKind
from countersign.wire.resources.base import (
    ATOMIC,
    SET,
    Closed,
    Column,
    Count,
    Kind,
    NamespaceName,
    Status,
    StrictInt,
    Username,
    read,
    rule,
)

MOST_NAMES: Final = 100
_LONGEST_NAME: Final = 320
_Glob = Annotated[str, Field(min_length=1, max_length=1024)]


class SubjectModel(Closed):
    """One way to recognise a requester, in the shape of RBAC subjects. All of its fields must match."""

    kind: Annotated[SubjectKind, Field(description="What `name` is the name of.")]
    name: Annotated[
        _Glob,
        Field(
            description="ServiceAccount: its name, or * for every account of the namespace. "
            "User: an anchored glob with * and ?. Group: its exact name."
        ),
    ]
    namespace: Annotated[NamespaceName | None, Field(description="The ServiceAccount's namespace; only for ServiceAccounts.")] = None
    groups: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=256)], ...],
        Field(max_length=16, description="Groups that the requester must hold as well, all of them.", json_schema_extra=SET),
    ] = ()
    extra: Annotated[
        dict[str, Annotated[tuple[_Glob, ...], Field(min_length=1, max_length=16, json_schema_extra=ATOMIC)]],
        Field(
            default_factory=dict, max_length=16, description="Extra values of the requester: for each key one of these globs must match."
        ),
    ]

    def subject(self) -> Subject:
        return Subject(self.kind, self.name, self.namespace or "", self.groups, self.extra)


# As rules on the list's items and not on the model, so that one sentence serves `subjects` and `except`.
SUBJECT_RULES = {
    "x-kubernetes-validations": [
        rule(
            "(self.kind == 'ServiceAccount') == has(self.__namespace__)",
            "a ServiceAccount needs its namespace, and nothing else has one",
        ),
        rule(
            "self.kind != 'ServiceAccount' || self.name == '*' || "
            "(size(self.name) <= 253 && self.name.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$'))",
            "a ServiceAccount is named in full, or by * alone for every account of its namespace",
        ),
    ]
}
SubjectItem = Annotated[SubjectModel, Field(json_schema_extra=SUBJECT_RULES)]


class AgentIdentitySpec(Closed):
    """Which requesters are this agent, and which people run it."""

    sponsors: Annotated[
        tuple[Username, ...],
        Field(
            max_length=64,
            description="The people who run the agent: names of Reviewers, or usernames. They never sign for what it does.",
            json_schema_extra=SET,
        ),
    ] = ()
    sponsor_from: Annotated[
        Literal["Username"] | None,
        Field(description="Username: the agent uses its human's own name, and that human is the sponsor."),
    ] = None
    subjects: Annotated[
        tuple[SubjectItem, ...],
        Field(min_length=1, max_length=256, description="Who the agent is to the API server: any of these.", json_schema_extra=ATOMIC),
    ]


class CouldBecomeModel(Closed):
    """Under whose names the agent could act."""

    generation: Annotated[StrictInt, Field(ge=0, description="The generation of the AgentIdentity that this was found for.")]
    users: Annotated[
        tuple[Username, ...],
        Field(max_length=MOST_NAMES, description="Usernames; * is everybody who is no ServiceAccount.", json_schema_extra=ATOMIC),
    ] = ()
    service_accounts: Annotated[
        tuple[Annotated[str, Field(min_length=3, max_length=320)], ...],
        Field(
            max_length=MOST_NAMES,
            description="ServiceAccounts as NAMESPACE/NAME; NAMESPACE/* is all of one, */* all there are.",
            json_schema_extra=ATOMIC,
        ),
    ] = ()


class CountsModel(Closed):
    """How many of each were found."""

    could_delete: Annotated[Count, Field(description="Guarded kinds that RBAC lets it delete.")]
    could_become: Annotated[Count, Field(description="Entries of couldBecome.")]
    ways_round: Annotated[Count, Field(description="Ways round Countersign that its rights leave open.")]


class AgentIdentityStatus(Status):
    """What the operator has seen of this agent: what its rights would let it do (docs/posture.md).

    Environments that say whenAgentsCanImpersonate: Widen decide by couldBecome; where it is missing, by everybody.
    """

    counts: Annotated[CountsModel | None, Field(description="How many of each were found.")] = None
    ways_round: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=1024)], ...],
        Field(max_length=12, description="The worst ways round that are open, with their remedies.", json_schema_extra=ATOMIC),
    ] = ()
    could_become: Annotated[CouldBecomeModel | None, Field(description="Under whose names it could act.")] = None


AGENT_IDENTITY = Kind(
    kind="AgentIdentity",
    plural="agentidentities",
    short="agid",
    description="Who is an agent, and whose: requests of these subjects are held back by protected environments until a second human has signed.",
    spec=AgentIdentitySpec,
    status=AgentIdentityStatus,
    spec_extra={
        "x-kubernetes-validations": [
            rule(
                "(has(self.sponsors) && size(self.sponsors) > 0) || has(self.sponsorFrom)",
                "an agent has a sponsor: name one in sponsors, or set sponsorFrom: Username",
            )
        ]
    },
    columns=(
        Column("Sponsors", ".spec.sponsors", "The people who run the agent."),
        Column("Sponsor-From", ".spec.sponsorFrom", "Where the sponsor comes from, if not from the list.", wide=True),
        Column("Kind", ".spec.subjects[0].kind", "Kind of the first subject."),
        Column("Namespace", ".spec.subjects[0].namespace", "Namespace of the first subject."),
        Column("Subject", ".spec.subjects[0].name", "Name of the first subject."),
        Column("Held", '.status.conditions[?(@.type=="Held")].status', "Whether its rights leave no direct way round Countersign."),
        Column("Ways-Round", ".status.counts.waysRound", "How many ways round its rights leave open, direct or not.", type="integer"),
        Column("Age", ".metadata.creationTimestamp", "Since when.", type="date"),
    ),
)


def parse_agent_identity(obj: JsonObject) -> AgentIdentity:
    """Raises WireError."""
    meta, spec = read(AGENT_IDENTITY, AgentIdentitySpec, obj)
    return AgentIdentity(
        meta=meta,
        subjects=tuple(subject.subject() for subject in spec.subjects),
        sponsors=spec.sponsors,
        sponsor_from_username=spec.sponsor_from == "Username",
        could_become=_could_become(obj, meta.generation),
    )


def _could_become(obj: JsonObject, generation: int) -> Becoming:
    """What status says, where it is about this generation; else everybody. The one thing in a status that is decided by."""
    try:
        found = CouldBecomeModel.model_validate(mapping(obj, "status", "couldBecome"))
    except ValidationError:
        return ANYBODY
    if found.generation != generation:
        return ANYBODY
    return Becoming(frozenset(found.users), frozenset(found.service_accounts))


def render_could_become(becoming: Becoming, generation: int) -> dict[str, Any]:
    """As it stands in status. Too many names are everybody."""
    return {
        "generation": generation,
        "users": _bounded(becoming.users, "*"),
        "serviceAccounts": _bounded(becoming.accounts, "*/*"),
    }


def _bounded(names: Iterable[str], everybody: str) -> list[str]:
    listed = sorted(names)
    if everybody in listed or len(listed) > MOST_NAMES or any(len(name) > _LONGEST_NAME for name in listed):
        return [everybody]
    return listed
