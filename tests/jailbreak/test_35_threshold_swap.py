"""Two people sign "two signatures instead of three", and what is sent then is "only audit": an approval that names the object and not the change fits both.

Source: follows; openshift-pipelines/manual-approval-gate SRVKP-12509 (a threshold lowered while approving).
"""

from tests.controlplane.api import Api, path
from tests.e2e.story import manifest
from tests.jailbreak._attack import WEBHOOK, Attack, Elsewhere, away
from tests.jailbreak._stage import Stage

ATTACK = Attack(
    number=35,
    title="Approve one weakening, use it for another",
    guards=away(WEBHOOK),
    elsewhere=Elsewhere.NOT,
    because="needs an environment that protects from people, and signatures",
)
MERGE = "application/merge-patch+json"


def test_another_change_than_was_signed(stage: Stage) -> None:
    alice = stage.cluster.api_as("alice")
    if stage.control:
        name = stage.name("people")
        spec = {"namespaces": {"selector": {"matchLabels": {name: "yes"}}}, "protectFrom": "People", "approvals": {"required": 2}}
        url = stage.make(path("protectedenvironments"), manifest("ProtectedEnvironment", name, spec))
        _swap(stage, url, alice)
        return
    with stage.story.environment("people", protect_from="People", required=2) as name:
        url = path("protectedenvironments", name)
        asked = stage.strike("PATCH", url, {"spec": {"approvals": {"required": 1}}}, by=alice, content_type=MERGE)
        assert asked.outcome == "Pending", str(asked)
        stage.sign(asked.request, people=2)
        _swap(stage, url, alice)
        allowed = stage.strike("PATCH", url, {"spec": {"approvals": {"required": 1}}}, by=alice, content_type=MERGE)
        assert allowed.ok, f"what was signed for is to pass: {allowed}"


def _swap(stage: Stage, url: str, alice: Api) -> None:
    reply = stage.strike("PATCH", url, {"spec": {"mode": "Audit"}}, by=alice, content_type=MERGE)
    stage.judge(reply, harm=lambda: stage.admin.get(url)["spec"].get("mode") == "Audit")
