"""With `nodes/proxy` the agent calls a kubelet itself, past the API server: a GET that becomes a WebSocket runs commands in any pod of the node,
Countersign's and the API server's own among them, and no admission sees it.

Source: k8s.io/kubernetes pkg/kubelet/server/auth.go (the verb is the HTTP method's); Kubernetes RBAC good practices, "Access to proxy subresource".
"""

from tests.controlplane.api import path
from tests.jailbreak._attack import Attack, Profile
from tests.jailbreak._stage import Stage

ATTACK = Attack(number=41, title="Straight at the kubelet (nodes/proxy)", profile=Profile.AUTHORIZER)


def test_what_a_kubelet_asks_the_api_server(stage: Stage) -> None:
    """The kubelet's own question, word for word; where there is no node, nobody else can ask it."""
    for verb, subresource in (("get", "proxy"), ("create", "proxy"), ("create", "checkpoint")):
        attributes = {"verb": verb, "version": "v1", "resource": "nodes", "subresource": subresource, "name": "node-1"}
        status = _asked(stage, attributes)
        stage.done(lambda status=status: bool(status["allowed"]), f"{verb} nodes/{subresource}", evidence=str(status.get("reason", "")))  # type: ignore[misc]  # bound now


def test_through_the_api_server(stage: Stage) -> None:
    """In the control there is no such node, which only those hear who may ask."""
    answer = stage.strike("GET", path("nodes", stage.name("node"), subresource="proxy") + "/pods")
    stage.done(lambda: answer.answer.status != 403, "the API server forwards it to the node", evidence=answer.message)


def _asked(stage: Stage, attributes: dict[str, str]) -> dict[str, object]:
    groups = ["system:authenticated", "system:serviceaccounts", f"system:serviceaccounts:{stage.agent.namespace}"]
    spec = {"user": stage.agent.username, "groups": groups, "resourceAttributes": attributes}
    body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}
    status: dict[str, object] = stage.admin.create("/apis/authorization.k8s.io/v1/subjectaccessreviews", body)["status"]
    return status
