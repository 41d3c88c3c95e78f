"""Asking for one change as each kind of requester, by a dry run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from tests.controlplane.api import Answer, path
from tests.controlplane.cluster import Cluster
from tests.controlplane.people import service_account
from tests.e2e import _faults
from tests.e2e._faults import ADMIN, TEAM, Json, allowed, cause, make_namespace, manifest, message, patch, unique, wait_refused
from tests.support.authenticator import SoftwareAuthenticator

ENVIRONMENTS = path("protectedenvironments")
REVIEWERS = path("reviewers")
DEFAULT = path("protectedenvironments", "default")
MERGE, APPLY, JSON = "application/merge-patch+json", "application/apply-patch+yaml", "application/json-patch+json"
LEVELS = ("Agents", "People", "Everyone")
AGENT, HUMAN, MACHINE = "rogue", "alice", "machine"
HELD_FROM = {"Agents": (AGENT,), "People": (AGENT, HUMAN), "Everyone": (AGENT, HUMAN, MACHINE)}
WHO = (AGENT, HUMAN, MACHINE)


def ask(cluster: Cluster, user: str, method: str, url: str, body: Any = None, kind: str = MERGE, **params: str) -> Answer:
    """A dry run of one request."""
    sent = {"fieldManager": "kubectl", "force": "true"} if kind == APPLY else {}
    return cluster.api_as(user).request(method, url, body, {"dryRun": "All", **sent, **params}, kind)


def verdict(answer: Answer) -> str:
    """passed; held: people could sign for it; never: nobody could."""
    if answer.ok:
        return "passed"
    text = message(answer)
    if cause(answer, "outcome") == "DryRun":
        return "held"
    assert "countersign" in text.lower() or "Agents never" in text, f"refused by somebody else: {answer.status} {text}"
    return "never"


def expected(level: str, who: str, *, weaker: bool) -> str:
    """Agents never write settings at all."""
    if who == AGENT:
        return "never"
    return "held" if weaker and who in HELD_FROM[level] else "passed"


GONE = {"group": "example.com", "resource": "widgets"}
STAYS = {"group": "example.com", "resource": "gadgets"}
DEPLOYER = service_account("ci", "only")


@dataclass(frozen=True)
class Scene:
    level: str
    team: str
    environment: str
    machine: str

    def user(self, who: str) -> str:
        return self.machine if who == MACHINE else who


@contextmanager
def applied(cluster: Cluster, url: str, body: Json) -> Iterator[None]:
    """An object whose fields all belong to the manager `gitops` of server-side apply, for a while."""
    allowed(cluster.api.request("PATCH", url, body, {"fieldManager": "gitops", "force": "true"}, APPLY))
    try:
        yield
    finally:
        cluster.api.delete(url)


def deployer(cluster: Cluster) -> str:
    """A ServiceAccount with all rights that is no agent: CI, a GitOps controller."""
    return cluster.new_service_account(unique("deployer"), "cluster-admin", namespace="ci")


@contextmanager
def closed_registration(cluster: Cluster) -> Iterator[None]:
    """Registration is closed, as it is for good once an installation is at work; the suite's admin registers its people."""
    cluster.api.patch(DEFAULT, {"spec": {"registration": "Closed"}})
    before = cluster.api.get(DEFAULT)["spec"].get("except", [])
    with _faults.patched(cluster.api, DEFAULT, {"except": [*before, ADMIN]}):
        yield


@contextmanager
def staged(cluster: Cluster, level: str, machine: str) -> Iterator[Scene]:
    """One environment in which everything can be weakened, and two people who could sign in it."""
    team = unique("roads")
    spec = {
        "namespaces": {"selector": {"matchLabels": {TEAM: team}}, "exclude": ["scratch"]},
        "protectFrom": level,
        "except": [ADMIN, DEPLOYER],
        "ownWork": "1h",
        "approvals": {"required": 2, "teams": [team], "hardwareKeysOnly": True, "useWithin": "30m"},
        "resources": [STAYS, GONE],
    }
    for index in (1, 2):
        name = f"{team}-{index}"
        person = cluster.reviewer(name, [f"{name}@example.com"], {}, teams=(team,))
        person["spec"]["keys"] = [{"name": "yubikey", "publicKey": SoftwareAuthenticator("ed25519").public_key.strip()}]
        cluster.api.create(REVIEWERS, person)
    body: Json = manifest("ProtectedEnvironment", team, api=f"{_faults.OURS}/v1alpha1", spec=spec)
    url = f"{ENVIRONMENTS}/{team}"
    with applied(cluster, url, body):
        found = Scene(level, team, url, machine)
        probe = make_namespace(cluster, "probe", {TEAM: team})
        for who in HELD_FROM[level]:
            out = partial(patch, cluster, found.user(who), path("namespaces", probe), {"metadata": {"labels": {TEAM: None}}}, dry_run=True)
            wait_refused(out, f"{who}'s relabelling under {level}")
        yield found
