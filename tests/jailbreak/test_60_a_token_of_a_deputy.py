"""An agent may issue the tokens of an account that is nobody's agent, and could delete what it likes with one. In the standard profile
that is not refused; posture finds the right before it is used: condition Held=False, with the binding to take away.

Source: Kubernetes documentation, "Role Based Access Control Good Practices", token request.
"""

from tests.controlplane.api import path
from tests.e2e.story import manifest
from tests.jailbreak._attack import Answer, Attack, Elsewhere
from tests.jailbreak._stage import Stage
from tests.jailbreak._workloads import RBAC, TOKEN_REQUEST

ATTACK = Attack(
    number=60,
    title="Issue a deputy's token (standard): found before it is used",
    answer=Answer.ADVISED,
    elsewhere=Elsewhere.NOT,
    because="waits for what the operator of this very release writes",
)


def test_the_right_is_reported_with_its_remedy(stage: Stage) -> None:
    home, agent, given = stage.namespace("home"), stage.name("minter"), stage.name("mint")
    stage.make(path("serviceaccounts", namespace=home), {"metadata": {"name": agent}})
    subject = {"kind": "ServiceAccount", "name": agent, "namespace": home}
    stage.make(path("agentidentities"), manifest("AgentIdentity", agent, {"subjects": [subject], "sponsors": ["alice"]}))
    rule = {"apiGroups": [""], "resources": ["serviceaccounts/token"], "verbs": ["create"]}
    stage.make(path("roles", namespace=home), {"metadata": {"name": given}, "rules": [rule]})
    bound = {"roleRef": {"apiGroup": RBAC, "kind": "Role", "name": given}, "subjects": [subject], "metadata": {"name": given}}
    if not stage.control:  # in the control the right is not there, and nothing is to be said
        stage.make(path("rolebindings", namespace=home), bound)
        by = {"Impersonate-User": f"system:serviceaccount:{home}:{agent}"}
        url = path("serviceaccounts", "default", namespace=home, subresource="token")
        assert stage.comes_true(lambda: stage.admin.request("POST", url, TOKEN_REQUEST, headers=by).ok), "it was to be a right that it has"

    def record() -> str:
        status = stage.admin.get(path("agentidentities", agent)).get("status", {})
        found: dict[str, str] = next((each for each in status.get("conditions", []) if each["type"] == "Held"), {})
        loose = found.get("status") == "False" and found["reason"] == "CanMintTokens" and given in found["message"]
        return f"Held=False: {found['message']}" if loose and status["couldBecome"]["serviceAccounts"] == [f"{home}/*"] else ""

    stage.detected(record, "the right to issue tokens of every account of a namespace")
