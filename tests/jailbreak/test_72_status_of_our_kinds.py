"""The agent writes the status of Countersign's own CustomResourceDefinitions: not established, names not accepted. Nobody can sign while they are not served.

Source: k8s.io/apiextensions-apiserver pkg/apiserver/customresource_handler.go (a definition that is not Established answers 404).
"""

import pytest

from tests.controlplane.api import OURS, path
from tests.jailbreak._attack import GUARDS, Attack, Elsewhere, away
from tests.jailbreak._stage import Stage

# Dry runs on every cluster: with the definitions of the suite's own cluster out of service nothing of it would be left to test.
ATTACK = Attack(number=72, title="Take our kinds out of service by their status", guards=away(GUARDS), elsewhere=Elsewhere.DRY_RUN)
MERGE = "application/merge-patch+json"


@pytest.mark.parametrize("kind", ["approvals", "changerequests"])
def test_not_established(stage: Stage, kind: str) -> None:
    url = path("customresourcedefinitions", f"{kind}.{OURS}")
    conditions = [{"type": "Established", "status": "False", "reason": "Said", "message": "by an agent"}]
    reply = stage.strike("PATCH", f"{url}/status", {"status": {"conditions": conditions}}, content_type=MERGE, dryRun="All")
    stage.judge(reply)
