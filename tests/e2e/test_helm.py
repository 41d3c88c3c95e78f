"""Helm's part of a life: upgrades neither fight the operator nor open what is closed, and uninstalling works with everything of ours dead."""

import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.controlplane import chart, waiting
from tests.controlplane.api import path
from tests.controlplane.chart import NAMESPACE, RELEASE
from tests.controlplane.cluster import Cluster
from tests.e2e._bare import helm, installed

pytestmark = pytest.mark.local_only(reason="uninstalls Countersign, on a control plane of its own")
GUARDS = (
    "validatingwebhookconfigurations",
    "validatingadmissionpolicies",
    "validatingadmissionpolicybindings",
    "mutatingadmissionpolicies",
    "mutatingadmissionpolicybindings",
)
DEFAULT = path("protectedenvironments", "default")


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with installed(tmp_path_factory.mktemp("helm")) as cluster:
        yield cluster


def upgrade(cluster: Cluster, **default: Any) -> subprocess.CompletedProcess[str]:
    values = chart.merged(chart.values(cluster.paths), {"default": default})
    return helm(cluster, "upgrade", RELEASE, str(chart.CHART), values=values)


def registration(cluster: Cluster) -> str | None:
    found = cluster.api.get(DEFAULT)["spec"].get("registration")
    return None if found is None else str(found)


def guards(cluster: Cluster) -> list[str]:
    return [obj["metadata"]["name"] for collection in GUARDS for obj in cluster.api.list(path(collection))]


def test_1_upgrades_leave_registration_to_the_operator(own: Cluster) -> None:
    assert registration(own) is None
    # As the operator does it: its own field, by a merge patch.
    own.api.patch(DEFAULT, {"spec": {"registration": "Closed"}})
    for default in ({}, {"ownWork": "1h"}, {"registration": "Closed"}, {}):
        answer = upgrade(own, **default)
        assert answer.returncode == 0, answer.stderr
        assert registration(own) == "Closed"


def test_2_a_value_reaches_the_environment_and_its_removal_too(own: Cluster) -> None:
    assert upgrade(own, ownWork="").returncode == 0
    assert "ownWork" not in own.api.get(DEFAULT)["spec"]
    assert upgrade(own).returncode == 0
    assert own.api.get(DEFAULT)["spec"]["ownWork"] == "24h"


def test_3_an_agent_cannot_uninstall(own: Cluster) -> None:
    for kind, name in (("clusterrole", "countersign-operator"), ("serviceaccount", "countersign-webhook")):
        answer = own.kubectl("rogue", "delete", kind, name, "--namespace", NAMESPACE)
        assert answer.returncode != 0
        assert "denied" in answer.stderr
    assert own.kubectl("rogue", "delete", "protectedenvironments.kube-countersign.dev", "default").returncode != 0


def test_4_uninstalling_needs_nothing_of_ours_alive_and_leaves_no_guard(own: Cluster) -> None:
    assert guards(own)
    own.stop_operator()
    own.stop_webhook()
    answer = helm(own, "uninstall", RELEASE)
    assert answer.returncode == 0, answer.stderr
    waiting.until(lambda: not guards(own), "all guards were to go with their owner", timeout=20, explain=lambda: ", ".join(guards(own)))
    # Nothing is in anybody's way any more, and nothing of ours hangs on a finalizer.
    for kind in (
        "namespace/agents",
        f"namespace/{NAMESPACE}",
        "crd/reviewers.kube-countersign.dev",
        "crd/changerequests.kube-countersign.dev",
    ):
        gone = own.kubectl("admin", "delete", kind, "--timeout=60s")
        assert gone.returncode == 0, gone.stderr
