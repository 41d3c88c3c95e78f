"""What would lock everybody out, or make one person two, is refused at creation with a sentence."""

from __future__ import annotations

import pytest

from tests.controlplane.cluster import Cluster
from tests.controlplane.people import public_key, service_account
from tests.e2e._faults import (
    PROTECTED,
    Json,
    allowed,
    environment,
    unique,
)
from tests.e2e._unprotecting import ENVIRONMENTS, IDENTITIES, REVIEWERS, identity_of, refused_at_creation

# --- what is refused at creation --------------------------------------------------------------


LOCK_OUTS: dict[str, tuple[Json, str]] = {
    "everybody": ({"kind": "Group", "name": "system:authenticated"}, "cluster's own identities"),
    "administrators": ({"kind": "Group", "name": "system:masters"}, "cluster's own identities"),
    "all accounts": ({"kind": "Group", "name": "system:serviceaccounts"}, "cluster's own identities"),
    "the controllers": ({"kind": "Group", "name": "system:serviceaccounts:kube-system"}, "cluster's own identities"),
    "a controller": ({"kind": "ServiceAccount", "namespace": "kube-system", "name": "namespace-controller"}, "cluster's own identities"),
    "any user": ({"kind": "User", "name": "*"}, "cluster's own identities"),
    "a system user": ({"kind": "User", "name": "system:kube-controller-manager"}, "cluster's own identities"),
    "a reviewer": ({"kind": "User", "name": "bob@example.com"}, "also the Reviewer bob"),
    "a reviewer by glob": ({"kind": "User", "name": "b*@example.com"}, "also the Reviewer bob"),
    "our webhook": ({"kind": "ServiceAccount", "namespace": "countersign", "name": "countersign-webhook"}, "Countersign's own account"),
    "our operator": ({"kind": "ServiceAccount", "namespace": "countersign", "name": "*"}, "Countersign's own account"),
    "our namespace": ({"kind": "Group", "name": "system:serviceaccounts:countersign"}, "Countersign's own account"),
}


@pytest.mark.parametrize("who", LOCK_OUTS)
def test_an_identity_that_would_lock_somebody_out(cluster: Cluster, who: str) -> None:
    subject, why = LOCK_OUTS[who]
    body = cluster.identity(unique("locks-out"), [subject])
    assert why in refused_at_creation(cluster, IDENTITIES, body)


def test_an_identity_without_a_sponsor(cluster: Cluster) -> None:
    nobody: tuple[list[str] | None, ...] = ([], None)
    for sponsors in nobody:
        body = cluster.identity(unique("nobodys"), [service_account("agents", "nobodys")])
        body["spec"]["sponsors"] = sponsors
        assert "sponsor" in refused_at_creation(cluster, IDENTITIES, body)


def test_a_whole_namespace_of_accounts_may_be_agents(cluster: Cluster) -> None:
    for subject in ({"kind": "Group", "name": "system:serviceaccounts:ai-sandbox"}, service_account("ai-sandbox", "*")):
        body = cluster.identity(unique("sandbox"), [subject])
        cluster.api.create(IDENTITIES, body, dryRun="All")


def test_a_reviewers_key_that_is_anothers(cluster: Cluster) -> None:
    name = unique("twin")
    body = cluster.reviewer(name, [f"{name}@example.com"], {"main": cluster.paths.ssh / "bob"})
    assert "belongs to the Reviewer bob already" in refused_at_creation(cluster, REVIEWERS, body)


def test_a_reviewer_with_one_key_twice(cluster: Cluster) -> None:
    name = unique("twice")
    key = cluster.new_key(name)
    body = cluster.reviewer(name, [f"{name}@example.com"], {"one": key, "two": key})
    assert "are the same" in refused_at_creation(cluster, REVIEWERS, body)


def test_a_username_of_two_people(cluster: Cluster) -> None:
    name = unique("impostor")
    body = cluster.reviewer(name, ["bob@example.com"], {})
    assert "belongs to the Reviewer bob already" in refused_at_creation(cluster, REVIEWERS, body)


def test_a_username_that_is_an_agents_or_a_machines(cluster: Cluster) -> None:
    for username in ("system:serviceaccount:agents:kiro", "system:serviceaccount:ci:deployer", "system:admin"):
        assert "not a person's" in refused_at_creation(cluster, REVIEWERS, cluster.reviewer(unique("robot"), [username], {}))


@pytest.mark.parametrize("what", ["rsa-1024", "rsa-2048", "dsa", "garbage", "certificate", "private"])
def test_a_key_that_is_weak_or_none(cluster: Cluster, what: str) -> None:
    name = unique("weak")
    body = cluster.reviewer(name, [f"{name}@example.com"], {})
    body["spec"]["keys"] = [{"name": "main", "publicKey": poor_key(cluster, what)}]
    text = refused_at_creation(cluster, REVIEWERS, body)
    assert "key" in text.lower(), text


def poor_key(cluster: Cluster, what: str) -> str:
    match what:
        case "rsa-1024" | "rsa-2048":
            return public_key(cluster.new_key(unique(what), "rsa", int(what.removeprefix("rsa-"))))
        case "dsa":
            return "ssh-dss AAAAB3NzaC1kc3MAAAABAQ=="
        case "certificate":
            return public_key(cluster.new_key(unique("plain"))).replace("ssh-ed25519", "ssh-ed25519-cert-v01@openssh.com")
        case "private":
            return "-----BEGIN OPENSSH PRIVATE KEY-----"
        case _:
            return "ssh-ed25519 AAAAgarbage"


def test_an_environment_that_selects_by_our_own_label_or_lists_what_is_guarded_anyway(cluster: Cluster) -> None:
    body = environment(unique("odd"), "x", "Agents")
    body["spec"]["namespaces"]["selector"] = {"matchLabels": {PROTECTED: "Agents"}}
    assert "a label that Countersign writes itself" in refused_at_creation(cluster, ENVIRONMENTS, body)
    body = environment(unique("odd"), "x", "Agents", resources=[{"group": "", "resource": "persistentvolumes"}])
    assert "is guarded already" in refused_at_creation(cluster, ENVIRONMENTS, body)


def test_a_sponsor_who_is_nobody_yet_is_accepted_with_a_warning(cluster: Cluster) -> None:
    name = unique("early")
    body = identity_of(cluster, name, sponsors=("nobody-yet",))
    answer = cluster.api.request("POST", IDENTITIES, body)
    allowed(answer)
    try:
        assert any("not a registered Reviewer" in warning for warning in answer.warnings), answer.warnings
    finally:
        cluster.api.request("DELETE", f"{IDENTITIES}/{name}")
