"""ChangeRequest: the record made when a guarded change is refused; what a reviewer signs.

The order of the spec's fields is the order of the statement (docs/rules.md, The statement): it cannot change any more.
"""

from typing import Annotated, Any, Literal

from pydantic import Field

from countersign.domain.document import JsonObject
from countersign.domain.names import API_VERSION
from countersign.domain.resources import Change, ChangeRequest, Cluster, Losses, Outcome, Requester, Target
from countersign.wire.resources.base import (
    API_GROUP,
    ATOMIC,
    IMMUTABLE,
    Closed,
    Column,
    Count,
    Kind,
    Status,
    StrictInt,
    Time,
    list_map,
    read,
)
from countersign.wire.times import render_time

_Uid = Annotated[str, Field(max_length=128)]
_Digest = Annotated[str, Field(max_length=71, pattern=r"^(sha256:[0-9a-f]{64})?$")]
_Name = Annotated[str, Field(min_length=1, max_length=253)]
_Username = Annotated[str, Field(min_length=1, max_length=1024)]


class ClusterModel(Closed):
    """The cluster that this is about."""

    name: Annotated[str, Field(min_length=1, max_length=253, description="What people call the cluster.")]
    uid: Annotated[str, Field(min_length=1, max_length=128, description="The UID of its namespace kube-system: what counts.")]


class TargetModel(Closed):
    """The one object that would be changed."""

    group: Annotated[str, Field(max_length=253, pattern=API_GROUP, description='Its API group; "" is the core group.')]
    version: Annotated[str, Field(min_length=1, max_length=63, description="The API version of the request.")]
    resource: Annotated[str, Field(min_length=1, max_length=128, description="Its resource, in the plural.")]
    namespace: Annotated[str, Field(max_length=63, description="Its namespace; left out for a cluster-scoped object.")] = ""
    name: Annotated[str, Field(min_length=1, max_length=512, description="Its name.")]
    uid: Annotated[
        _Uid, Field(description="Its UID: an object created later under the same name is another one. Left out for a CREATE.")
    ] = ""


class ChangeModel(Closed):
    """What would change."""

    old: Annotated[_Digest, Field(description="Digest of the object as it is (UPDATE, DELETE).")] = ""
    new: Annotated[_Digest, Field(description="Digest of the object as it would be (UPDATE, CREATE).")] = ""
    lines: Annotated[
        tuple[Annotated[str, Field(max_length=512)], ...],
        Field(max_length=32, description="The same for people: one change a line.", json_schema_extra=ATOMIC),
    ] = ()


class LossesModel(Closed):
    """What cannot be rebuilt; what is left out was not counted. Recounted before the change is let through."""

    volumes: Annotated[Count | None, Field(description="PersistentVolumeClaims and their data.")] = None
    load_balancers: Annotated[Count | None, Field(description="LoadBalancer Services and their addresses.")] = None


class RequesterModel(Closed):
    """Who asked, and for whom."""

    username: Annotated[_Username, Field(description="The requester's name as the API server authenticated it.")]
    key: Annotated[str, Field(min_length=1, max_length=16_384, description="What tells this requester from others.")]
    agents: Annotated[
        tuple[_Name, ...], Field(max_length=64, description="The AgentIdentities that matched.", json_schema_extra=ATOMIC)
    ] = ()
    sponsors: Annotated[
        tuple[_Username, ...],
        Field(max_length=256, description="The people who run these agents; their signatures do not count.", json_schema_extra=ATOMIC),
    ] = ()


class ChangeRequestSpec(Closed):
    """The change that was refused. Immutable: signatures stand on it."""

    cluster: ClusterModel
    operation: Annotated[Literal["CREATE", "UPDATE", "DELETE"], Field(description="What was asked for.")]
    target: TargetModel
    change: ChangeModel = ChangeModel()
    losses: LossesModel = LossesModel()
    requester: RequesterModel
    environments: Annotated[
        tuple[_Name, ...], Field(max_length=256, description="The environments that hold the change back.", json_schema_extra=ATOMIC)
    ] = ()
    required: Annotated[StrictInt, Field(ge=1, le=21, description="How many people must sign.")]
    round: Annotated[StrictInt, Field(ge=1, le=2_147_483_647, description="Counts how often the same change was asked for.")]
    expires_at: Annotated[Time, Field(description="Signatures count until then.")]
    statement: Annotated[
        str,
        Field(
            min_length=1,
            max_length=131_072,
            description="The text that a reviewer signs, made from the fields above; signatures are verified over the fields.",
        ),
    ]


class SignatureModel(Closed):
    """One person's signature that counts."""

    reviewer: Annotated[_Name, Field(description="The Reviewer.")]
    key: Annotated[str, Field(max_length=63, description="The name of the key.")] = ""
    at: Annotated[Time | None, Field(description="When the Approval was created.")] = None


class ChangeRequestStatus(Status):
    """What the operator has seen of this request. Written by the operator only; nothing is decided by it."""

    impact: Annotated[
        dict[str, Count],
        Field(default_factory=dict, max_length=64, description="What would go with the target and can be rebuilt: how many of each kind."),
    ]
    approvals: Annotated[
        tuple[SignatureModel, ...],
        Field(max_length=64, description="The signatures that count now.", json_schema_extra=list_map("reviewer")),
    ] = ()
    eligible_reviewers: Annotated[
        tuple[_Name, ...], Field(max_length=1024, description="The Reviewers whose signature would count.", json_schema_extra=ATOMIC)
    ] = ()
    message: Annotated[str, Field(max_length=4096, description="One sentence on where this stands, with the reviewer's comment.")] = ""
    outcome: Annotated[Outcome | None, Field(description="Where this stands.")] = None


CHANGE_REQUEST = Kind(
    kind="ChangeRequest",
    plural="changerequests",
    short="chreq",
    description="A change that was refused and waits for signatures. Created by the webhook when it refuses, and by nobody else.",
    spec=ChangeRequestSpec,
    status=ChangeRequestStatus,
    spec_extra=IMMUTABLE,
    selectable=(".status.outcome", ".spec.target.name", ".spec.requester.username"),
    columns=(
        Column("Outcome", ".status.outcome", "Where this stands."),
        Column("Operation", ".spec.operation", "What was asked for."),
        Column("Resource", ".spec.target.resource", "The kind of its target."),
        Column("Namespace", ".spec.target.namespace", "The target's namespace.", wide=True),
        Column("Target", ".spec.target.name", "The target's name."),
        Column("Volumes", ".spec.losses.volumes", "How many volumes would be lost for good.", type="integer"),
        Column("Requester", ".spec.requester.username", "Who asked."),
        Column("Sponsors", ".spec.requester.sponsors", "Who runs the agent, and cannot sign."),
        Column("Required", ".spec.required", "How many people must sign.", type="integer"),
        Column("Signed", ".status.approvals[*].reviewer", "The first who signed.", wide=True),
        Column("Expires", ".spec.expiresAt", "Until when signatures count."),
        Column("Round", ".spec.round", "How often the same was asked for.", type="integer", wide=True),
        Column("Message", ".status.message", "One sentence on where this stands.", wide=True),
        Column("Age", ".metadata.creationTimestamp", "Since when.", type="date"),
    ),
)


def parse_change_request(obj: JsonObject) -> ChangeRequest:
    """Raises WireError."""
    meta, spec = read(CHANGE_REQUEST, ChangeRequestSpec, obj)
    target, requester = spec.target, spec.requester
    return ChangeRequest(
        meta=meta,
        cluster=Cluster(spec.cluster.name, spec.cluster.uid),
        operation=spec.operation,
        target=Target(
            group=target.group,
            version=target.version,
            resource=target.resource,
            name=target.name,
            namespace=target.namespace,
            uid=target.uid,
        ),
        change=Change(spec.change.old, spec.change.new, spec.change.lines),
        losses=Losses(spec.losses.volumes, spec.losses.load_balancers),
        requester=Requester(requester.username, requester.key, requester.agents, requester.sponsors),
        environments=spec.environments,
        required=spec.required,
        round=spec.round,
        expires_at=spec.expires_at,
        statement=spec.statement,
    )


def render_change_request(request: ChangeRequest) -> dict[str, Any]:
    """The whole object as the API server takes it at creation; what is absent is left out."""
    target, requester = request.target, request.requester
    return {
        "apiVersion": API_VERSION,
        "kind": CHANGE_REQUEST.kind,
        "metadata": {"name": request.meta.name},
        "spec": {
            "cluster": {"name": request.cluster.name, "uid": request.cluster.uid},
            "operation": request.operation,
            "target": {
                "group": target.group,
                "version": target.version,
                "resource": target.resource,
                **({"namespace": target.namespace} if target.namespace else {}),
                "name": target.name,
                **({"uid": target.uid} if target.uid else {}),
            },
            "change": {
                **({"old": request.change.old} if request.change.old else {}),
                **({"new": request.change.new} if request.change.new else {}),
                **({"lines": list(request.change.lines)} if request.change.lines else {}),
            },
            "losses": {
                **({"volumes": request.losses.volumes} if request.losses.volumes is not None else {}),
                **({"loadBalancers": request.losses.load_balancers} if request.losses.load_balancers is not None else {}),
            },
            "requester": {
                "username": requester.username,
                "key": requester.key,
                "agents": list(requester.agents),
                "sponsors": list(requester.sponsors),
            },
            "environments": list(request.environments),
            "required": request.required,
            "round": request.round,
            "expiresAt": render_time(request.expires_at),
            "statement": request.statement,
        },
    }
