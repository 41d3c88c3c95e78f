"""The stronger account's workload runs already, made by a human: the agent changes only the image and the command in it, or enters one of
its pods, and is that account without ever having named it.

Source: found for this project; k8s.io/kubernetes pkg/registry/core/pod/rest/subresources.go (a request to enter shows no pod to admission).
"""

from tests.controlplane.api import path
from tests.jailbreak._attack import Attack, Profile
from tests.jailbreak._stage import Stage
from tests.jailbreak._workloads import MERGE, account, deployment, pod, taken_up

ATTACK = Attack(number=48, title="Another program in a workload under a stronger account", profile=Profile.HARDENED)


def test_another_image(stage: Stage) -> None:
    home = stage.namespace("home")
    account(stage, home, strong=True)
    url = stage.make(path("deployments", namespace=home), deployment("theirs", "deputy"))
    taken_up(stage)
    change = {"spec": {"template": {"spec": {"containers": [{"name": "main", "image": "example.com/mine:1"}]}}}}
    reply = stage.strike("PATCH", url, change, content_type=MERGE)
    stage.judge(reply, harm=lambda: "mine" in stage.admin.get(url)["spec"]["template"]["spec"]["containers"][0]["image"])


def test_another_image_in_the_pod_itself(stage: Stage) -> None:
    home = stage.namespace("home")
    account(stage, home, strong=True)
    url = stage.make(path("pods", namespace=home), pod("theirs", "deputy"))
    taken_up(stage)
    reply = stage.strike(
        "PATCH",
        url,
        [{"op": "replace", "path": "/spec/containers/0/image", "value": "example.com/mine:1"}],
        content_type="application/json-patch+json",
    )
    stage.judge(reply, harm=lambda: "mine" in stage.admin.get(url)["spec"]["containers"][0]["image"])


def test_into_a_pod(stage: Stage) -> None:
    """Without a node the way ends behind admission; on a cluster with nodes it would end in the pod."""
    home = stage.namespace("home")
    account(stage, home, strong=True)
    url = stage.make(path("pods", namespace=home), pod("theirs", "deputy"))
    taken_up(stage)
    reply = stage.strike("POST", f"{url}/exec", command="true", stdout="true")
    reached = "does not have a host assigned" in reply.message
    stage.done(lambda: reached, "the agent stands in the pod", evidence=reply.message)
