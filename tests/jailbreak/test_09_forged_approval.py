"""The agent forges what an approval is made of: the outcome in the status, the number of signatures in the spec, an Approval in a reviewer's name.

Source: openshift-pipelines/manual-approval-gate SRVKP-12509 (client-supplied approver, status written directly, threshold lowered while approving).
"""

from tests.controlplane.api import path
from tests.e2e.story import approval
from tests.jailbreak._attack import RECORDS, Attack, away, entry, schema
from tests.jailbreak._stage import Stage

ATTACK = Attack(
    number=9,
    title="Forge an approval: status, threshold, approver",
    guards=away(RECORDS, schema("changerequests"), entry("approvals")),
)


def _asked(stage: Stage) -> str:
    """A change request of the agent's own. Returns its path."""
    reply = stage.agent.api.request("DELETE", path("namespaces", stage.namespace()))
    name = next(cause["message"] for cause in reply.body["details"]["causes"] if cause["reason"] == "changeRequest")
    return path("changerequests", name.partition("/")[2])


def test_the_status_written_by_the_agent(stage: Stage) -> None:
    url = _asked(stage)
    body = {"status": {"outcome": "Approved"}}
    reply = stage.strike("PATCH", f"{url}/status", body, content_type="application/merge-patch+json")
    stage.judge(reply, harm=lambda: stage.admin.get(url).get("status", {}).get("outcome") == "Approved")


def test_fewer_signatures_required(stage: Stage) -> None:
    url = _asked(stage)
    body = {"spec": {"requester": {"sponsors": ["nobody"]}}}
    reply = stage.strike("PATCH", url, body, content_type="application/merge-patch+json")
    stage.judge(reply, harm=lambda: stage.admin.get(url)["spec"]["requester"]["sponsors"] == ["nobody"], by="it cannot be changed")


def test_an_approval_in_a_reviewers_name(stage: Stage) -> None:
    request = _asked(stage).rpartition("/")[2]
    armor = "-----BEGIN SSH SIGNATURE-----\nU1NIU0lH\n-----END SSH SIGNATURE-----\n"
    body = approval(request, "bob", armor, name=stage.name("forged"))
    reply = stage.strike("POST", path("approvals"), body)
    url = path("approvals", body["metadata"]["name"])
    stage.judge(reply, harm=lambda: stage.admin.exists(url))
