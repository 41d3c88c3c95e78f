"""The API server refuses by our CRDs what our parser refuses, and what only its CEL rules can see; it accepts the rest."""

from typing import Any

import pytest

from tests.controlplane.api import path
from tests.controlplane.cluster import Cluster
from tests.support.resource_cases import CASES, SPECS, Case

PLURALS = {
    "AgentIdentity": "agentidentities",
    "Reviewer": "reviewers",
    "ProtectedEnvironment": "protectedenvironments",
    "ChangeRequest": "changerequests",
    "Approval": "approvals",
}
UNKNOWN_FIELD = "unknown field"
INVALID, BAD_REQUEST = 422, 400
BY_ADMISSION = ("admission webhook", "ValidatingAdmissionPolicy")


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_api_server_agrees(cluster: Cluster, case: Case) -> None:
    """A dry run: admission comes after the schema, so what a policy or the webhook says of an accepted object does not matter here."""
    query = {"dryRun": "All", "fieldValidation": "Strict"}
    answer = cluster.api.request("POST", path(PLURALS[case.kind]), case.object, query)
    message = str(answer.body.get("message", ""))
    if not case.field:
        assert answer.status not in {INVALID, BAD_REQUEST} or any(name in message for name in BY_ADMISSION), message
        return
    assert not any(name in message for name in BY_ADMISSION), message
    if UNKNOWN_FIELD in message:
        assert answer.status == BAD_REQUEST
        assert f'"{case.field}"' in message
    else:
        assert answer.status == INVALID, message
        causes = [cause.get("field", "") for cause in answer.body["details"]["causes"]]
        assert any(field.startswith(case.field) or case.field.startswith(field) for field in causes), message


@pytest.mark.parametrize("kind", PLURALS)
def test_all_five_are_established(cluster: Cluster, kind: str) -> None:
    definition = cluster.api.get(path("customresourcedefinitions", f"{PLURALS[kind]}.kube-countersign.dev"))
    conditions = {condition["type"]: condition["status"] for condition in definition["status"]["conditions"]}
    assert conditions == {"NamesAccepted": "True", "Established": "True"}


def test_registration_is_closed_for_good(cluster: Cluster) -> None:
    """By a dry run each: the environment of this cluster stays as it is."""
    spec: dict[str, Any] = {"spec": {"registration": "Closed"}}
    default = path("protectedenvironments", "default")
    closed = cluster.api.request("PATCH", default, spec, {"dryRun": "All"}, "application/merge-patch+json")
    assert closed.status == 200, closed.body
    other = {"apiVersion": "kube-countersign.dev/v1alpha1", "kind": "ProtectedEnvironment", "metadata": {"name": "other"}}
    refused = cluster.api.request(
        "POST", path("protectedenvironments"), {**other, "spec": {**SPECS["ProtectedEnvironment"], **spec["spec"]}}, {"dryRun": "All"}
    )
    assert refused.status == INVALID
    assert "alone; leave it out here" in refused.body["message"]
