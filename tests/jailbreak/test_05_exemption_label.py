"""The agent puts the labels and annotations on a namespace by which other guards are told to look away, then deletes it.

Source: open-policy-agent/gatekeeper#231 and #350 (`admission.gatekeeper.sh/ignore`); the same habit in many others.
"""

from tests.controlplane.api import path
from tests.jailbreak._attack import WEBHOOK, Attack, away
from tests.jailbreak._stage import Stage

ATTACK = Attack(number=5, title="Add an exemption label", guards=away(WEBHOOK))
_EXEMPTIONS = (
    "admission.gatekeeper.sh/ignore",
    "policies.kyverno.io/exclude",
    "pod-security.kubernetes.io/exempt",
    "kube-countersign.dev/ignore",
    "kube-countersign.dev/exempt",
    "kube-countersign.dev/approved",
    "control-plane",
)


def test_exempted(stage: Stage) -> None:
    url = path("namespaces", stage.namespace())
    marks = dict.fromkeys(_EXEMPTIONS, "true")
    exempted = stage.agent.api.request(
        "PATCH", url, {"metadata": {"labels": marks, "annotations": marks}}, None, "application/merge-patch+json"
    )
    assert exempted.ok, exempted.body
    stage.judge(stage.strike("DELETE", url), harm=stage.is_gone(url))
