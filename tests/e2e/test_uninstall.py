"""`helm uninstall` by a human takes everything away with all of our processes dead, and installing again protects again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.controlplane.api import path
from tests.controlplane.chart import NAMESPACE
from tests.controlplane.cluster import Cluster
from tests.e2e import _faults
from tests.e2e._faults import (
    allowed,
    delete,
    delete_namespace,
    guards,
    held,
    make_namespace,
    manifest,
    set_of,
    sign_off,
    unique,
    until,
    wait_gone,
)
from tests.e2e._life import Inventory, is_record

ROLES = ("clusterroles", "clusterrolebindings")


@pytest.fixture(scope="module")
def before(cluster: Cluster) -> str:
    """A namespace whose deletion by an agent waits."""
    name = make_namespace(cluster, "before")
    held(delete_namespace(cluster, "rogue", name))
    return name


@pytest.fixture(scope="class")
def uninstalled(cluster: Cluster, before: str) -> Iterator[None]:
    try:
        _faults.uninstall(cluster, "alice")
        yield
    finally:
        _faults.reinstall(cluster)


@pytest.mark.usefixtures("uninstalled")
class TestAfterUninstalling:
    def test_no_guard_is_left(self, cluster: Cluster) -> None:
        assert guards(cluster.api) == set()

    def test_no_right_and_no_account_is_left(self, cluster: Cluster) -> None:
        for kind in ROLES:
            assert not [name for name in set_of(cluster.api.list(path(kind))) if name.startswith("countersign")], kind
        for kind in ("roles", "rolebindings", "serviceaccounts"):
            names = set_of(cluster.api.list(path(kind, namespace=NAMESPACE)))
            assert not [name for name in names if name.startswith("countersign")], kind

    def test_nothing_of_the_operators_own_is_left_in_the_namespace(self, cluster: Cluster) -> None:
        for kind in ("secrets", "leases"):
            names = [name for name in set_of(cluster.api.list(path(kind, namespace=NAMESPACE))) if name.startswith("countersign")]
            assert not names, f"{kind}: {names}"

    def test_nothing_at_all_is_left_but_the_records(self, cluster: Cluster) -> None:
        """Of every kind that the API server lists: on kind, pods, endpoints and budgets too. Helm leaves the namespace, as for every chart."""
        kept = {f"namespaces /{NAMESPACE}"}

        def left() -> set[str]:
            return {each for each in Inventory.of(cluster.api).ours - kept if not is_record(each)}

        until(lambda: not left(), "all was to go", timeout=60, explain=lambda: str(sorted(left())))

    def test_nothing_of_ours_stands_in_anybodys_way(self, cluster: Cluster, before: str) -> None:
        """Agents neither: who uninstalls wants that. The API server lets go of policies in ticks."""
        probe = manifest("ConfigMap", unique("probe"))
        collection = path("configmaps", namespace=NAMESPACE)
        until(lambda: cluster.api_as("rogue").request("POST", collection, probe, {"dryRun": "All"}).ok, "the policies were to be let go of")
        cluster.api_as("rogue").create(path("configmaps", namespace=NAMESPACE), manifest("ConfigMap", unique("mine")))
        allowed(delete_namespace(cluster, "rogue", before))
        wait_gone(cluster.api, path("namespaces", before), timeout=60)
        made = cluster.api_as("rogue").create(path("namespaces"), manifest("Namespace", unique("after")))
        assert not [key for key in (made["metadata"].get("labels") or {}) if key.startswith(_faults.OURS)]
        for name in ("countersign", "anything"):
            body = manifest("ValidatingWebhookConfiguration", name, api="admissionregistration.k8s.io/v1", webhooks=[])
            with _faults.kept(cluster.api_as("rogue"), path("validatingwebhookconfigurations"), body):
                pass

    def test_the_records_are_kept_for_whoever_wants_them(self, cluster: Cluster) -> None:
        """Helm leaves CRDs, and with them every signature; an admin may remove them now."""
        assert cluster.api.list(path("changerequests"))
        allowed(delete(cluster, "admin", path("changerequests"), dry_run=True))
        allowed(delete(cluster, "admin", path("customresourcedefinitions", f"approvals.{_faults.OURS}"), dry_run=True))


def test_installed_again_it_protects_again(cluster: Cluster) -> None:
    assert guards(cluster.api)
    held(delete_namespace(cluster, "rogue", make_namespace(cluster, "again")))
    assert "bob" in set_of(cluster.api.list(path("reviewers")))


def test_definitions_that_somebody_removed_come_back(cluster: Cluster) -> None:
    """With the guard opened, and nobody there to repair it, an admin can. The Approvals are gone for good; protection is not."""
    definition = path("customresourcedefinitions", f"approvals.{_faults.OURS}")
    cluster.stop_operator()
    try:
        for name in ("countersign-guards", "countersign-guards-2"):
            cluster.api.delete(path("validatingadmissionpolicybindings", name))
        until(lambda: delete(cluster, "admin", definition).ok, "the guard was to be out of force")
        wait_gone(cluster.api, definition)
        # Which signatures there are cannot be told, so nothing is let through.
        answer = delete_namespace(cluster, "kiro", make_namespace(cluster, "meanwhile", user="kiro"))
        assert not answer.ok
    finally:
        cluster.start_operator()
    until(lambda: cluster.api.exists(definition), "the operator was to make the definition again")
    until(lambda: cluster.api.request("GET", path("approvals")).ok, "the API server was to serve it")
    name = make_namespace(cluster, "afterwards")
    request = held(delete_namespace(cluster, "kiro", name))

    def signed() -> bool:
        return sign_off(cluster, request).ok

    until(signed, "signatures were to be taken again")
    allowed(delete_namespace(cluster, "kiro", name))
