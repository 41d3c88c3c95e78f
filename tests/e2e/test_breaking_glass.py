"""Reviewers are lost: a human cluster administrator goes on within minutes, loudly; an agent never (docs/breaking-glass.md)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from tests.controlplane.api import path
from tests.controlplane.cluster import Cluster
from tests.e2e._faults import (
    ADMIN,
    GUARDS,
    TEAM,
    Json,
    allowed,
    decision_of,
    delete_namespace,
    environment,
    guards,
    held,
    is_about,
    is_allowed,
    kept,
    make_namespace,
    manifest,
    message,
    patch,
    unique,
    until,
    wait_gone,
)

DEFAULT = path("protectedenvironments", "default")
ALICE = "alice@example.com"


@pytest.fixture(scope="module")
def short(cluster: Cluster) -> Iterator[None]:
    """Announced three seconds ahead, not five minutes."""
    cluster.reconfigure(glassAhead="33s")  # less the 30 s that clocks may differ
    yield
    cluster.reconfigure(glassAhead="5m")


def announcement(by: str = ALICE, ahead: float = 8) -> Json:
    since = (datetime.now(UTC) + timedelta(seconds=ahead)).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"spec": {"glass": {"from": since, "by": by, "why": "all reviewers have left the company"}}}


@pytest.fixture
def broken(cluster: Cluster, short: None) -> Iterator[None]:
    allowed(patch(cluster, "alice", DEFAULT, announcement()))
    until(lambda: condition(cluster)["status"] == "True", "the glass was to be broken")
    yield
    cluster.api.patch(DEFAULT, {"spec": {"glass": None}})
    until(lambda: condition(cluster)["status"] == "False", "the glass was to be whole")


def condition(cluster: Cluster) -> Json:
    conditions = cluster.api.get(DEFAULT)["status"]["conditions"]
    return next((each for each in conditions if each["type"] == "GlassBroken"), {"status": ""})


def test_people_go_on_without_signatures_and_everybody_hears_of_it(cluster: Cluster, short: None) -> None:
    team = unique("people")
    with kept(cluster.api, path("protectedenvironments"), environment(team, team, "People", **{"except": [ADMIN]})):
        name = make_namespace(cluster, "stuck", {TEAM: team})
        until(lambda: not is_allowed(delete_namespace(cluster, "alice", name, dry_run=True)), "people were to be held")
        held(delete_namespace(cluster, "alice", name))

        # The command of the documentation.
        told = announcement()
        answer = cluster.kubectl(
            "alice", "patch", "protectedenvironments.kube-countersign.dev", "default", "--type=merge", "-p", json.dumps(told)
        )
        assert answer.returncode == 0, answer.stderr
        assert not is_allowed(delete_namespace(cluster, "alice", name, dry_run=True)), "not before its time"
        until(lambda: is_allowed(delete_namespace(cluster, "alice", name, dry_run=True)), "it was to pass")
        allowed(delete_namespace(cluster, "alice", name))
        wait_gone(cluster.api, path("namespaces", name))

        # The agent goes on waiting.
        other = make_namespace(cluster, "other", {TEAM: team})
        held(delete_namespace(cluster, "kiro", other))

        # Told by condition, metric, log, records, Events, and in the decision itself.
        until(lambda: condition(cluster)["status"] == "True", "the condition was to say it")
        assert ALICE in condition(cluster)["message"]
        assert "countersign_glass_broken 1.0" in cluster.operator_metrics()
        assert "GlassBroken" in cluster.log("operator")

        def reasons() -> set[str]:
            return {event["reason"] for event in cluster.api.list(path("events", namespace="default"))}

        until(lambda: {"GlassAnnounced", "GlassBroken"} <= reasons(), "Events were to be written")
        record = decision_of(
            cluster, "the deletion", lambda each: is_about(each, "namespaces", name) and each["decision"] == "Allow" and not each["dryRun"]
        )
        assert (record["reason"], record["user"]) == ("GlassBroken", ALICE)

        # Taken out again it is over at once.
        allowed(patch(cluster, "alice", DEFAULT, {"spec": {"glass": None}}))
        until(lambda: not is_allowed(delete_namespace(cluster, "alice", other, dry_run=True)), "people were to be held again")
        until(lambda: "GlassWhole" in reasons(), "the end was to be told")


def test_a_new_reviewer_is_registered(cluster: Cluster, broken: None) -> None:
    """What it is for: registration is closed, and nobody is left who could sign."""
    name = unique("dora")
    body = manifest("Reviewer", name, api="kube-countersign.dev/v1alpha1", spec={"usernames": [f"{name}@example.com"]})
    allowed(cluster.api_as("alice").request("POST", path("reviewers"), body))
    cluster.api.delete(path("reviewers", name))


@pytest.mark.parametrize("user", ["rogue", "kiro"])
def test_no_agent_breaks_it_whatever_its_rights(cluster: Cluster, short: None, user: str) -> None:
    for by in (ALICE, f"system:serviceaccount:agents:{user}"):
        answer = patch(cluster, user, DEFAULT, announcement(by))
        assert not is_allowed(answer), message(answer)
    assert "glass" not in cluster.api.get(DEFAULT)["spec"]


def test_also_with_the_webhook_down(cluster: Cluster) -> None:
    cluster.stop_webhook()
    try:
        answer = patch(cluster, "rogue", DEFAULT, announcement())
        assert "ValidatingAdmissionPolicy 'countersign-" in message(answer), message(answer)
    finally:
        cluster.start_webhook()


def test_no_machine_breaks_it(cluster: Cluster, short: None) -> None:
    machine = cluster.new_service_account(unique("deployer"), "cluster-admin", namespace="ci")
    answer = patch(cluster, machine, DEFAULT, announcement(f"system:serviceaccount:ci:{machine}"))
    assert "takes a human with the verb break-glass" in message(answer), message(answer)


def test_nor_a_human_without_the_verb(cluster: Cluster, short: None) -> None:
    """An editor of environments; whoever has the ClusterRole countersign-break-glass may."""
    role = unique("editor")
    rule = {"apiGroups": ["kube-countersign.dev"], "resources": ["protectedenvironments"], "verbs": ["get", "patch"]}
    cluster.api.create(path("clusterroles"), manifest("ClusterRole", role, api="rbac.authorization.k8s.io/v1", rules=[rule]))
    editor = cluster.new_human(f"{unique('erin')}@example.com", role=role)
    told = announcement(f"{editor}@example.com")
    applied = manifest("ProtectedEnvironment", "default", api="kube-countersign.dev/v1alpha1", **told)
    by_apply = {"fieldManager": "gitops", "force": "true"}
    for answer in (
        patch(cluster, editor, DEFAULT, told),
        cluster.api_as(editor).request("PATCH", DEFAULT, applied, by_apply, "application/apply-patch+yaml"),
    ):
        assert "takes a human with the verb break-glass" in message(answer), message(answer)
    other = cluster.new_human(f"{unique('dave')}@example.com", role="countersign-break-glass")
    until(
        lambda: is_allowed(patch(cluster, other, DEFAULT, announcement(f"{other}@example.com"), dry_run=True)), "whoever has the verb may"
    )


def test_it_is_in_ones_own_name_and_ahead(cluster: Cluster, short: None) -> None:
    assert "your own username" in message(patch(cluster, "alice", DEFAULT, announcement("bob@example.com")))
    assert "so that nobody breaks it quietly" in message(patch(cluster, "alice", DEFAULT, announcement(ahead=-60)))


# --- the last resort: Countersign itself does not work ----------------------------------------


def test_the_last_resort_works_and_is_told_afterwards(cluster: Cluster) -> None:
    """With the webhook broken for good: the operator is stopped, the policy's two bindings and the webhook configuration are deleted."""
    bindings = path("validatingadmissionpolicybindings")
    cluster.stop_operator()
    try:
        cluster.stop_webhook()
        url = path("validatingwebhookconfigurations", "countersign")
        refused = cluster.api_as("alice").request("DELETE", url)
        assert "countersign-guards" in message(refused)
        for name in ("countersign-guards", "countersign-guards-2"):
            allowed(cluster.api_as("alice").request("DELETE", f"{bindings}/{name}"))
        until(lambda: is_allowed(cluster.api_as("alice").request("DELETE", url)), "without its guard it was to go")
        # What agents never do stays refused, in process.
        answer = patch(cluster, "rogue", DEFAULT, {"spec": {"mode": "Audit"}})
        assert "countersign-agents" in message(answer), message(answer)
    finally:
        cluster.start_webhook()
        cluster.start_operator()
        cluster.wait_in_force()
    wanted = {"validatingadmissionpolicybindings/countersign-guards", "validatingwebhookconfigurations/countersign"}
    until(lambda: wanted <= guards(cluster.api), "the operator was to put everything back")
    assert len(GUARDS) == len({each.partition("/")[0] for each in guards(cluster.api)})
