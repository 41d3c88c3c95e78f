"""Agents' writes to admission policies, held where admission cannot see them: by API Priority and Fairness.

No policy and no webhook is asked about a write to a policy. Priority and Fairness is: it stands before authorization, so that it holds a
cluster-admin too. A priority level without any seats ("jail", KEP-1040) never lets its one queued request go, and answers 429 to all
others; a FlowSchema puts the agents' writes to admissionregistration.k8s.io into it. Its queue is what makes it one: a level that rejects
at once would let a single request through while nothing of it runs (apiserver: queueset.go, canAccommodateSeatsLocked). FlowSchemas, in
turn, are seen by admission, and the policy `countersign-guards` keeps this one: the two guard each other.

Not held: who is in system:masters (a mandatory FlowSchema exempts it), who impersonates another (the request is then the other's), and
agents known by a glob or by extra, since FlowSchemas know exact names and groups only.
"""

from collections.abc import Iterable
from typing import Final

from countersign.domain.identify import is_glob
from countersign.domain.resources import AgentIdentity, Subject, SubjectKind
from countersign.wire.guards.objects import Guard, Json, Site, flow_control

NAME: Final = "countersign-jail"
PRECEDENCE: Final = 2  # 1 is the mandatory `exempt`, for system:masters; the server's own suggested ones begin at 2 and match other things
_WRITES: Final = ("create", "delete", "deletecollection", "patch", "update")
_GROUP: Final = "admissionregistration.k8s.io"


def jail(site: Site, identities: Iterable[AgentIdentity]) -> list[Guard]:
    """None where it is not chosen, or where nobody can be named."""
    subjects = [held for identity in identities for subject in identity.subjects if (held := _subject(subject)) is not None]
    if not site.jail or not subjects:
        return []
    level = {
        "type": "Limited",
        "limited": {
            "nominalConcurrencyShares": 0,
            "lendablePercent": 0,
            "borrowingLimitPercent": 0,
            "limitResponse": {"type": "Queue", "queuing": {"queues": 1, "handSize": 1, "queueLengthLimit": 1}},
        },
    }
    rule = {"verbs": list(_WRITES), "apiGroups": [_GROUP], "resources": ["*"], "clusterScope": True}
    schema = {
        "priorityLevelConfiguration": {"name": NAME},
        "matchingPrecedence": PRECEDENCE,
        "rules": [{"subjects": _once(subjects), "resourceRules": [rule]}],
    }
    # The level first: a FlowSchema without its level is not applied.
    return [flow_control(site, "PriorityLevelConfiguration", NAME, level), flow_control(site, "FlowSchema", NAME, schema)]


def is_jailed(identity: AgentIdentity) -> bool:
    """Whether whatever this identity matches is held."""
    return all(_subject(subject) is not None for subject in identity.subjects)


def _subject(subject: Subject) -> Json | None:
    """As a FlowSchema names it, and never more people than the identity does; None where it cannot."""
    if subject.groups or subject.extra:
        return None
    match subject.kind:
        case SubjectKind.SERVICE_ACCOUNT:
            return {"kind": "ServiceAccount", "serviceAccount": {"namespace": subject.namespace, "name": subject.name}}
        case SubjectKind.GROUP:
            return {"kind": "Group", "group": {"name": subject.name}}
        case SubjectKind.USER:
            return None if is_glob(subject.name) else {"kind": "User", "user": {"name": subject.name}}


def _once(subjects: Iterable[Json]) -> list[Json]:
    return list({str(subject): subject for subject in subjects}.values())
