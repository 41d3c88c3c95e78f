"""AgentIdentity: who is an agent, and whose. And the subjects, which environments' `except` uses too."""

from typing import Annotated, Literal

from pydantic import Field

from countersign.domain.document import JsonObject
from countersign.domain.resources import AgentIdentity, Subject, SubjectKind
from countersign.wire.resources.base import (
    ATOMIC,
    SET,
    Closed,
    Column,
    Kind,
    NamespaceName,
    Status,
    Username,
    read,
    rule,
)

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


class AgentIdentityStatus(Status):
    """What the operator has seen of this agent."""


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
    )
