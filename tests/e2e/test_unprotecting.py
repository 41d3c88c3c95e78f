"""Taking protection away is itself a guarded change (invariant 10)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.controlplane.api import Answer, path
from tests.controlplane.cluster import Cluster
from tests.e2e import _faults
from tests.e2e._faults import (
    ADMIN,
    TEAM,
    Json,
    allowed,
    approve,
    delete,
    environment,
    held,
    kept,
    make_namespace,
    message,
    patch,
    unique,
    wait_refused,
)
from tests.e2e._unprotecting import ENVIRONMENTS, IDENTITIES, NEVER, identity_of, spec_of

# --- the label that takes a namespace out -----------------------------------------------------


@pytest.fixture(scope="module")
def agents_team(cluster: Cluster) -> Iterator[str]:
    """An environment that protects from agents only, with rules of its own."""
    team = unique("agents-only")
    body = environment(team, team, "Agents", approvals={"required": 2, "useWithin": "30m"})
    with kept(cluster.api, ENVIRONMENTS, body):
        probe = make_namespace(cluster, "probe", {TEAM: team})
        wait_refused(lambda: relabel(cluster, "kiro", probe, None, dry_run=True), "an agent's relabelling")
        yield team


@pytest.fixture(scope="module")
def people_team(cluster: Cluster) -> Iterator[str]:
    """An environment that protects from people too; the suite's admin is excepted."""
    team = unique("people-too")
    with kept(cluster.api, ENVIRONMENTS, environment(team, team, "People", **{"except": [ADMIN]})):
        probe = make_namespace(cluster, "probe", {TEAM: team})
        wait_refused(lambda: relabel(cluster, "alice", probe, None, dry_run=True), "a human's relabelling under People")
        yield team


def relabel(cluster: Cluster, user: str, namespace: str, team: str | None, *, dry_run: bool = False) -> Answer:
    return patch(cluster, user, path("namespaces", namespace), {"metadata": {"labels": {TEAM: team}}}, dry_run=dry_run)


def test_an_agent_does_not_take_a_namespace_out_of_its_environment(cluster: Cluster, agents_team: str) -> None:
    name = make_namespace(cluster, "labelled", {TEAM: agents_team})
    for team in (None, "another"):
        request = held(relabel(cluster, "kiro", name, team))
        spec = spec_of(cluster, request)
        assert (spec["operation"], spec["target"]["name"], spec["environments"], spec["required"]) == ("UPDATE", name, [agents_team], 2)
        assert any(TEAM in line and agents_team in line for line in spec["change"]["lines"]), spec["change"]["lines"]
    assert cluster.api.get(path("namespaces", name))["metadata"]["labels"][TEAM] == agents_team


def test_an_agent_does_not_do_it_by_a_subresource(cluster: Cluster, agents_team: str) -> None:
    name = make_namespace(cluster, "labelled", {TEAM: agents_team})
    namespace = cluster.api.get(path("namespaces", name))
    del namespace["metadata"]["labels"][TEAM]
    for subresource in ("status", "finalize"):
        answer = cluster.api_as("rogue").request("PUT", path("namespaces", name, subresource=subresource), namespace)
        kept_ = cluster.api.get(path("namespaces", name))["metadata"]["labels"].get(TEAM)
        assert kept_ == agents_team, f"{subresource}: {answer.status} {message(answer)}"


def test_what_was_signed_for_is_that_label_and_no_other(cluster: Cluster, agents_team: str) -> None:
    name = make_namespace(cluster, "labelled", {TEAM: agents_team})
    request = held(relabel(cluster, "kiro", name, "another"))
    approve(cluster, request, "bob", "carol")
    held(relabel(cluster, "kiro", name, None))
    allowed(relabel(cluster, "kiro", name, "another"))
    assert cluster.api.get(path("namespaces", name))["metadata"]["labels"][TEAM] == "another"


def test_an_agents_other_labels_pass(cluster: Cluster, agents_team: str) -> None:
    name = make_namespace(cluster, "labelled", {TEAM: agents_team})
    allowed(patch(cluster, "kiro", path("namespaces", name), {"metadata": {"labels": {"tier": "prod"}}}))


def test_a_human_does_it_freely_under_agents(cluster: Cluster, agents_team: str) -> None:
    name = make_namespace(cluster, "labelled", {TEAM: agents_team})
    before = _faults.received(cluster)
    allowed(relabel(cluster, "alice", name, None))
    assert _faults.received(cluster) == before


def test_a_human_is_held_under_people_and_passes_once_it_is_signed(cluster: Cluster, people_team: str) -> None:
    name = make_namespace(cluster, "labelled", {TEAM: people_team})
    request = held(relabel(cluster, "alice", name, None))
    approve(cluster, request)
    allowed(relabel(cluster, "alice", name, None))


# --- an environment deleted or weakened -------------------------------------------------------

WEAKER: dict[str, Json] = {
    "signatures": {"approvals": {"required": 1}},
    "window": {"approvals": {"useWithin": "12h"}},
    "mode": {"mode": "Audit"},
    "selector": {"namespaces": {"selector": {"matchLabels": {"tier": "prod"}}}},
    "exclude": {"namespaces": {"exclude": ["precious"]}},
    "except": {"except": [{"kind": "User", "name": "eve@example.com"}]},
    "own work": {"ownWork": "48h"},
}


@pytest.mark.parametrize("what", WEAKER)
def test_an_agent_never_weakens_an_environment(cluster: Cluster, agents_team: str, what: str) -> None:
    answer = patch(cluster, "rogue", f"{ENVIRONMENTS}/{agents_team}", {"spec": WEAKER[what]})
    assert not answer.ok
    assert NEVER in message(answer), message(answer)


def test_an_agent_never_deletes_or_makes_one(cluster: Cluster, agents_team: str) -> None:
    for answer in (
        delete(cluster, "rogue", f"{ENVIRONMENTS}/{agents_team}"),
        delete(cluster, "rogue", ENVIRONMENTS),
        cluster.api_as("rogue").request("POST", ENVIRONMENTS, environment(unique("mine"), "x", "Agents")),
    ):
        assert not answer.ok
        assert NEVER in message(answer), message(answer)


@pytest.mark.parametrize("what", WEAKER)
def test_a_human_weakens_it_freely_under_agents(cluster: Cluster, what: str) -> None:
    team = unique("weak")
    with kept(cluster.api, ENVIRONMENTS, environment(team, team, "Agents", approvals={"required": 2, "useWithin": "30m"})):
        allowed(patch(cluster, "alice", f"{ENVIRONMENTS}/{team}", {"spec": WEAKER[what]}))


@pytest.fixture
def strong(cluster: Cluster) -> Iterator[Callable[[], str]]:
    """Makes environments that protect from people; they are taken down at the end by the admin, who is excepted."""
    made: list[str] = []

    def make() -> str:
        team = unique("strong")
        body = environment(team, team, "People", **{"except": [ADMIN]}, approvals={"required": 2, "useWithin": "30m"})
        cluster.api.create(ENVIRONMENTS, body)
        made.append(team)
        url = f"{ENVIRONMENTS}/{team}"
        wait_refused(lambda: delete(cluster, "alice", url, dry_run=True), "the deletion of an environment under People")
        return team

    yield make
    for team in made:
        cluster.api.request("DELETE", f"{ENVIRONMENTS}/{team}")


@pytest.mark.parametrize("what", WEAKER)
def test_under_people_a_human_is_held(cluster: Cluster, people_team: str, what: str) -> None:
    stronger = {"approvals": {"required": 2, "useWithin": "30m"}}
    allowed(patch(cluster, "admin", f"{ENVIRONMENTS}/{people_team}", {"spec": stronger}))
    request = held(patch(cluster, "alice", f"{ENVIRONMENTS}/{people_team}", {"spec": WEAKER[what]}))
    assert spec_of(cluster, request)["change"]["lines"]


def test_under_people_it_passes_once_it_is_signed_and_is_used_up(cluster: Cluster, strong: Callable[[], str]) -> None:
    team = strong()
    url = f"{ENVIRONMENTS}/{team}"
    weaker = {"spec": {"approvals": {"required": 1}}}
    request = held(patch(cluster, "alice", url, weaker))
    spec = spec_of(cluster, request)
    assert spec["change"]["lines"] == ["spec.approvals.required: 2 -> 1"]
    approve(cluster, request, "bob")
    held(patch(cluster, "alice", url, weaker))
    approve(cluster, request, "carol")
    held(patch(cluster, "alice", url, {"spec": {"mode": "Audit"}}))
    allowed(patch(cluster, "alice", url, weaker))
    assert cluster.api.get(url)["spec"]["approvals"]["required"] == 1
    allowed(patch(cluster, "alice", url, {"spec": {"approvals": {"required": 2}}}))
    again = held(patch(cluster, "alice", url, weaker))
    assert again != request


def test_under_people_the_deletion_passes_once_it_is_signed(cluster: Cluster, strong: Callable[[], str]) -> None:
    url = f"{ENVIRONMENTS}/{strong()}"
    request = held(delete(cluster, "alice", url))
    approve(cluster, request, "bob", "carol")
    allowed(delete(cluster, "alice", url))
    assert not cluster.api.exists(url)


def test_under_people_what_only_adds_passes(cluster: Cluster, strong: Callable[[], str]) -> None:
    url = f"{ENVIRONMENTS}/{strong()}"
    allowed(patch(cluster, "alice", url, {"spec": {"approvals": {"required": 3, "useWithin": "10m"}}}))
    allowed(patch(cluster, "alice", url, {"metadata": {"annotations": {"note": "seen"}}}))


# --- an agent's identity ----------------------------------------------------------------------


def test_an_agent_never_touches_identities(cluster: Cluster) -> None:
    kiro = path("agentidentities", "kiro")
    for answer in (
        delete(cluster, "rogue", kiro),
        delete(cluster, "rogue", IDENTITIES),
        patch(cluster, "rogue", kiro, {"spec": {"sponsors": ["bob"]}}),
        cluster.api_as("rogue").request("POST", IDENTITIES, identity_of(cluster, unique("mine"), sponsors=("carol",))),
    ):
        assert not answer.ok
        assert NEVER in message(answer), message(answer)
    assert cluster.api.get(kiro)["spec"]["sponsors"] == ["alice"]


def test_under_people_a_human_is_held_and_passes_once_it_is_signed(cluster: Cluster, people_team: str) -> None:
    name = unique("guarded")
    cluster.api.create(IDENTITIES, identity_of(cluster, name))
    url = f"{IDENTITIES}/{name}"
    held(patch(cluster, "alice", url, {"spec": {"sponsors": ["bob"]}}))
    request = held(delete(cluster, "alice", url))
    required = spec_of(cluster, request)["required"]
    approve(cluster, request, *("bob", "carol")[:required])
    allowed(delete(cluster, "alice", url))
    assert not cluster.api.exists(url)
