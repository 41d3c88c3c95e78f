"""ProtectedEnvironment: what is protected, from whom, by how many signatures."""

from datetime import timedelta
from typing import Annotated, Final, Literal

from pydantic import Field, ValidationError

from countersign.domain.document import JsonObject, mapping
from countersign.domain.durations import render_duration
from countersign.domain.names import DEFAULT_ENVIRONMENT
from countersign.domain.request import GroupResource
from countersign.domain.resources import (
    ApprovalRules,
    Glass,
    Lockdown,
    Mode,
    ProtectedEnvironment,
    ProtectFrom,
    Registration,
    Requirement,
    Selector,
    WhenImpersonated,
)
from countersign.wire.errors import WireError
from countersign.wire.resources.base import (
    API_GROUP,
    ATOMIC,
    SET,
    Closed,
    Column,
    Duration,
    Kind,
    NamespaceName,
    Status,
    StrictBool,
    StrictInt,
    Team,
    Time,
    Username,
    list_map,
    read,
    rule,
)
from countersign.wire.resources.identity import SubjectItem
from countersign.wire.resources.trial import TrialModel

_USE_WITHIN: Final = timedelta(hours=1)
_LabelValue = Annotated[str, Field(max_length=63, pattern=r"^([A-Za-z0-9]([-._A-Za-z0-9]*[A-Za-z0-9])?)?$")]
_LabelKey = Annotated[
    str, Field(min_length=1, max_length=317, pattern=r"^([a-z0-9][-.a-z0-9]*/)?[A-Za-z0-9]([-._A-Za-z0-9]*[A-Za-z0-9])?$")
]


class RequirementModel(Closed):
    """One condition on a label."""

    key: Annotated[_LabelKey, Field(description="The label.")]
    operator: Annotated[Literal["In", "NotIn", "Exists", "DoesNotExist"], Field(description="How its value is compared.")]
    values: Annotated[
        tuple[_LabelValue, ...], Field(max_length=64, description="For In and NotIn: the values.", json_schema_extra=ATOMIC)
    ] = ()


_REQUIREMENT_RULES = {
    "x-kubernetes-validations": [
        rule(
            "(self.operator in ['In', 'NotIn']) == (has(self.values) && size(self.values) > 0)",
            "In and NotIn need values; Exists and DoesNotExist have none",
        )
    ]
}


class SelectorModel(Closed):
    """A label selector; empty selects every namespace."""

    match_labels: Annotated[
        dict[str, _LabelValue],
        Field(default_factory=dict, max_length=32, description="Labels that a namespace must have, with these values."),
    ]
    match_expressions: Annotated[
        tuple[Annotated[RequirementModel, Field(json_schema_extra=_REQUIREMENT_RULES)], ...],
        Field(max_length=32, description="Further conditions on labels; all must hold.", json_schema_extra=ATOMIC),
    ] = ()

    def selector(self) -> Selector:
        expressions = tuple(Requirement(each.key, each.operator, each.values) for each in self.match_expressions)
        return Selector(self.match_labels, expressions)


class NamespacesModel(Closed):
    """The namespaces of the environment."""

    selector: Annotated[
        SelectorModel,
        Field(description="By their labels; left out: every namespace.", json_schema_extra={"x-kubernetes-map-type": "atomic"}),
    ] = SelectorModel()
    exclude: Annotated[
        tuple[NamespaceName, ...],
        Field(max_length=256, description="Names of namespaces that are not of this environment.", json_schema_extra=SET),
    ] = ()


class ApprovalRulesModel(Closed):
    """Who must sign, and how long that holds."""

    required: Annotated[StrictInt, Field(ge=1, le=20, description="How many people must sign.")] = 1
    teams: Annotated[
        tuple[Team, ...],
        Field(max_length=64, description="Only members of one of these teams count; left out: every Reviewer.", json_schema_extra=SET),
    ] = ()
    hardware_keys_only: Annotated[
        StrictBool, Field(description="Only signatures by hardware keys (sk-) count, for which somebody touched the key.")
    ] = False
    use_within: Annotated[
        Duration,
        Field(
            description="How long after the last needed signature the change may be made.",
            json_schema_extra={"default": render_duration(_USE_WITHIN)},
        ),
    ] = _USE_WITHIN

    def rules(self) -> ApprovalRules:
        return ApprovalRules(self.required, self.teams, self.hardware_keys_only, self.use_within)


class ResourceModel(Closed):
    """A kind of resource, by API group and plural name."""

    group: Annotated[str, Field(max_length=253, pattern=API_GROUP, description='The API group; "" is the core group.')]
    resource: Annotated[
        str, Field(min_length=1, max_length=63, pattern=r"^[a-z]([-a-z0-9]*[a-z0-9])?$", description="Plural name; no subresource.")
    ]


Incident = Annotated[str, Field(min_length=1, max_length=32, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]


class GlassModel(Closed):
    """An announcement that people do without signatures."""

    since: Annotated[Time, Field(alias="from", description="From when on; it lasts one hour.")]
    by: Annotated[Username, Field(description="Your own username.")]
    why: Annotated[str, Field(min_length=10, max_length=500, description="Why, for everybody to read.")]

    def glass(self) -> Glass:
        return Glass(self.since, self.by, self.why)


class LockdownModel(Closed):
    """A guard was tampered with: nothing guarded is let through for an agent until spec.lockdownLifted names the incident."""

    incident: Annotated[Incident, Field(description="What to name in spec.lockdownLifted, once people have looked into it.")]
    since: Annotated[Time, Field(description="When it was noticed.")]
    guard: Annotated[str, Field(max_length=300, description="Which guard.")]
    what: Annotated[str, Field(max_length=1000, description="What had happened to it.")]

    def lockdown(self) -> Lockdown:
        return Lockdown(self.incident, self.since, self.guard, self.what)


class ProtectedEnvironmentSpec(Closed):
    """What is protected, from whom, by how many signatures."""

    namespaces: Annotated[NamespacesModel, Field(description="The namespaces of the environment; left out: every namespace.")] = (
        NamespacesModel()
    )
    protect_from: Annotated[
        ProtectFrom,
        Field(
            description="Agents: only agents are held back. People: humans too. "
            "Everyone: ServiceAccounts too, but never the cluster's own controllers."
        ),
    ]
    exceptions: Annotated[
        tuple[SubjectItem, ...],
        Field(
            alias="except",
            max_length=64,
            description="Requesters that are let through; never agents.",
            json_schema_extra=ATOMIC,
        ),
    ] = ()
    own_work: Annotated[
        Duration | None,
        Field(
            description="For how long an agent may delete a namespace that it created itself, while no volume hangs on it; left out: never."
        ),
    ] = None
    mode: Annotated[
        Mode, Field(description="Audit: let through and record what would have been refused. Going back from Enforce is a guarded change.")
    ] = Mode.ENFORCE
    approvals: Annotated[ApprovalRulesModel, Field(description="Who must sign, and how long that holds.")] = ApprovalRulesModel()
    registration: Annotated[
        Registration | None,
        Field(
            description=f"Only in the environment {DEFAULT_ENVIRONMENT!r}. Open (or left out): Reviewers may be registered freely. "
            "Closed, for good: registering one is a guarded change. The operator closes it."
        ),
    ] = None
    lockdown_lifted: Annotated[
        Incident | None,
        Field(
            description=f"Only in the environment {DEFAULT_ENVIRONMENT!r}. The incident (status.lockdown.incident) that people have looked into: "
            "its lockdown ends. A guarded change for everybody: a second human signs for it."
        ),
    ] = None
    glass: Annotated[
        GlassModel | None,
        Field(
            description=f"Only in the environment {DEFAULT_ENVIRONMENT!r}, set by a human: for one hour people (never agents) do without "
            "signatures. Announced ahead, and told to everybody. To end it, take it out."
        ),
    ] = None
    resources: Annotated[
        tuple[ResourceModel, ...],
        Field(
            max_length=64,
            description="Further kinds whose deletion is held back: in the environment's namespaces, or everywhere when cluster-scoped.",
            json_schema_extra=list_map("group", "resource"),
        ),
    ] = ()
    when_agents_can_impersonate: Annotated[
        WhenImpersonated,
        Field(
            description="Report: agents that could become somebody else are told of (AgentIdentity, condition Held). "
            "Widen: everyone whom an agent could become is held back here as that agent would be, but for the cluster's own controllers. "
            "Going back to Report is a guarded change."
        ),
    ] = WhenImpersonated.REPORT


class ProtectedEnvironmentStatus(Status):
    """What the operator has seen of this environment. Of it only `lockdown` is decided by, and it can only hold back."""

    lockdown: Annotated[
        LockdownModel | None, Field(description=f"Only in the environment {DEFAULT_ENVIRONMENT!r}: the last one, lifted or not.")
    ] = None
    would_hold: Annotated[TrialModel | None, Field(description="In Audit mode: who would have been held back in the last seven days.")] = (
        None
    )


PROTECTED_ENVIRONMENT = Kind(
    kind="ProtectedEnvironment",
    plural="protectedenvironments",
    short="penv",
    description="A set of namespaces whose deletion is held back until enough people have signed. "
    "Where several environments cover a namespace, all must be satisfied.",
    spec=ProtectedEnvironmentSpec,
    status=ProtectedEnvironmentStatus,
    rules=(
        rule(
            f"!has(self.spec.registration) || self.metadata.name == '{DEFAULT_ENVIRONMENT}'",
            f"registration is a setting of the environment '{DEFAULT_ENVIRONMENT}' alone; leave it out here",
            ".spec.registration",
        ),
        rule(
            f"self.metadata.name == '{DEFAULT_ENVIRONMENT}' || !(has(self.spec.lockdownLifted) || has(self.spec.glass))",
            f"lockdownLifted and glass are settings of the environment '{DEFAULT_ENVIRONMENT}' alone; leave them out here",
            ".spec",
        ),
        rule(
            "!has(oldSelf.spec.registration) || oldSelf.spec.registration != 'Closed' || "
            "(has(self.spec.registration) && self.spec.registration == 'Closed')",
            "registration is closed for good; leave registration: Closed in place (chart value default.registration=Closed)",
            ".spec.registration",
        ),
    ),
    columns=(
        Column("Protect-From", ".spec.protectFrom", "Who is held back."),
        Column("Mode", ".spec.mode", "Whether requests are refused, or only recorded."),
        Column("Required", ".spec.approvals.required", "How many people must sign.", type="integer"),
        Column("Teams", ".spec.approvals.teams", "Whose signatures count."),
        Column("Use-Within", ".spec.approvals.useWithin", "How long signatures may be used.", wide=True),
        Column("Own-Work", ".spec.ownWork", "How long an agent's own namespaces are its own.", wide=True),
        Column("When-Impersonated", ".spec.whenAgentsCanImpersonate", "What becomes of whom agents could become.", wide=True),
        Column("Registration", ".spec.registration", "Whether Reviewers may still register freely.", wide=True),
        Column(
            "Satisfiable", '.status.conditions[?(@.type=="Satisfiable")].status', "Whether enough people are registered who could sign."
        ),
        Column(
            "Would-Hold",
            ".status.wouldHold.requesters",
            "In Audit mode: how many would have been held back in the last week.",
            type="integer",
        ),
        Column("Age", ".metadata.creationTimestamp", "Since when.", type="date"),
    ),
)


def parse_environment(obj: JsonObject) -> ProtectedEnvironment:
    """Raises WireError."""
    meta, spec = read(PROTECTED_ENVIRONMENT, ProtectedEnvironmentSpec, obj)
    return ProtectedEnvironment(
        meta=meta,
        protect_from=spec.protect_from,
        selector=spec.namespaces.selector.selector(),
        exclude=spec.namespaces.exclude,
        exceptions=tuple(subject.subject() for subject in spec.exceptions),
        own_work=spec.own_work,
        mode=spec.mode,
        approvals=spec.approvals.rules(),
        registration=spec.registration,
        resources=tuple(GroupResource(each.group, each.resource) for each in spec.resources),
        when_impersonated=spec.when_agents_can_impersonate,
        lockdown_lifted=spec.lockdown_lifted or "",
        lockdown=_lockdown(obj),
        glass=spec.glass.glass() if spec.glass else None,
    )


def _lockdown(obj: JsonObject) -> Lockdown | None:
    """The one thing that is read of a status: only the operator writes it (policy `countersign-records`). Raises WireError."""
    written = mapping(obj, "status").get("lockdown")
    if written is None:
        return None
    try:
        return LockdownModel.model_validate(written).lockdown()
    except ValidationError as error:
        raise WireError(
            f"{PROTECTED_ENVIRONMENT.resource}: status.lockdown cannot be read; the operator writes it anew once it is removed"
        ) from error
