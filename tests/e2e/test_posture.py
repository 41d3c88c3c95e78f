"""Posture on a real cluster: who is held and why, that it follows RBAC, what an authorizer changes; and environments that widen."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.controlplane import chart
from tests.controlplane.api import path
from tests.controlplane.cluster import Cluster
from tests.controlplane.paths import ROOT
from tests.e2e._faults import (
    TEAM,
    Json,
    allowed,
    approve,
    claim,
    delete_namespace,
    environment,
    held,
    make_namespace,
    manifest,
    message,
    patch,
    sign_off,
    unique,
    until,
    wait_allowed,
    wait_gone,
    wait_level,
    wait_refused,
)

RBAC = "rbac.authorization.k8s.io"
SOON = 60.0  # a new operator asks the authorizers about every agent anew, twice


def status_of(cluster: Cluster, agent: str) -> Json:
    status: Json = cluster.api.get(path("agentidentities", agent)).get("status", {})
    return status


def condition(cluster: Cluster, agent: str) -> Json:
    """The condition Held; empty until it is there."""
    return next((each for each in status_of(cluster, agent).get("conditions", []) if each["type"] == "Held"), {})


def wait_held(cluster: Cluster, agent: str, status: str, reason: str = "") -> Json:
    def so() -> bool:
        found = condition(cluster, agent)
        return found.get("status") == status and reason in ("", found.get("reason"))

    until(so, f"{agent} was to be Held={status} {reason}", timeout=SOON, explain=lambda: json.dumps(condition(cluster, agent)))
    return condition(cluster, agent)


def wait_metric(cluster: Cluster, line: str) -> None:
    until(lambda: line in cluster.operator_metrics().splitlines(), f"the metrics were to say {line}", timeout=SOON)


def grant(cluster: Cluster, agent: str, rules: list[Json], *, namespace: str) -> list[str]:
    """A Role in a namespace, bound to an agent; the paths of both, the binding first."""
    name = unique("given")
    subjects = [{"kind": "ServiceAccount", "name": agent, "namespace": "agents"}]
    role = manifest("Role", name, api=f"{RBAC}/v1", rules=rules)
    binding = manifest("RoleBinding", name, api=f"{RBAC}/v1", roleRef={"apiGroup": RBAC, "kind": "Role", "name": name}, subjects=subjects)
    cluster.api.create(path("roles", namespace=namespace), role)
    cluster.api.create(path("rolebindings", namespace=namespace), binding)
    return [path(kind, name, namespace=namespace) for kind in ("rolebindings", "roles")]


# --- who is held ----------------------------------------------------------------------------------


def test_an_agent_with_the_charts_role_is_held_and_a_cluster_admin_is_not(cluster: Cluster) -> None:
    wait_held(cluster, "kiro", "True", "HeldAsItself")
    until(
        lambda: "CanMintTokens" in " ".join(status_of(cluster, "rogue").get("waysRound", [])), "rogue's ways were to be told", timeout=SOON
    )
    rogue, status = wait_held(cluster, "rogue", "False", "CanImpersonate"), status_of(cluster, "rogue")
    assert "ClusterRole/cluster-admin" in rogue["message"]
    assert status["couldBecome"] == {"generation": 1, "users": ["*"], "serviceAccounts": ["*/*"]}
    assert status["counts"]["couldDelete"] >= 4
    ways = " ".join(status["waysRound"])
    assert all(way in ways for way in ("CanImpersonate", "CanWritePolicies", "CanGrantAnyRight", "CanMintTokens", "CanIssueCertificates"))
    of_kiro = status_of(cluster, "kiro")
    assert (of_kiro["couldBecome"]["users"], of_kiro["couldBecome"]["serviceAccounts"]) == ([], [])
    assert "CanImpersonate" not in " ".join(of_kiro["waysRound"])


def test_it_is_told_by_column_metric_and_event(cluster: Cluster) -> None:
    wait_held(cluster, "rogue", "False")
    columns = cluster.kubectl("admin", "get", "agentidentities").stdout
    assert "HELD" in columns
    assert any(line.startswith("rogue") and "False" in line for line in columns.splitlines())
    for line in (
        'countersign_agent_held{agent="rogue"} 0.0',
        'countersign_agent_held{agent="kiro"} 1.0',
        'countersign_agent_ways_round{agent="rogue",way="CanWritePolicies"} 1.0',
    ):
        wait_metric(cluster, line)
    events = cluster.api.list(path("events", namespace="default"))
    assert any(each["reason"] == "NotHeld" and each["involvedObject"]["name"] == "rogue" for each in events)


def test_it_follows_rbac(cluster: Cluster) -> None:
    agent = unique("minter")
    cluster.new_agent(agent)
    home = make_namespace(cluster, "ci")
    wait_held(cluster, agent, "True")
    given = grant(cluster, agent, [{"apiGroups": [""], "resources": ["serviceaccounts/token"], "verbs": ["create"]}], namespace=home)
    try:
        found = wait_held(cluster, agent, "False", "CanMintTokens")
        assert f"RoleBinding/{given[0].rpartition('/')[2]} in {home}" in found["message"]
        status = status_of(cluster, agent)
        assert status["couldBecome"]["serviceAccounts"] == [f"{home}/*"]
    finally:
        for each in given:
            cluster.api.delete(each)
    wait_held(cluster, agent, "True")
    assert status_of(cluster, agent)["couldBecome"]["serviceAccounts"] == []


def test_an_account_that_is_named_in_the_identity_is_no_way_round(cluster: Cluster) -> None:
    agent = unique("worker")
    cluster.new_agent(agent)
    home = make_namespace(cluster, "pool")
    given = grant(cluster, agent, [{"apiGroups": [""], "resources": ["serviceaccounts/token"], "verbs": ["create"]}], namespace=home)
    try:
        wait_held(cluster, agent, "False", "CanMintTokens")
        subjects = cluster.api.get(path("agentidentities", agent))["spec"]["subjects"]
        widened = [*subjects, {"kind": "ServiceAccount", "namespace": home, "name": "*"}]
        cluster.api.patch(path("agentidentities", agent), {"spec": {"subjects": widened}})
        wait_held(cluster, agent, "True")
    finally:
        for each in given:
            cluster.api.delete(each)


@pytest.mark.local_only(reason="the API server's authorization configuration is changed")
def test_what_the_authorizer_refuses_is_no_way_any_more(cluster: Cluster) -> None:
    wait_held(cluster, "rogue", "False", "CanImpersonate")
    with cluster.with_authorizer() as authorization:
        authorization.deliver(naming="system:serviceaccount:agents:rogue")
        poke = make_namespace(cluster, "poke")  # a change of RBAC: another authorizer's word is asked for now and then only
        given = grant(cluster, "kiro", [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}], namespace=poke)
        try:

            def closed() -> bool:
                ways = " ".join(cluster.api.get(path("agentidentities", "rogue"))["status"]["waysRound"])
                return "CanImpersonate" not in ways and "CanWritePolicies" not in ways

            until(closed, "impersonation was to be closed by the authorizer", timeout=90)
        finally:
            for each in given:
                cluster.api.delete(each)
    until(lambda: condition(cluster, "rogue").get("reason") == "CanImpersonate", "it was to be open again", timeout=90)


# --- the command ----------------------------------------------------------------------------------


def posture(cluster: Cluster, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return subprocess.run(
        [sys.executable, "-m", "countersign", "posture", *arguments],
        env=environment | {"KUBECONFIG": str(cluster.paths.kubeconfig)},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=ROOT,
    )


def test_the_command_on_a_cluster(cluster: Cluster) -> None:
    answer = posture(cluster)
    assert answer.returncode == 1, answer.stderr
    assert "NOT HELD" in answer.stdout
    assert "Only RBAC was looked at" not in answer.stdout
    alone = posture(cluster, "--agent", "kiro", "--output", "json")
    assert alone.returncode == 0, alone.stderr
    tree = json.loads(alone.stdout)
    assert (tree["authorizersAsked"], tree["agents"][0]["held"]) == (True, True)


def test_the_command_on_a_file_of_kubectl(cluster: Cluster) -> None:
    kinds = "clusterroles,clusterrolebindings,roles,rolebindings,agentidentities,protectedenvironments"
    dump = cluster.kubectl("admin", "get", kinds, "--all-namespaces", "-o", "json").stdout
    answer = posture(cluster, "--output", "json", "-", stdin=dump)
    assert answer.returncode == 1, answer.stderr
    tree = json.loads(answer.stdout)
    assert {each["name"]: each["held"] for each in tree["agents"] if each["name"] in ("kiro", "rogue")} == {"kiro": True, "rogue": False}


def test_the_notes_of_an_upgrade_name_them_in_red(cluster: Cluster) -> None:
    wait_held(cluster, "rogue", "False")
    answer = subprocess.run(
        [
            cluster.paths.bin / "helm", "upgrade", "countersign", ROOT / "charts" / "countersign", "--namespace", chart.NAMESPACE,
            "--reset-then-reuse-values", "--dry-run=server", "--kubeconfig", cluster.paths.kubeconfig,
        ],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    line = next(line for line in answer.stdout.splitlines() if "NOT HELD" in line)
    assert line.startswith("\x1b[31m")
    assert "rogue (CanImpersonate)" in line


# --- widening -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bystander(cluster: Cluster) -> str:
    """A human who has nothing to do with agents, and may delete namespaces."""
    return cluster.new_human(f"{unique('bystander')}@example.com", role="cluster-admin")


@pytest.fixture
def wide(cluster: Cluster) -> Iterator[str]:
    """The team of an environment that widens. Its end needs signatures: whoever asks could be rogue."""
    team = unique("wide")
    body = environment(team, team, "Agents", whenAgentsCanImpersonate="Widen")
    url = path("protectedenvironments", team)
    wait_held(cluster, "rogue", "False", "CanImpersonate")
    cluster.api.create(path("protectedenvironments"), body)
    yield team
    request = held(cluster.api.request("DELETE", url))
    approve(cluster, request, "bob", "carol")  # one more than it says, since the admin is nobody registered
    allowed(cluster.api.request("DELETE", url))


def as_(name: str) -> dict[str, str]:
    return {"Impersonate-User": name}


def username(cluster: Cluster, user: str) -> str:
    return str(json.loads(cluster.kubectl(user, "auth", "whoami", "-o", "json").stdout)["status"]["userInfo"]["username"])


def test_impersonation_of_a_bystander_is_held_back_where_it_widens(cluster: Cluster, wide: str, bystander: str) -> None:
    plain, home = make_namespace(cluster, "plain"), make_namespace(cluster, "home", {TEAM: wide})
    rogue, name = cluster.api_as("rogue"), username(cluster, bystander)
    wait_refused(
        lambda: rogue.request("DELETE", path("namespaces", home), params={"dryRun": "All"}, headers=as_(name)), "rogue as a bystander"
    )
    # The control: where nothing widens, admission sees a bystander and nobody else.
    allowed(rogue.request("DELETE", path("namespaces", plain), headers=as_(name)))
    answer = rogue.request("DELETE", path("namespaces", home), headers=as_(name))
    request = cluster.api.get(path("changerequests", held(answer)))
    requester = request["spec"]["requester"]
    assert (requester["username"], requester["key"]) == (name, name)
    assert "rogue" in requester["agents"]
    assert "alice" in requester["sponsors"]
    assert any("agents could act under this name" in each for each in answer.warnings), answer.warnings
    assert cluster.api.exists(path("namespaces", home))


def test_the_bystander_needs_a_second_human_and_not_the_agents_sponsor(cluster: Cluster, wide: str, bystander: str) -> None:
    home = make_namespace(cluster, "home", {TEAM: wide})
    wait_refused(lambda: delete_namespace(cluster, bystander, home, dry_run=True), "the bystander's deletion")
    request = held(delete_namespace(cluster, bystander, home))
    refused = sign_off(cluster, request, "alice")
    assert not refused.ok, "the sponsor of an agent that could be behind it"
    approve(cluster, request, "bob", "carol")
    wait_allowed(lambda: delete_namespace(cluster, bystander, home), "what was signed for")
    wait_gone(cluster.api, path("namespaces", home))  # by the namespace controller, which is nobody's disguise


def test_accounts_and_what_lies_in_the_namespace(cluster: Cluster, wide: str) -> None:
    home = make_namespace(cluster, "home", {TEAM: wide})
    deployer = cluster.new_service_account(unique("deployer"), "cluster-admin", namespace="default")
    wait_level(cluster, home, "Everyone")
    url = path("persistentvolumeclaims", "data", namespace=home)
    cluster.api.create(path("persistentvolumeclaims", namespace=home), claim("data"))
    api = cluster.api_as(deployer)
    wait_refused(lambda: api.request("DELETE", url, params={"dryRun": "All"}), "an account's deletion of a claim")
    held(api.request("DELETE", url))


def test_going_back_to_report_waits_for_signatures(cluster: Cluster, wide: str, bystander: str) -> None:
    url = path("protectedenvironments", wide)
    rogue, name = cluster.api_as("rogue"), username(cluster, bystander)
    body = {"spec": {"whenAgentsCanImpersonate": "Report"}}
    answer = rogue.request("PATCH", url, body, content_type="application/merge-patch+json", headers=as_(name))
    held(answer)
    held(patch(cluster, bystander, url, body))
    assert cluster.api.get(url)["spec"]["whenAgentsCanImpersonate"] == "Widen"


def not_held(cluster: Cluster) -> set[str]:
    names = {identity["metadata"]["name"] for identity in cluster.api.list(path("agentidentities"))}
    return {name for name in names if condition(cluster, name).get("status") == "False"}


def test_people_are_free_again_once_the_agents_right_is_gone(cluster: Cluster, wide: str, bystander: str) -> None:
    """Nobody is locked out for good: taking a right from an agent needs no signature."""
    home = make_namespace(cluster, "home", {TEAM: wide})
    wait_refused(lambda: delete_namespace(cluster, bystander, home, dry_run=True), "the bystander's deletion")
    bindings = cluster.api.list(path("clusterrolebindings"))
    loose = not_held(cluster)  # agents of other suites, too, could have become the bystander
    assert "rogue" in loose
    given = [each for each in bindings if any(subject.get("name") in loose for subject in each.get("subjects") or [])]
    for each in given:
        cluster.api.delete(path("clusterrolebindings", each["metadata"]["name"]))
    try:
        wait_held(cluster, "rogue", "True")
        until(lambda: not not_held(cluster), "no agent was to be able to become anybody", timeout=30)
        wait_allowed(lambda: delete_namespace(cluster, bystander, home, dry_run=True), "the bystander's deletion")
    finally:
        for each in given:
            metadata = {"name": each["metadata"]["name"], "labels": each["metadata"].get("labels", {})}
            cluster.api.create(path("clusterrolebindings"), {**each, "metadata": metadata})
        wait_held(cluster, "rogue", "False", "CanImpersonate")


def test_what_is_not_known_is_taken_for_everybody(cluster: Cluster, wide: str, bystander: str) -> None:
    """With the operator down a new identity has no status: deny-side, where it was chosen."""
    home = make_namespace(cluster, "home", {TEAM: wide})
    wait_refused(lambda: delete_namespace(cluster, bystander, home, dry_run=True), "the bystander's deletion")
    status = cluster.api.get(path("agentidentities", "rogue")).get("status", {})
    assert status["couldBecome"]["generation"] == cluster.api.get(path("agentidentities", "rogue"))["metadata"]["generation"]
    answer = patch(
        cluster, "admin", f"{path('agentidentities', 'rogue')}/status", {"status": {"couldBecome": {"generation": 1, "users": []}}}
    )
    assert not answer.ok, f"the status of an identity is the operator's alone: {message(answer)}"
