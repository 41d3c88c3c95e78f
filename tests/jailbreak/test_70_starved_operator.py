"""A FlowSchema of the agent's own puts every request of Countersign's operator and webhook into a priority level without a seat: nobody repairs the guards any more.

Source: Kubernetes API Priority and Fairness (matchingPrecedence 1 wins; nominalConcurrencyShares 0 since 1.29; only system:masters is exempt).
"""

from concurrent.futures import ThreadPoolExecutor

import httpx

from tests.controlplane.api import path
from tests.jailbreak._attack import Attack, Elsewhere, away, policy
from tests.jailbreak._stage import Stage

ATTACK = Attack(
    number=70,
    title="Starve the operator by a FlowSchema without seats",
    guards=away(policy("shadows")),
    elsewhere=Elsewhere.DRY_RUN,
)
# A level that rejects at once lets a single request through while nothing of it runs; one that queues lets none.
QUEUE = {"type": "Queue", "queuing": {"queues": 1, "handSize": 1, "queueLengthLimit": 1}}
FLOW = "/apis/flowcontrol.apiserver.k8s.io/v1"


def test_a_flow_schema_for_the_operator(stage: Stage) -> None:
    name = stage.name("starve")
    level = {
        "type": "Limited",
        "limited": {"nominalConcurrencyShares": 0, "lendablePercent": 0, "borrowingLimitPercent": 0, "limitResponse": QUEUE},
    }
    # The webhook's account stands for both: in the control the operator rests.
    account = {"kind": "ServiceAccount", "serviceAccount": {"namespace": "countersign", "name": "countersign-webhook"}}
    rules = [{"verbs": ["list"], "apiGroups": [""], "resources": ["services"], "namespaces": ["*"]}]
    schema = {
        "priorityLevelConfiguration": {"name": name},
        "matchingPrecedence": 3,
        "rules": [{"subjects": [account], "resourceRules": rules}],
    }
    for plural in ("flowschemas", "prioritylevelconfigurations"):
        stage.clean(f"{FLOW}/{plural}/{name}")
    stage.judge(stage.strike("POST", f"{FLOW}/prioritylevelconfigurations", {"metadata": {"name": name}, "spec": level}))
    reply = stage.strike("POST", f"{FLOW}/flowschemas", {"metadata": {"name": name}, "spec": schema})
    stage.judge(reply, harm=lambda: _is_starved(stage))


def _is_starved(stage: Stage) -> bool:
    """One request of the account's waits in the queue, the others are turned away."""
    if stage.foreign:
        return False
    api = stage.cluster.api_as(stage.story.webhook_account())
    with ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(api.request, "GET", path("services", namespace="default"), None, {"timeout": "2s"}) for _ in range(4)]
        return any(answer.result().status == httpx.codes.TOO_MANY_REQUESTS for answer in answers)
