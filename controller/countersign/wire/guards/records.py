"""Who may write ChangeRequests, Approvals and the status of our kinds (docs/rules.md, "Who may write what")."""

from typing import Final

from countersign.domain.names import ANNOTATION_REASON, GROUP, LABEL_AGENT
from countersign.wire.cel import USERNAME, every, literal, negated, some
from countersign.wire.guards.objects import (
    OWN_KINDS,
    RECORDS,
    Guard,
    Rule,
    Site,
    constraints,
    has_subresource,
    operation,
    policy,
    refusal,
    resource_in,
    variable,
)

NAME: Final = "countersign-records"
_REASON_LENGTH: Final = 500


def record_policies(site: Site) -> list[Guard]:
    statuses = [f"{kind}/status" for kind in sorted([*OWN_KINDS, *RECORDS])]
    by_operator, by_webhook = f"{USERNAME} == {literal(site.operator)}", f"{USERNAME} == {literal(site.webhook)}"
    request, approval = resource_in(["changerequests"]), resource_in(["approvals"])
    updated = every(operation("UPDATE"), has_subresource())
    spec = {
        "failurePolicy": "Fail",
        "matchConstraints": constraints(
            Rule(GROUP, sorted(RECORDS), ["CREATE", "UPDATE", "DELETE"]), Rule(GROUP, statuses, ["CREATE", "UPDATE"])
        ),
        "variables": [
            variable("oldLabels", "oldObject == null ? {} : oldObject.metadata.?labels.orValue({})"),
            variable("newLabels", "object == null ? {} : object.metadata.?labels.orValue({})"),
            variable("oldNotes", "oldObject == null ? {} : oldObject.metadata.?annotations.orValue({})"),
            variable("newNotes", "object == null ? {} : object.metadata.?annotations.orValue({})"),
        ],
        "validations": [
            refusal(
                some(negated(request), negated(operation("CREATE")), by_webhook),
                "A ChangeRequest is written by Countersign's webhook when it refuses a change: ask for the change itself.",
            ),
            refusal(
                some(negated(every(request, updated)), every(_same_but(ANNOTATION_REASON), some(_reason_kept(), _by_requester()))),
                f"Of a ChangeRequest only the annotation {ANNOTATION_REASON} can be written, by its requester, in {_REASON_LENGTH} characters.",
            ),
            refusal(
                some(negated(every(approval, updated)), _same_but("")),
                "An Approval never changes: to withdraw it, create one that rejects.",
            ),
            refusal(
                some(negated(has_subresource("status")), by_operator),
                "The status of Countersign's objects is written by its operator alone.",
            ),
            refusal(
                some(negated(every(resource_in(["protectedenvironments"]), operation("UPDATE"))), _lockdown_stays()),
                "A lockdown stands until spec.lockdownLifted names its incident; where it is not yours to take out of a status, a mutating policy or webhook does: "
                "remove that.",
            ),
            refusal(
                some(negated(operation("DELETE")), by_operator),
                "ChangeRequests and Approvals are deleted by Countersign's operator alone, once they have ended and been kept for a while.",
            ),
        ],
    }
    return policy(site, NAME, spec)


def _lockdown_stays() -> str:
    """Also in what a mutating policy makes of our operator's own write: the webhook goes by the status.

    Lifted is what was stored as lifted: what the same request says of it a mutating policy may have said.
    """
    old, new = (f'{tree}.?status.lockdown.incident.orValue("")' for tree in ("oldObject", "object"))
    return some(f'{old} == ""', f"{new} == {old}", f'oldObject.?spec.lockdownLifted.orValue("") == {old}')


def _same_but(annotation: str) -> str:
    """The metadata that people can write is as it was, but for one annotation and the label that we put on agents' writes ourselves.

    "" is no annotation's key: then none may differ.
    """
    agent, note = literal(LABEL_AGENT), literal(annotation)
    return every(
        "object.?spec == oldObject.?spec",
        "object.metadata.?finalizers.orValue([]) == oldObject.metadata.?finalizers.orValue([])",
        "object.metadata.?ownerReferences.orValue([]) == oldObject.metadata.?ownerReferences.orValue([])",
        _same_members("variables.oldLabels", "variables.newLabels", agent),
        _same_members("variables.oldNotes", "variables.newNotes", note),
    )


def _same_members(old: str, new: str, free: str) -> str:
    return every(
        f"{new}.all(key, key == {free} || (key in {old} && {old}[key] == {new}[key]))",
        f"{old}.all(key, key == {free} || key in {new})",
    )


def _reason_kept() -> str:
    reason = literal(ANNOTATION_REASON)
    return f"variables.oldNotes[?{reason}] == variables.newNotes[?{reason}]"


def _by_requester() -> str:
    reason = literal(ANNOTATION_REASON)
    return every(
        f"oldObject.?spec.requester.username == optional.of({USERNAME})",
        f'variables.newNotes[?{reason}].orValue("").size() <= {_REASON_LENGTH}',
    )
