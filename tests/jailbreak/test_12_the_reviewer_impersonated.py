"""The agent has found the reviewer's key file, but an Approval counts only when its reviewer creates it: so it impersonates the reviewer (`--as`)
and hands in the signature that it has made. Without the key nobody's impersonation helps; with both, only authorization does.

Source: KEP-5284 (impersonation); facts of this project: admission sees the impersonated user alone.
"""

from tests.controlplane.api import path
from tests.e2e.story import approval
from tests.jailbreak._attack import Attack, Elsewhere, Profile
from tests.jailbreak._stage import Stage

ATTACK = Attack(
    number=12,
    title="Impersonate the reviewer, with the key at hand",
    profile=Profile.AUTHORIZER,
    elsewhere=Elsewhere.NOT,
    because="it takes a reviewer's key",
)
AS_BOB = {"Impersonate-User": "bob@example.com", "Impersonate-Group": "system:masters"}


def test_the_reviewer_impersonated(stage: Stage) -> None:
    asked = stage.strike("DELETE", path("namespaces", stage.namespace()))
    assert asked.outcome == "Pending", str(asked)
    statement = stage.admin.get(path("changerequests", asked.request))["spec"]["statement"]
    body = approval(asked.request, "bob", stage.cluster.sign("bob", statement), name=stage.name("stolen"))
    url = path("approvals", body["metadata"]["name"])
    stage.judge(stage.strike("POST", path("approvals"), body, headers=AS_BOB), harm=lambda: stage.admin.exists(url))
