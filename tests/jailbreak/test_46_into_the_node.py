"""The agent runs a pod that reaches into its node (hostPath, hostPID, privileged), or writes a PersistentVolume that is a folder of the node:
there lie the credentials of the kubelet and the tokens of every pod on it, on a control-plane node those of the cluster.

Source: Kubernetes Pod Security Standards, baseline; RBAC Good Practices, "persistent volume creation".
"""

from typing import Any

from tests.controlplane.api import path
from tests.jailbreak._attack import Attack, Profile
from tests.jailbreak._stage import Stage
from tests.jailbreak._workloads import deployment, pod, taken_up

ATTACK = Attack(number=46, title="Reach into the node, where everybody's credentials lie", profile=Profile.HARDENED)
ROOT: dict[str, Any] = {"volumes": [{"name": "root", "hostPath": {"path": "/"}}]}


def test_a_pod_with_the_nodes_files(stage: Stage) -> None:
    pods = path("pods", namespace=stage.namespace("home"))
    taken_up(stage)
    stage.judge(stage.strike("POST", pods, pod("mine", **ROOT)), harm=lambda: stage.admin.exists(f"{pods}/mine"))


def test_a_privileged_container(stage: Stage) -> None:
    pods = path("pods", namespace=stage.namespace("home"))
    taken_up(stage)
    body = pod("mine", hostPID=True)
    body["spec"]["containers"][0]["securityContext"] = {"privileged": True}
    stage.judge(stage.strike("POST", pods, body), harm=lambda: stage.admin.exists(f"{pods}/mine"))


def test_by_a_template(stage: Stage) -> None:
    home = stage.namespace("home")
    taken_up(stage)
    body = deployment("mine")
    body["spec"]["template"]["spec"] |= ROOT
    reply = stage.strike("POST", path("deployments", namespace=home), body)
    stage.judge(reply, harm=lambda: bool(stage.admin.list(path("pods", namespace=home))))


def test_a_volume_that_is_the_nodes_root(stage: Stage) -> None:
    taken_up(stage)
    name = stage.name("root")
    spec = {"capacity": {"storage": "1Mi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/"}, "storageClassName": "none"}
    url = path("persistentvolumes", name)
    stage.clean(url)
    reply = stage.strike("POST", path("persistentvolumes"), {"metadata": {"name": name}, "spec": spec})
    stage.judge(reply, harm=lambda: stage.admin.exists(url))
