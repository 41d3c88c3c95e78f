"""`helm test` fails where protection is not in force, and its log says why. It waits a minute for it: for the nightly run."""

from __future__ import annotations

import pytest

from tests.controlplane.api import path
from tests.controlplane.chart import RELEASE
from tests.controlplane.cluster import Cluster
from tests.e2e._faults import until
from tests.e2e.test_install_pods import helm, left

pytestmark = pytest.mark.kind_only(reason="needs pods; tests/e2e/test_install.py sees the subcommand fail")
CONFIGURATION = path("validatingwebhookconfigurations", "countersign")


def test_with_the_configuration_gone_it_fails_and_says_so(cluster: Cluster) -> None:
    cluster.stop_operator()
    try:
        for name in ("countersign-guards", "countersign-guards-2"):
            cluster.api.delete(path("validatingadmissionpolicybindings", name))
        until(lambda: cluster.api.request("DELETE", CONFIGURATION).ok, "the guard was to be out of force")
        answer = helm(cluster, "test", RELEASE)
        assert answer.returncode != 0
        assert (
            "NOT IN FORCE: an agent's deletion is let through, since there is no ValidatingWebhookConfiguration countersign"
            in answer.stdout + answer.stderr
        )
        until(lambda: not left(cluster), "all of the test was to go, though it failed", explain=lambda: str(left(cluster)))
    finally:
        cluster.start_operator()
    cluster.wait_in_force()
    again = helm(cluster, "test", RELEASE)
    assert again.returncode == 0, again.stdout + again.stderr
    until(lambda: not left(cluster), "all of the test was to go", explain=lambda: str(left(cluster)))
