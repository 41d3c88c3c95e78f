"""Trying it first: an environment in Audit mode lists who would have been held, and nobody is in anybody's way; from the first Enforce on, going back is guarded."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from countersign.entrypoints.log import verify_command
from tests.controlplane import chart
from tests.controlplane.api import path
from tests.controlplane.chart import NAMESPACE
from tests.controlplane.cluster import Cluster
from tests.e2e._faults import (
    ADMIN,
    TEAM,
    Json,
    allowed,
    delete_namespace,
    environment,
    held,
    helm,
    kept,
    make_namespace,
    message,
    patch,
    unique,
    until,
    wait_allowed,
    wait_refused,
)
from tests.e2e.story import Story
from tests.e2e.test_webhook_as_target import forged

ENVIRONMENTS = path("protectedenvironments")
HEADS = path("configmaps", "countersign-log-heads", namespace=NAMESPACE)


@pytest.fixture(scope="module", autouse=True)
def noting(cluster: Cluster) -> Iterator[None]:
    cluster.reconfigure(noteEvery="1s")
    yield
    cluster.reset_values()


@pytest.fixture
def trial(cluster: Cluster) -> Iterator[str]:
    """An environment that tries out protecting from everyone."""
    team = unique("trial")
    with kept(cluster.api, ENVIRONMENTS, environment(team, team, "Everyone", mode="Audit", **{"except": [ADMIN]})) as url:
        wait_watched(cluster, url)
        wait_sent(cluster, team)
        yield team


def wait_watched(cluster: Cluster, url: str) -> None:
    until(lambda: "wouldHold" in cluster.api.get(url).get("status", {}), "the operator was to begin the list")


def wait_sent(cluster: Cluster, team: str) -> None:
    """Until the API server sends people's deletions there."""
    until(
        lambda: any(team in json.dumps(hook["matchConditions"]) for hook in chart.registered(cluster.api) if "people" in hook["name"]),
        "people's deletions were to be sent to the webhook",
    )
    probe = make_namespace(cluster, "probe", {TEAM: team})
    until(
        lambda: delete_namespace(cluster, "alice", probe, dry_run=True).ok and seen_dry(cluster, probe), "the API server was to take it up"
    )


def seen_dry(cluster: Cluster, name: str) -> bool:
    return any(record.get("target", {}).get("name") == name and record["user"] == "alice@example.com" for record in cluster.decisions())


def listed(cluster: Cluster, name: str) -> dict[str, Json]:
    status = cluster.api.get(f"{ENVIRONMENTS}/{name}")["status"]
    return {each["username"]: each for each in status.get("wouldHold", {"listed": []})["listed"]}


def wait_listed(cluster: Cluster, name: str, **counts: int) -> dict[str, Json]:
    def there() -> bool:
        return {username.partition("@")[0].rpartition(":")[2]: each["count"] for username, each in listed(cluster, name).items()} == counts

    until(there, f"{counts} were to be listed", explain=lambda: str(listed(cluster, name)))
    return listed(cluster, name)


class TestWouldHold:
    def test_people_and_machines_are_listed_and_nobody_is_held(self, cluster: Cluster, trial: str) -> None:
        deployer = cluster.new_service_account(unique("deployer"), "cluster-admin", namespace="default")
        mine, its = (make_namespace(cluster, "tried", {TEAM: trial}) for _ in range(2))
        allowed(delete_namespace(cluster, "alice", mine))
        allowed(delete_namespace(cluster, deployer, its))
        people = wait_listed(cluster, trial, alice=1, **{deployer: 1})
        alice = people["alice@example.com"]
        assert (alice["kind"], alice["operation"]) == ("Human", "DELETE")
        assert alice["example"] == {"group": "", "resource": "namespaces", "namespace": "", "name": mine}
        assert people[f"system:serviceaccount:default:{deployer}"]["kind"] == "Machine"
        assert cluster.api.get(f"{ENVIRONMENTS}/{trial}")["status"]["wouldHold"]["requests"] == 2
        row = cluster.kubectl("alice", "get", "protectedenvironments", trial).stdout.splitlines()
        assert row[0].split()[-2:] == ["WOULD-HOLD", "AGE"]
        assert row[1].split()[-2] == "2"

    def test_agents_are_held_meanwhile_and_dry_runs_are_not_listed(self, cluster: Cluster, trial: str) -> None:
        name = make_namespace(cluster, "tried", {TEAM: trial})
        held(delete_namespace(cluster, "kiro", name))
        allowed(delete_namespace(cluster, "alice", name, dry_run=True))
        allowed(delete_namespace(cluster, "alice", name))
        wait_listed(cluster, trial, alice=1)

    def test_it_goes_on_when_both_processes_are_new(self, cluster: Cluster, trial: str) -> None:
        allowed(delete_namespace(cluster, "alice", make_namespace(cluster, "tried", {TEAM: trial})))
        cluster.restart_webhook()  # what it has not noted yet it notes at its end
        cluster.restart_operator()
        allowed(delete_namespace(cluster, "alice", make_namespace(cluster, "tried", {TEAM: trial})))
        wait_listed(cluster, trial, alice=2)

    def test_a_forged_review_is_not_listed(self, cluster: Cluster, story: Story, trial: str) -> None:
        """Whoever reaches the port can say that anybody deleted anything; what is listed must have happened."""
        name = make_namespace(cluster, "tried", {TEAM: trial})
        target = cluster.api.get(path("namespaces", name))
        answer = story.post_review(forged(target, "victim@example.com", userInfo={"username": "victim@example.com", "groups": []}))
        assert answer.body["response"]["allowed"] is True
        allowed(delete_namespace(cluster, "alice", make_namespace(cluster, "tried", {TEAM: trial})))
        wait_listed(cluster, trial, alice=1)

    def test_with_the_webhook_dead_a_trial_stops_nobody(self, cluster: Cluster, trial: str) -> None:
        """Two namespaces: one that only the trial would hold people from, and an agent's attempt, which fails closed as ever."""
        mine, its = (make_namespace(cluster, "tried", {TEAM: trial}) for _ in range(2))
        cluster.stop_webhook()
        try:
            allowed(delete_namespace(cluster, "alice", mine))
            assert not delete_namespace(cluster, "kiro", its).ok
        finally:
            cluster.start_webhook()
            cluster.wait_in_force()


class TestTheRatchet:
    def test_before_the_first_enforce_everything_may_be_changed_afterwards_it_is_signed_for(self, cluster: Cluster) -> None:
        team = unique("ratchet")
        body = environment(team, team, "People", mode="Audit", approvals={"required": 1}, **{"except": [ADMIN]})
        with kept(cluster.api, ENVIRONMENTS, body) as url:
            wait_watched(cluster, url)
            allowed(patch(cluster, "alice", url, {"spec": {"approvals": {"useWithin": "2h"}}}))  # weaker, and only tried
            allowed(patch(cluster, "alice", url, {"spec": {"mode": "Enforce"}}))
            wait_refused(lambda: patch(cluster, "alice", url, {"spec": {"mode": "Audit"}}, dry_run=True), "going back")
            assert "WAITING" in message(patch(cluster, "alice", url, {"spec": {"mode": "Audit"}}))
            held(patch(cluster, "alice", url, {"spec": {"approvals": {"useWithin": "3h"}}}))
            until(lambda: "wouldHold" not in cluster.api.get(url)["status"], "the list was to go")

    def test_by_helm(self, cluster: Cluster) -> None:
        def upgraded(mode: str) -> None:
            answer = helm(
                cluster, "alice", "upgrade", chart.RELEASE, chart.CHART, "-n", NAMESPACE, "--reuse-values", "--set", f"default.mode={mode}"
            )
            assert answer.returncode == 0, answer.stderr

        name = make_namespace(cluster, "tried")
        upgraded("Audit")  # the environment protects from agents alone, so a person may go back
        try:
            wait_allowed(lambda: delete_namespace(cluster, "kiro", name, dry_run=True), "a deletion under Audit")
            allowed(delete_namespace(cluster, "kiro", name))
            until(lambda: "system:serviceaccount:agents:kiro" in listed(cluster, "default"), "kiro was to be listed")
        finally:
            upgraded("Enforce")
        wait_refused(lambda: delete_namespace(cluster, "kiro", "agents", dry_run=True), "a deletion under Enforce")


class TestHeads:
    def test_a_truncated_log_shows_against_the_heads(self, cluster: Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """With the processes as they are: the log of every replica, and the ConfigMap as kubectl writes it."""
        held(delete_namespace(cluster, "kiro", make_namespace(cluster, "noted")))
        cluster.restart_webhook()  # so that one chain has ended
        held(delete_namespace(cluster, "kiro", make_namespace(cluster, "noted")))
        newest = cluster.decisions()[-1]
        until(lambda: newest["process"] in data(cluster) and data(cluster)[newest["process"]]["seq"] >= newest["seq"], "it was to be noted")
        heads, log = tmp_path / "heads.json", tmp_path / "decisions.jsonl"
        noted = json.loads(cluster.kubectl("alice", "get", "configmap", "countersign-log-heads", "-n", NAMESPACE, "-o", "json").stdout)
        records = cluster.decisions()
        # On kind there are the logs of the pods that are there: other processes' heads are of logs that nobody has collected.
        noted["data"] = {process: head for process, head in noted["data"].items() if process in {record["process"] for record in records}}
        heads.write_text(json.dumps(noted))
        log.write_text("".join(f"{json.dumps(record)}\n" for record in records))
        command = ["--rotated", "--against", str(heads), str(log)]
        assert verify_command(command) == 0, capsys.readouterr().err
        known = json.loads(noted["data"][newest["process"]])["seq"]
        kept = [record for record in records if record["process"] != newest["process"] or record["seq"] < known]
        log.write_text("".join(f"{json.dumps(record)}\n" for record in kept))
        assert verify_command(["--rotated", str(log)]) == 0, "by itself it shows nothing"
        assert verify_command(command) == 1
        assert "the end was cut off" in capsys.readouterr().err

    def test_each_process_says_when_it_ends(self, cluster: Cluster) -> None:
        cluster.restart_webhook()
        until(lambda: sum(head["ended"] for head in data(cluster).values()) >= 1, "an end was to be noted")
        cluster.restart_operator()
        until(lambda: any(head["ended"] and "operator" in head["replica"] for head in data(cluster).values()), "the operator's own, too")

    def test_agents_write_neither_notes_nor_heads(self, cluster: Cluster) -> None:
        for agent in ("kiro", "rogue"):
            for answer in (
                patch(cluster, agent, HEADS, {"data": {"x": "{}"}}),
                cluster.api_as(agent).request("DELETE", HEADS),
                cluster.api_as(agent).request(
                    "POST", path("configmaps", namespace=NAMESPACE), {"metadata": {"name": "countersign-note-x", "labels": {}}}
                ),
            ):
                assert not answer.ok
                assert "Countersign's own namespace" in message(answer)


def data(cluster: Cluster) -> dict[str, Json]:
    answer = cluster.api.request("GET", HEADS)
    return {process: json.loads(value) for process, value in answer.body["data"].items()} if answer.ok else {}
