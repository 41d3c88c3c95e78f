"""What agents write is labelled and in the audit log; nobody forges our labels or gives an owner by which it would be deleted unseen."""

from __future__ import annotations

import pytest

from tests.controlplane.api import path
from tests.controlplane.cluster import Cluster
from tests.e2e import _faults
from tests.e2e._faults import (
    AGENT,
    CREATED_BY,
    PROTECTED,
    Json,
    allowed,
    annotations_of,
    claim,
    delete_namespace,
    environment,
    kept,
    make_namespace,
    manifest,
    patch,
    unique,
    until,
    wait_level,
)
from tests.e2e._guards import ROLE, label_of, make_owner, make_workshop, refused
from tests.e2e.test_surface import REPLICA_SETS, deployment, pod

EVERYBODY = ("admin", "alice", "kiro", "rogue")


@pytest.fixture(scope="module")
def workshop(cluster: Cluster) -> str:
    return make_workshop(cluster)


def writes(namespace: str) -> dict[str, tuple[str, Json]]:
    """One object of each kind that agents write most, and its collection."""
    name = unique("made")
    return {
        "ConfigMap": (path("configmaps", namespace=namespace), manifest("ConfigMap", name, data={"a": "1"})),
        "Secret": (path("secrets", namespace=namespace), manifest("Secret", name)),
        "Service": (path("services", namespace=namespace), manifest("Service", name, spec={"ports": [{"port": 80}]})),
        "ServiceAccount": (path("serviceaccounts", namespace=namespace), manifest("ServiceAccount", name)),
        "Pod": (path("pods", namespace=namespace), pod(name)),
        "Deployment": (path("deployments", namespace=namespace), deployment(name)),
        "PersistentVolumeClaim": (path("persistentvolumeclaims", namespace=namespace), claim(name)),
        "PersistentVolume": (path("persistentvolumes"), _faults.volume(name)),
        "Namespace": (path("namespaces"), manifest("Namespace", name)),
        "ClusterRole": (path("clusterroles"), manifest("ClusterRole", name, api="rbac.authorization.k8s.io/v1", rules=[])),
    }


@pytest.mark.parametrize("kind", list(writes("x")))
def test_what_an_agent_makes_bears_its_name(cluster: Cluster, workshop: str, kind: str) -> None:
    collection, body = writes(workshop)[kind]
    made = cluster.api_as("kiro").create(collection, body)
    assert label_of(made) == "kiro"
    assert (made["metadata"].get("annotations", {}).get(CREATED_BY) is not None) == (kind == "Namespace")


def test_what_others_make_does_not(cluster: Cluster, workshop: str) -> None:
    for kind, (collection, body) in writes(workshop).items():
        made = cluster.api_as("alice").create(collection, body)
        assert label_of(made) is None, kind
        assert CREATED_BY not in made["metadata"].get("annotations", {}), kind


def test_what_controllers_make_for_an_agent_does_not(cluster: Cluster, workshop: str) -> None:
    name = unique("made")
    cluster.api_as("kiro").create(path("deployments", namespace=workshop), deployment(name))

    def mine() -> list[Json]:
        sets = cluster.api.list(REPLICA_SETS.format(workshop))
        return [each for each in sets if each["metadata"]["name"].startswith(name)]

    until(lambda: bool(mine()), "the deployment controller was to follow")
    assert label_of(mine()[0]) is None


def test_what_an_agent_changes_bears_its_name_from_then_on(cluster: Cluster, workshop: str) -> None:
    name = unique("changed")
    url = path("configmaps", name, namespace=workshop)
    cluster.api_as("alice").create(path("configmaps", namespace=workshop), manifest("ConfigMap", name, data={"a": "1"}))
    assert label_of(cluster.api_as("kiro").patch(url, {"data": {"a": "2"}})) == "kiro"
    assert label_of(cluster.api_as("alice").patch(url, {"data": {"a": "3"}})) == "kiro"
    assert label_of(cluster.api_as("rogue").patch(url, {"data": {"a": "4"}})) == "rogue"


def test_an_update_that_changes_nothing_stays_one(cluster: Cluster, workshop: str) -> None:
    name = unique("same")
    url = path("configmaps", name, namespace=workshop)
    body = manifest("ConfigMap", name, data={"a": "1"})
    first = cluster.api_as("kiro").apply(url, {**body, "metadata": {"name": name, "namespace": workshop}})
    second = cluster.api_as("kiro").apply(url, {**body, "metadata": {"name": name, "namespace": workshop}})
    assert first["metadata"]["resourceVersion"] == second["metadata"]["resourceVersion"]


def test_an_agent_does_not_write_under_anothers_name(cluster: Cluster, workshop: str) -> None:
    body = manifest("ConfigMap", unique("forged"), labels={AGENT: "rogue"})
    assert label_of(cluster.api_as("kiro").create(path("configmaps", namespace=workshop), body)) == "kiro"
    body = manifest("Namespace", unique("forged"))
    body["metadata"]["annotations"] = {CREATED_BY: "system:serviceaccount:agents:rogue"}
    made = cluster.api_as("kiro").create(path("namespaces"), body)
    assert made["metadata"]["annotations"][CREATED_BY] == "system:serviceaccount:agents:kiro"


def test_an_agents_service_account_bears_its_name_and_gets_it_back(cluster: Cluster) -> None:
    url = path("serviceaccounts", "kiro", namespace="agents")
    until(lambda: label_of(cluster.api.get(url)) == "kiro", "the account was to be labelled")
    cluster.api.patch(url, {"metadata": {"labels": {AGENT: None}}})
    until(lambda: label_of(cluster.api.get(url)) == "kiro", "the label was to be restored")


def test_every_write_of_an_agent_is_in_the_audit_log_with_agent_and_sponsor(cluster: Cluster) -> None:
    """Create, update, patch, delete, deletecollection and connect; of its reads and of others' writes nothing."""
    name = make_namespace(cluster, "audited", user="kiro")
    configs, pods = path("configmaps", namespace=name), path("pods", namespace=name)
    for user in ("kiro", "alice"):
        api, mine = cluster.api_as(user), unique("audited")
        api.create(configs, manifest("ConfigMap", mine, data={"a": "1"}))
        api.replace(f"{configs}/{mine}", manifest("ConfigMap", mine, data={"a": "2"}))
        api.patch(f"{configs}/{mine}", {"data": {"a": "3"}})
        api.create(pods, pod(mine))
        api.request("POST", f"{pods}/{mine}/exec", None, {"command": "true", "stdout": "true"})
        api.get(f"{configs}/{mine}")
        api.delete(f"{configs}/{mine}")
        api.delete(configs, labelSelector="nothing=matches")
        api.delete(pods, {"gracePeriodSeconds": 0})
    delete_namespace(cluster, "kiro", name)

    logged: list[Json] = []

    def events(username: str) -> list[Json]:
        return [event for event in logged if event["user"]["username"] == username and f"/namespaces/{name}" in event["requestURI"]]

    changing = {"create", "update", "patch", "delete", "deletecollection"}
    kiro, alice = "system:serviceaccount:agents:kiro", "alice@example.com"

    def all_there() -> bool:
        logged[:] = cluster.audit()
        connected = any("/exec" in event["requestURI"] for event in events(kiro))
        return connected and all({event["verb"] for event in events(username)} >= changing for username in (kiro, alice))

    until(all_there, "everything was to be in the audit log")
    for event in events(kiro):
        # A deletecollection that finds nothing has nothing that admission could be asked about.
        if "labelSelector" in event["requestURI"]:
            continue
        marks = {key: annotations_of(event).get(f"countersign-label/{key}") for key in ("agent", "sponsor")}
        expected = {"agent": "kiro", "sponsor": "alice"} if event["verb"] in changing else {"agent": None, "sponsor": None}
        assert marks == expected, f"{event['verb']} {event['requestURI']}"
    for event in events(alice):
        assert not [key for key in annotations_of(event) if key.startswith("countersign")], event["requestURI"]


# --- laundering -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def owner(cluster: Cluster) -> Json:
    return make_owner(cluster)


@pytest.mark.parametrize("user", EVERYBODY)
def test_nobody_gives_a_namespace_an_owner(cluster: Cluster, workshop: str, owner: Json, user: str) -> None:
    body = manifest("Namespace", unique("owned"))
    body["metadata"]["ownerReferences"] = [owner]
    refused(cluster.api_as(user).request("POST", path("namespaces"), body), "ownerReferences")
    refused(patch(cluster, user, path("namespaces", workshop), {"metadata": {"ownerReferences": [owner]}}), "ownerReferences")
    absent = {**owner, "uid": "00000000-0000-4000-8000-000000000000"}
    refused(patch(cluster, user, path("namespaces", workshop), {"metadata": {"ownerReferences": [absent]}}), "ownerReferences")
    assert "ownerReferences" not in cluster.api.get(path("namespaces", workshop))["metadata"]


def test_nobody_does_it_by_a_subresource(cluster: Cluster, workshop: str, owner: Json) -> None:
    for subresource in ("status", "finalize"):
        namespace = cluster.api.get(path("namespaces", workshop))
        namespace["metadata"]["ownerReferences"] = [owner]
        cluster.api.request("PUT", path("namespaces", workshop, subresource=subresource), namespace)
        assert "ownerReferences" not in cluster.api.get(path("namespaces", workshop))["metadata"], subresource


@pytest.mark.parametrize(
    "url",
    [path("protectedenvironments", "default"), path("agentidentities", "kiro"), path("reviewers", "bob"), ROLE],
    ids=lambda url: url[-20:],
)
def test_nobody_gives_our_own_objects_an_owner(cluster: Cluster, owner: Json, url: str) -> None:
    for user in ("admin", "alice", "rogue"):
        refused(patch(cluster, user, url, {"metadata": {"ownerReferences": [owner]}}))
    assert "ownerReferences" not in cluster.api.get(url)["metadata"]


def test_an_agent_gives_volumes_and_definitions_no_owner_and_a_human_may(cluster: Cluster, workshop: str, owner: Json) -> None:
    claims = path("persistentvolumeclaims", namespace=workshop)
    one, disk = unique("claim"), unique("disk")
    definition = _faults.definition("Thing", f"{unique('g')}.guards.example.com")
    cluster.api.create(claims, claim(one))
    cluster.api.create(path("persistentvolumes"), _faults.volume(disk))
    cluster.api.create(path("customresourcedefinitions"), definition)
    for url in (f"{claims}/{one}", path("persistentvolumes", disk), path("customresourcedefinitions", definition["metadata"]["name"])):
        for user in ("kiro", "rogue"):
            refused(patch(cluster, user, url, {"metadata": {"ownerReferences": [owner]}}), "ownerReferences")
        allowed(patch(cluster, "alice", url, {"metadata": {"ownerReferences": [owner]}}, dry_run=True))
    cluster.api.delete(path("customresourcedefinitions", definition["metadata"]["name"]))


@pytest.mark.parametrize("user", EVERYBODY)
def test_nobody_forges_the_label_protected(cluster: Cluster, workshop: str, user: str) -> None:
    wait_level(cluster, workshop, "Agents")
    for level in ("Agents", "People", "Everyone", "No"):
        body = manifest("Namespace", unique("forged"), labels={PROTECTED: level})
        refused(cluster.api_as(user).request("POST", path("namespaces"), body), PROTECTED)
    for level in ("People", "No"):
        refused(patch(cluster, user, path("namespaces", workshop), {"metadata": {"labels": {PROTECTED: level}}}), PROTECTED)
    assert cluster.api.get(path("namespaces", workshop))["metadata"]["labels"][PROTECTED] == "Agents"


def test_the_label_protected_is_removed_by_no_agent_and_comes_back(cluster: Cluster, workshop: str) -> None:
    wait_level(cluster, workshop, "Agents")
    removal = {"metadata": {"labels": {PROTECTED: None}}}
    for user in ("kiro", "rogue"):
        refused(patch(cluster, user, path("namespaces", workshop), removal), PROTECTED)
    allowed(patch(cluster, "alice", path("namespaces", workshop), removal))
    wait_level(cluster, workshop, "Agents")


def test_under_people_the_label_protected_is_removed_by_nobody(cluster: Cluster) -> None:
    team = unique("people")
    with kept(cluster.api, path("protectedenvironments"), environment(team, team, "People", **{"except": [_faults.ADMIN]})):
        name = make_namespace(cluster, "labelled", {_faults.TEAM: team})
        wait_level(cluster, name, "People")
        for user in EVERYBODY:
            for value in (None, "Agents"):
                refused(patch(cluster, user, path("namespaces", name), {"metadata": {"labels": {PROTECTED: value}}}), PROTECTED)
    wait_level(cluster, name, "Agents")


@pytest.mark.parametrize("user", ["admin", "alice", "rogue"])
def test_nobody_changes_who_created_a_namespace(cluster: Cluster, user: str) -> None:
    name = make_namespace(cluster, "created", user="kiro")
    for value in ("system:serviceaccount:agents:rogue", "", None):
        refused(patch(cluster, user, path("namespaces", name), {"metadata": {"annotations": {CREATED_BY: value}}}), CREATED_BY)
    other = make_namespace(cluster, "created")
    forged = {"metadata": {"annotations": {CREATED_BY: "system:serviceaccount:agents:kiro"}}}
    refused(patch(cluster, user, path("namespaces", other), forged), CREATED_BY)


def test_no_human_plants_a_namespace_in_an_agents_name(cluster: Cluster) -> None:
    body = manifest("Namespace", unique("planted"))
    body["metadata"]["annotations"] = {CREATED_BY: "system:serviceaccount:agents:kiro"}
    for user in ("admin", "alice"):
        refused(cluster.api_as(user).request("POST", path("namespaces"), body), CREATED_BY)
