"""The agent writes its own name as the creator on somebody else's namespace, by any road, and deletes it as its own work.

Source: follows from `ownWork`, which goes by an annotation.
"""

from typing import Any

import pytest

from tests.controlplane.api import path
from tests.jailbreak._attack import LAUNDERING, Attack, away
from tests.jailbreak._stage import Stage

ATTACK = Attack(number=76, title="A forged creator makes a namespace one's own work", guards=away(LAUNDERING))
CREATED_BY = "kube-countersign.dev/created-by"
MERGE, APPLY, STRATEGIC = "application/merge-patch+json", "application/apply-patch+yaml", "application/strategic-merge-patch+json"


@pytest.mark.parametrize("road", ["merge", "apply", "strategic", "json", "put", "status"])
def test_on_a_namespace_of_somebody_elses(stage: Stage, road: str) -> None:
    name = stage.namespace()
    url = path("namespaces", name)
    mine = {"metadata": {"annotations": {CREATED_BY: stage.agent.username}}}
    whole: dict[str, Any] = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, **mine["metadata"]}}
    if road == "apply":
        reply = stage.strike("PATCH", url, whole, content_type=APPLY, fieldManager="helm", force="true")
    elif road == "json":
        change = [{"op": "add", "path": "/metadata/annotations", "value": mine["metadata"]["annotations"]}]
        reply = stage.strike("PATCH", url, change, content_type="application/json-patch+json")
    elif road == "put":
        live = stage.admin.get(url)
        live["metadata"] |= mine["metadata"]
        del live["metadata"]["resourceVersion"]  # the operator labels it meanwhile
        reply = stage.strike("PUT", url, live)
    elif road == "status":
        reply = stage.strike("PATCH", f"{url}/status", mine, content_type=MERGE)
    else:
        reply = stage.strike("PATCH", url, mine, content_type=MERGE if road == "merge" else STRATEGIC)
    stage.judge(reply, harm=lambda: _is_own_work(stage, url))


def _is_own_work(stage: Stage, url: str) -> bool:
    """Whether the agent may delete it now."""
    stage.agent.api.request("DELETE", url)
    return stage.is_gone(url)()
