"""Every road by which an agent's identity or a signer could be changed, under each protectFrom; and what was signed for once."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest

from tests.controlplane.api import path
from tests.controlplane.cluster import Cluster
from tests.controlplane.people import public_key, service_account
from tests.e2e import _faults
from tests.e2e._faults import ADMIN, TEAM, Json, allowed, cause, held, kept, make_namespace, message, patch, unique, wait_refused
from tests.e2e._roads import (
    AGENT,
    DEFAULT,
    ENVIRONMENTS,
    HUMAN,
    LEVELS,
    REVIEWERS,
    WHO,
    Scene,
    ask,
    closed_registration,
    deployer,
    expected,
    staged,
    verdict,
)

IDENTITIES = path("agentidentities")


@pytest.fixture(scope="module")
def machine(cluster: Cluster) -> str:
    return deployer(cluster)


@pytest.fixture(scope="module", autouse=True)
def closed(cluster: Cluster) -> Iterator[None]:
    with closed_registration(cluster):
        yield


@pytest.fixture(scope="module", params=LEVELS)
def scene(request: pytest.FixtureRequest, cluster: Cluster, machine: str) -> Iterator[Scene]:
    with staged(cluster, request.param, machine) as found:
        yield found


# ── identities ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

EXACT, GLOB = service_account("agents", "roads"), {"kind": "User", "name": "arn:aws:sts::1:assumed-role/roads/*"}
SPONSORS = ["alice", "dave"]


LESS: dict[str, Json] = {
    "a subject removed": {"subjects": [EXACT]},
    "its own group demanded": {"subjects": [{**EXACT, "groups": ["more"]}, GLOB]},
    "an extra value demanded": {"subjects": [{**EXACT, "extra": {"k": ["v"]}}, GLOB]},
    "a glob narrowed": {"subjects": [EXACT, {**GLOB, "name": "arn:aws:sts::1:assumed-role/roads/one-*"}]},
    "a glob made one name": {"subjects": [EXACT, {**GLOB, "name": "arn:aws:sts::1:assumed-role/roads/x"}]},
    "another kind": {"subjects": [{"kind": "Group", "name": "system:serviceaccounts:agents"}, GLOB]},
    "another account": {"subjects": [service_account("agents", "roads2"), GLOB]},
    "another namespace": {"subjects": [service_account("agents2", "roads"), GLOB]},
    "a sponsor removed": {"sponsors": ["alice"]},
    "another sponsor": {"sponsors": ["alice", "erin"]},
    "one sponsor more": {"sponsors": [*SPONSORS, "bob"]},
    "sponsors from usernames": {"sponsorFrom": "Username"},
}


MORE: dict[str, Json] = {
    "a subject added": {"subjects": [EXACT, GLOB, service_account("agents", "roads2")]},
    "another order": {"subjects": [GLOB, EXACT], "sponsors": list(reversed(SPONSORS))},
    "the whole namespace": {"subjects": [service_account("agents", "*"), GLOB]},
    "a glob widened": {"subjects": [EXACT, {**GLOB, "name": "arn:aws:sts::1:assumed-role/road*"}]},
}


@pytest.fixture(scope="module")
def agent(cluster: Cluster, scene: Scene) -> str:
    name = unique("roads")
    body = cluster.identity(name, [EXACT, GLOB], sponsors=tuple(SPONSORS))
    cluster.api.create(IDENTITIES, body)
    return f"{IDENTITIES}/{name}"


def strictest(cluster: Cluster) -> str:
    """Of all environments, other suites' too: it governs what belongs to no single one."""
    levels: list[str] = [each["spec"]["protectFrom"] for each in cluster.api.list(ENVIRONMENTS)]
    return max(levels, key=LEVELS.index)


@pytest.mark.parametrize("what", LESS)
def test_an_identity_narrowed(cluster: Cluster, scene: Scene, agent: str, what: str) -> None:
    level = strictest(cluster)
    for who in WHO:
        answer = ask(cluster, scene.user(who), "PATCH", agent, {"spec": LESS[what]})
        assert verdict(answer) == expected(level, who, weaker=True), f"{who}: {answer.status} {message(answer)}"


@pytest.mark.parametrize("what", MORE)
def test_an_identity_widened_passes(cluster: Cluster, scene: Scene, agent: str, what: str) -> None:
    for who in WHO:
        answer = ask(cluster, scene.user(who), "PATCH", agent, {"spec": MORE[what]})
        assert verdict(answer) == expected(scene.level, who, weaker=False), f"{who}: {answer.status} {message(answer)}"


def test_an_identity_deleted(cluster: Cluster, scene: Scene, agent: str) -> None:
    level = strictest(cluster)
    for url, params in ((agent, {}), (IDENTITIES, {"fieldSelector": f"metadata.name={agent.rpartition('/')[2]}"})):
        for who in WHO:
            answer = ask(cluster, scene.user(who), "DELETE", url, None, "application/json", **params)
            assert verdict(answer) == expected(level, who, weaker=True), f"{who}: {answer.status} {message(answer)}"


# ── who may sign ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def key_line(cluster: Cluster, word: str) -> str:
    return public_key(cluster.new_key(unique(word)))


@pytest.fixture(scope="module")
def reviewer(cluster: Cluster) -> str:
    name = unique("registered")
    body = cluster.reviewer(name, [f"{name}@example.com", f"oidc:{name}"], {"main": cluster.new_key(name)}, teams=("sre",))
    body["spec"]["keys"].append({"name": "short", "publicKey": key_line(cluster, "short"), "notAfter": "2030-01-01T00:00:00Z"})
    cluster.api.create(REVIEWERS, body)
    return f"{REVIEWERS}/{name}"


class TestReviewers:
    """Registration is closed: whoever asks, under whichever level, but `default.spec.except`."""

    def changes(self, cluster: Cluster, spec: Json) -> dict[str, Json]:
        main, short = spec["keys"]
        other = cluster.api.get(path("reviewers", "bob"))["spec"]
        return {
            "a username": {"usernames": [*spec["usernames"], f"{unique('alias')}@example.com"]},
            "a key": {"keys": [main, short, {"name": "more", "publicKey": key_line(cluster, "more")}]},
            "another key under the old name": {"keys": [{**main, "publicKey": key_line(cluster, "swapped")}, short]},
            "a longer life": {"keys": [main, {**short, "notAfter": "2031-01-01T00:00:00Z"}]},
            "life without end": {"keys": [main, {"name": "short", "publicKey": short["publicKey"]}]},
            "a team": {"teams": ["sre", "payments"]},
            "another team": {"teams": ["payments"]},
            "another's key": {"keys": [main, short, {"name": "bobs", "publicKey": other["keys"][0]["publicKey"]}]},
        }

    @pytest.mark.parametrize(
        "what", ["a username", "a key", "another key under the old name", "a longer life", "life without end", "a team", "another team"]
    )
    def test_added(self, cluster: Cluster, machine: str, reviewer: str, what: str) -> None:
        change = self.changes(cluster, cluster.api.get(reviewer)["spec"])[what]
        for user, outcome in ((AGENT, "never"), (HUMAN, "held"), (machine, "held")):
            answer = ask(cluster, user, "PATCH", reviewer, {"spec": change})
            assert verdict(answer) == outcome, f"{user}: {answer.status} {message(answer)}"

    def test_another_persons_key_or_name_is_nobody_elses(self, cluster: Cluster, reviewer: str) -> None:
        spec = cluster.api.get(reviewer)["spec"]
        for change in (self.changes(cluster, spec)["another's key"], {"usernames": [*spec["usernames"], "bob@example.com"]}):
            answer = ask(cluster, HUMAN, "PATCH", reviewer, {"spec": change})
            assert "belongs to the Reviewer bob already" in message(answer), f"{answer.status} {message(answer)}"

    def test_a_key_that_moves_from_one_person_to_another_is_registered_anew(self, cluster: Cluster, machine: str, reviewer: str) -> None:
        """Taking it from the first is free; the second gets it as any new key."""
        name = unique("giver")
        body = cluster.reviewer(name, [f"{name}@example.com"], {"main": cluster.new_key(name)})
        giver = f"{REVIEWERS}/{name}"
        cluster.api.create(REVIEWERS, body)
        allowed(patch(cluster, HUMAN, giver, {"spec": {"keys": []}}))
        spec = cluster.api.get(reviewer)["spec"]
        for user in (HUMAN, machine):
            assert (
                verdict(
                    ask(cluster, user, "PATCH", reviewer, {"spec": {"keys": [*spec["keys"], {**body["spec"]["keys"][0], "name": "x"}]}})
                )
                == "held"
            )
            assert verdict(ask(cluster, user, "PATCH", giver, {"spec": body["spec"]})) == "held", "not back either"
        allowed(cluster.api_as(HUMAN).request("DELETE", giver))
        assert verdict(ask(cluster, HUMAN, "POST", REVIEWERS, body, "application/json")) == "held", "nor as a new person of the old name"

    @pytest.mark.parametrize("what", ["a key less", "no team", "another name for a key", "a comment", "a shorter life", "nothing"])
    def test_taken_away_or_only_renamed(self, cluster: Cluster, machine: str, reviewer: str, what: str) -> None:
        main, short = cluster.api.get(reviewer)["spec"]["keys"]
        change: Json = {
            "a key less": {"keys": [main]},
            "no team": {"teams": []},
            "another name for a key": {"keys": [{**main, "name": "renamed"}, short]},
            "a comment": {"keys": [{**main, "publicKey": " ".join(main["publicKey"].split()[:2]) + " another comment"}, short]},
            "a shorter life": {"keys": [main, {**short, "notAfter": "2029-01-01T00:00:00Z"}]},
            "nothing": {},
        }[what]
        for user, outcome in ((AGENT, "never"), (HUMAN, "passed"), (machine, "passed")):
            answer = ask(cluster, user, "PATCH", reviewer, {"spec": change, "metadata": {"annotations": {"a": "b"}}})
            assert verdict(answer) == outcome, f"{user}: {answer.status} {message(answer)}"

    @pytest.mark.usefixtures("people_team")
    def test_nobody_excepts_himself_and_registers_then(self, cluster: Cluster) -> None:
        """Under `Agents` a human changes `default` freely; not this, while another environment protects from people."""
        before = cluster.api.get(DEFAULT)
        more = [*before["spec"].get("except", []), {"kind": "User", "name": "alice@example.com"}]
        answer = ask(cluster, HUMAN, "PATCH", DEFAULT, {"spec": {"except": more}})
        assert verdict(answer) == "held", f"{answer.status} {message(answer)}"
        allowed(ask(cluster, HUMAN, "PATCH", DEFAULT, {"spec": {"ownWork": "1h"}}))

    def test_an_agent_never_deletes_a_reviewer(self, cluster: Cluster, reviewer: str) -> None:
        for url, params in ((reviewer, {}), (REVIEWERS, {"fieldSelector": f"metadata.name={reviewer.rpartition('/')[2]}"})):
            assert verdict(ask(cluster, AGENT, "DELETE", url, None, "application/json", **params)) == "never"


# ── what was signed for once ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def people_team(cluster: Cluster) -> Iterator[str]:
    team = unique("signed")
    body = _faults.environment(team, team, "People", **{"except": [ADMIN]})
    with kept(cluster.api, ENVIRONMENTS, body):
        probe = make_namespace(cluster, "probe", {TEAM: team})
        wait_refused(
            lambda: patch(cluster, HUMAN, path("namespaces", probe), {"metadata": {"labels": {TEAM: None}}}, dry_run=True),
            "a human's relabelling under People",
        )
        yield team


def test_a_relabelling_that_was_undone_is_done_again_only_until_somebody_rejects(cluster: Cluster, people_team: str) -> None:
    """Namespaces have no generation, so the same label is the same act: within its window, and no longer than nobody objects."""
    name = make_namespace(cluster, "undone", {TEAM: people_team})
    out = partial(patch, cluster, "kiro", path("namespaces", name), {"metadata": {"labels": {TEAM: None}}})
    request = held(out())
    _faults.approve(cluster, request, "bob")
    allowed(out())
    cluster.api.patch(path("namespaces", name), {"metadata": {"labels": {TEAM: people_team}}})
    _faults.reject(cluster, request, "carol")
    assert cause(out(), "outcome") == "Rejected"
    assert cluster.api.get(path("namespaces", name))["metadata"]["labels"][TEAM] == people_team
