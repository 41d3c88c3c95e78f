"""The tiny surface: what never reaches the webhook, and what goes on without it (invariants 8 and 9)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.controlplane.api import path
from tests.controlplane.cluster import Cluster
from tests.e2e._faults import (
    ADMIN,
    AGENT,
    TEAM,
    Json,
    allowed,
    claim,
    delete,
    delete_namespace,
    environment,
    helm,
    kept,
    make_namespace,
    manifest,
    message,
    patch,
    received,
    unique,
    until,
    wait_gone,
    wait_level,
    wait_refused,
)

DEPLOYMENTS = "/apis/apps/v1/namespaces/{}/deployments"
REPLICA_SETS = "/apis/apps/v1/namespaces/{}/replicasets"


def deployment(name: str, *, replicas: int = 1) -> Json:
    labels = {"app": name}
    container = {"name": "main", "image": "example.com/none:1"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    return manifest("Deployment", name, api="apps/v1", spec=spec)


def pod(name: str) -> Json:
    return manifest("Pod", name, spec={"containers": [{"name": "main", "image": "example.com/none:1"}]})


def lives_of(cluster: Cluster, user: str, namespace: str) -> None:
    """What anybody does all day: applications, settings and pods come, change and go."""
    account = path("serviceaccounts", "default", namespace=namespace)
    until(lambda: cluster.api.exists(account), "the namespace was to have its default account, for pods")
    api = cluster.api_as(user)
    deployments = DEPLOYMENTS.format(namespace)
    configs, pods = path("configmaps", namespace=namespace), path("pods", namespace=namespace)
    api.create(deployments, deployment("app"))
    api.create(configs, manifest("ConfigMap", "settings", data={"a": "1"}))
    api.create(pods, pod("tool"))
    api.patch(f"{deployments}/app", {"spec": {"replicas": 2}})
    api.patch(f"{configs}/settings", {"data": {"a": "2"}})
    api.patch(f"{pods}/tool", {"metadata": {"annotations": {"a": "1"}}})
    api.replace(f"{configs}/settings", manifest("ConfigMap", "settings", data={"a": "3"}))

    def grown() -> bool:
        sets = cluster.api.list(REPLICA_SETS.format(namespace))
        return bool(sets and sets[0]["spec"]["replicas"] == 2)

    until(grown, "the deployment controller was to follow")
    for url in (f"{deployments}/app", f"{configs}/settings"):
        api.delete(url)
    api.request("DELETE", f"{pods}/tool", {"gracePeriodSeconds": 0})
    wait_gone(cluster.api, f"{pods}/tool")
    until(lambda: not cluster.api.list(REPLICA_SETS.format(namespace)), "the garbage collector was to follow")


# --- who never reaches it ---------------------------------------------------------------------


def test_a_human_and_the_controllers_never_reach_the_webhook(cluster: Cluster) -> None:
    before = received(cluster)
    name = make_namespace(cluster, "human", user="alice")
    lives_of(cluster, "alice", name)
    claims = path("persistentvolumeclaims", namespace=name)
    cluster.api_as("alice").create(claims, claim("data"))
    allowed(patch(cluster, "alice", path("namespaces", name), {"metadata": {"labels": {"tier": "prod"}}}))
    allowed(patch(cluster, "alice", path("namespaces", name), {"metadata": {"labels": {"tier": None}}}))
    allowed(delete(cluster, "alice", f"{claims}/data"))
    allowed(delete_namespace(cluster, "alice", name))
    wait_gone(cluster.api, path("namespaces", name), timeout=60)
    assert received(cluster) == before


def test_an_agents_ordinary_writes_never_reach_it_either(cluster: Cluster) -> None:
    name = make_namespace(cluster, "agents-own", user="kiro")
    before = received(cluster)
    lives_of(cluster, "kiro", name)
    allowed(patch(cluster, "kiro", path("namespaces", name), {"metadata": {"labels": {"tier": "prod"}}}))
    assert received(cluster) == before


def test_the_counter_would_tell(cluster: Cluster) -> None:
    name = make_namespace(cluster, "counted")
    before = received(cluster)
    assert not delete_namespace(cluster, "kiro", name, dry_run=True).ok
    assert received(cluster) == before + 1


# --- with every replica down ------------------------------------------------------------------


@pytest.fixture(scope="module")
def before_the_outage(cluster: Cluster) -> Iterator[dict[str, str]]:
    """Namespaces made while all was well: one of nobody's, one of kiro's own, one that is protected from people."""
    team = unique("people")
    with kept(cluster.api, path("protectedenvironments"), environment(team, team, "People", **{"except": [ADMIN]})):
        names = {
            "other": make_namespace(cluster, "precious"),
            "own": make_namespace(cluster, "kiros", user="kiro"),
            "peoples": make_namespace(cluster, "peoples", {TEAM: team}),
        }
        wait_refused(lambda: delete_namespace(cluster, "alice", names["peoples"], dry_run=True), "a human under People")
        wait_level(cluster, names["peoples"], "People")
        yield names


@pytest.fixture(scope="class")
def outage(cluster: Cluster, before_the_outage: dict[str, str]) -> Iterator[dict[str, str]]:
    cluster.stop_webhook()
    try:
        yield before_the_outage
    finally:
        cluster.start_webhook()
        cluster.wait_in_force()


@pytest.mark.usefixtures("outage")
class TestWithTheWebhookDown:
    def test_the_agent_is_refused(self, cluster: Cluster, outage: dict[str, str]) -> None:
        for user in ("kiro", "rogue"):
            for name in (outage["other"], outage["own"]):
                answer = delete_namespace(cluster, user, name)
                assert not answer.ok
                assert "failed calling webhook" in message(answer), message(answer)
                assert cluster.api.get(path("namespaces", name))["status"]["phase"] == "Active"

    def test_the_agent_is_refused_what_else_it_could_destroy(self, cluster: Cluster, outage: dict[str, str]) -> None:
        claims = path("persistentvolumeclaims", namespace=outage["other"])
        cluster.api.create(claims, claim("data"))
        for url in (f"{claims}/data", claims, path("protectedenvironments", "default"), path("agentidentities", "kiro")):
            answer = delete(cluster, "rogue", url)
            assert not answer.ok, url
        assert "deletionTimestamp" not in cluster.api.get(f"{claims}/data")["metadata"]

    def test_everyone_else_works(self, cluster: Cluster) -> None:
        name = make_namespace(cluster, "human", user="alice")
        lives_of(cluster, "alice", name)
        allowed(delete_namespace(cluster, "alice", name))
        wait_gone(cluster.api, path("namespaces", name), timeout=60)

    def test_under_people_nothing_but_what_is_guarded_stops(self, cluster: Cluster, outage: dict[str, str]) -> None:
        name = outage["peoples"]
        answer = delete_namespace(cluster, "alice", name)
        assert not answer.ok
        assert "failed calling webhook" in message(answer)
        lives_of(cluster, "alice", name)
        allowed(patch(cluster, "alice", path("namespaces", name), {"metadata": {"labels": {"tier": "prod"}}}))

    def test_an_agents_ordinary_writes_work(self, cluster: Cluster, outage: dict[str, str]) -> None:
        lives_of(cluster, "kiro", outage["own"])
        fresh = make_namespace(cluster, "fresh", user="kiro")
        allowed(patch(cluster, "kiro", path("namespaces", fresh), {"metadata": {"labels": {"tier": "prod"}}}))

    def test_an_agent_installs_an_application_with_helm(self, cluster: Cluster, outage: dict[str, str], tmp_path: Path) -> None:
        installs(cluster, outage["own"], tmp_path)

    def test_a_repair_that_changes_nothing_passes(self, cluster: Cluster) -> None:
        """A fail-closed webhook on our own kinds must not stand in the way of applying them again."""
        for url in (path("protectedenvironments", "default"), path("agentidentities", "kiro"), path("reviewers", "bob")):
            existing = cluster.api.get(url)
            body = {**existing, "metadata": {"name": existing["metadata"]["name"]}}
            body.pop("status", None)
            cluster.api_as("alice").apply(url, body)


def test_an_agent_installs_an_application_with_helm(cluster: Cluster, tmp_path: Path) -> None:
    name = make_namespace(cluster, "app", user="kiro")
    before = received(cluster)
    installs(cluster, name, tmp_path)
    assert received(cluster) == before


def installs(cluster: Cluster, namespace: str, folder: Path) -> None:
    """`helm upgrade --install` twice, then `uninstall`, as kiro."""
    chart_folder = application(folder)
    release = unique("app")
    for replicas in (1, 2):
        command: list[str | Path] = [
            "upgrade",
            "--install",
            release,
            chart_folder,
            "--namespace",
            namespace,
            "--set",
            f"replicas={replicas}",
        ]
        answer = helm(cluster, "kiro", *command)
        assert answer.returncode == 0, answer.stderr
        made = cluster.api.get(f"{DEPLOYMENTS.format(namespace)}/{release}")
        assert made["spec"]["replicas"] == replicas
        assert made["metadata"]["labels"][AGENT] == "kiro"
    answer = helm(cluster, "kiro", "uninstall", release, "--namespace", namespace)
    assert answer.returncode == 0, answer.stderr
    wait_gone(cluster.api, f"{DEPLOYMENTS.format(namespace)}/{release}")


def application(folder: Path) -> Path:
    """A chart such as an agent is asked to install."""
    made = folder / "application"
    templates = made / "templates"
    templates.mkdir(parents=True)
    (made / "Chart.yaml").write_text(yaml.safe_dump({"apiVersion": "v2", "name": "application", "version": "0.1.0"}))
    (made / "values.yaml").write_text("replicas: 1\n")
    name = "{{ .Release.Name }}"
    body = deployment(name)
    body["spec"]["replicas"] = 999
    service = manifest("Service", name, spec={"selector": {"app": name}, "ports": [{"port": 80}]})
    parts = [body, service, manifest("ConfigMap", name, data={"a": "1"}), manifest("ServiceAccount", name)]
    text = yaml.safe_dump_all(parts).replace("999", "{{ .Values.replicas }}")
    (templates / "all.yaml").write_text(text)
    return made
