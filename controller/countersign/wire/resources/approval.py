"""Approval: one reviewer's signed verdict on one change request."""

from typing import Annotated

from pydantic import Field

from countersign.domain.document import JsonObject
from countersign.domain.names import GROUP
from countersign.domain.resources import Approval, Verdict
from countersign.wire.resources.base import IMMUTABLE, Closed, Column, Kind, ObjectName, Status, read


class ApprovalSpec(Closed):
    """A verdict and its signature. Immutable: who changes their mind rejects."""

    change_request: Annotated[ObjectName, Field(description="The name of the ChangeRequest.")]
    reviewer: Annotated[ObjectName, Field(description="The name of the Reviewer who signed, and who creates this.")]
    decision: Annotated[Verdict, Field(description="Approve or Reject. One rejection ends the request.")]
    comment: Annotated[str, Field(max_length=1000, description="Why; shown to the requester after a rejection.")] = ""
    signature: Annotated[
        str,
        Field(
            min_length=1,
            max_length=16_384,
            description="What ssh-keygen -Y sign wrote over the change request's statement, with the signature namespace "
            f"approve@{GROUP} or reject@{GROUP}.",
        ),
    ]


class ApprovalStatus(Status):
    """What the operator has seen of this signature."""


APPROVAL = Kind(
    kind="Approval",
    plural="approvals",
    short="appr",
    description="One reviewer's signed verdict on one change request. Created by that reviewer, with kubectl or with kubectl countersign.",
    spec=ApprovalSpec,
    status=ApprovalStatus,
    spec_extra=IMMUTABLE,
    selectable=(".spec.changeRequest", ".spec.reviewer"),
    columns=(
        Column("Decision", ".spec.decision", "The verdict."),
        Column("Reviewer", ".spec.reviewer", "Who signed."),
        Column("Change-Request", ".spec.changeRequest", "What was signed."),
        Column("Comment", ".spec.comment", "Why.", wide=True),
        Column("Age", ".metadata.creationTimestamp", "Since when.", type="date"),
    ),
)


def parse_approval(obj: JsonObject) -> Approval:
    """Raises WireError."""
    meta, spec = read(APPROVAL, ApprovalSpec, obj)
    return Approval(meta, spec.change_request, spec.reviewer, spec.decision, spec.comment, spec.signature)
