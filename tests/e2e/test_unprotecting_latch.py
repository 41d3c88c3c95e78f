"""Registering people is free until the first change request is approved, and never again: registration is a latch."""

from __future__ import annotations

import pytest

from tests.controlplane.api import Answer, path
from tests.controlplane.cluster import Cluster
from tests.controlplane.people import public_key, service_account
from tests.e2e import _faults
from tests.e2e._faults import (
    Json,
    allowed,
    approve,
    delete,
    delete_namespace,
    environment,
    held,
    make_namespace,
    message,
    patch,
    unique,
    until,
)
from tests.e2e._unprotecting import ENVIRONMENTS, IDENTITIES, NEVER, REVIEWERS, identity_of, refused_at_creation, spec_of

DEFAULT = path("protectedenvironments", "default")


@pytest.fixture(scope="module", autouse=True)
def begun_anew(cluster: Cluster) -> None:
    """Countersign installed as if for the first time: the people are registered, nothing was ever asked or approved.

    Only with every guard gone, which uninstalling is, can an admin remove the records that keep registration closed, and the
    environments that other suites have left behind.
    """
    try:
        _faults.uninstall(cluster)
        for kind in ("approvals", "changerequests", "protectedenvironments"):
            cluster.api.delete(path(kind))
    finally:
        _faults.reinstall(cluster)


def newcomer(cluster: Cluster) -> Json:
    name = unique("newcomer")
    return cluster.reviewer(name, [f"{name}@example.com"], {"main": cluster.new_key(name)})


def register(cluster: Cluster, body: Json, user: str = "admin") -> Answer:
    return cluster.api_as(user).request("POST", REVIEWERS, body)


def condition(obj: Json, kind: str) -> Json:
    found: Json = next((each for each in obj.get("status", {}).get("conditions", []) if each["type"] == kind), {})
    return found


class TestTheLatch:
    """In the order of an installation's life."""

    late: Json

    def test_1_registration_is_open_at_first(self, cluster: Cluster) -> None:
        assert cluster.api.get(DEFAULT)["spec"].get("registration") != "Closed"
        body = newcomer(cluster)
        allowed(register(cluster, body))
        url = f"{REVIEWERS}/{body['metadata']['name']}"
        type(self).late = body
        body["spec"]["teams"] = ["early"]
        allowed(patch(cluster, "alice", url, {"spec": body["spec"]}))

    def test_2_never_to_an_agent(self, cluster: Cluster) -> None:
        answer = register(cluster, newcomer(cluster), "rogue")
        assert not answer.ok
        assert NEVER in message(answer)

    def test_3_more_signatures_than_people_may_become_right_later(self, cluster: Cluster) -> None:
        team = unique("ambitious")
        body = environment(team, team, "Agents", approvals={"required": 1, "teams": [team]})
        answer = cluster.api.request("POST", ENVIRONMENTS, body)
        allowed(answer)
        assert any("register more Reviewers or require fewer" in warning for warning in answer.warnings), answer.warnings
        url = f"{ENVIRONMENTS}/{team}"
        try:
            until(
                lambda: condition(cluster.api.get(url), "Satisfiable").get("status") == "False",
                "the environment was to be shown as Satisfiable=False",
                explain=lambda: str(cluster.api.get(url).get("status")),
            )
            person = path("reviewers", self.late["metadata"]["name"])
            allowed(patch(cluster, "admin", person, {"spec": {"teams": ["early", team]}}))
            until(
                lambda: condition(cluster.api.get(url), "Satisfiable").get("status") == "True",
                "the environment was to be shown as Satisfiable=True",
                explain=lambda: str(cluster.api.get(url).get("status")),
            )
        finally:
            cluster.api.delete(url)

    def test_4_the_first_approved_change_closes_it_for_good(self, cluster: Cluster) -> None:
        name = make_namespace(cluster, "first")
        request = held(delete_namespace(cluster, "kiro", name))
        allowed(register(cluster, newcomer(cluster)))
        approve(cluster, request)
        self.held_now(cluster)
        until(lambda: cluster.api.get(DEFAULT)["spec"].get("registration") == "Closed", "the operator was to close registration for good")
        allowed(delete_namespace(cluster, "kiro", name))
        self.held_now(cluster)

    def held_now(self, cluster: Cluster) -> None:
        for user in ("admin", "alice"):
            request = held(register(cluster, newcomer(cluster), user))
            assert spec_of(cluster, request)["operation"] == "CREATE"

    def test_5_nobody_opens_it_again(self, cluster: Cluster) -> None:
        for value in ("Open", None):
            answer = patch(cluster, "admin", DEFAULT, {"spec": {"registration": value}})
            assert not answer.ok, f"registration was set to {value}"
        assert cluster.api.get(DEFAULT)["spec"]["registration"] == "Closed"

    def test_6_a_username_a_key_or_a_team_is_a_registration_too(self, cluster: Cluster) -> None:
        url = f"{REVIEWERS}/{self.late['metadata']['name']}"
        before = cluster.api.get(url)["spec"]
        more = {"name": "more", "publicKey": public_key(cluster.new_key(unique("more")))}
        for change in (
            {"usernames": [*before["usernames"], f"{unique('alias')}@example.com"]},
            {"keys": [*before["keys"], more]},
            {"teams": [*before.get("teams", []), "another"]},
        ):
            held(patch(cluster, "admin", url, {"spec": change}))
        assert cluster.api.get(url)["spec"] == before

    def test_7_it_passes_once_it_is_signed(self, cluster: Cluster) -> None:
        body = newcomer(cluster)
        request = held(register(cluster, body, "alice"))
        approve(cluster, request)
        allowed(register(cluster, body, "alice"))

    def test_8_removing_a_key_is_free_and_opens_nothing(self, cluster: Cluster) -> None:
        url = f"{REVIEWERS}/{self.late['metadata']['name']}"
        allowed(patch(cluster, "alice", url, {"spec": {"keys": []}}))
        held(patch(cluster, "alice", url, {"spec": {"keys": self.late["spec"]["keys"]}}))
        allowed(delete(cluster, "alice", url))
        self.held_now(cluster)

    def test_9_more_signatures_than_eligible_people_are_refused_now(self, cluster: Cluster) -> None:
        text = refused_at_creation(cluster, ENVIRONMENTS, environment(unique("greedy"), "x", "Agents", approvals={"required": 20}))
        assert "register more Reviewers or require fewer" in text
        team = unique("empty")
        body = environment(team, team, "Agents", approvals={"required": 1, "teams": [team]})
        assert "register more Reviewers or require fewer" in refused_at_creation(cluster, ENVIRONMENTS, body)

    def test_deleting_default_and_writing_it_anew_opens_nothing(self, cluster: Cluster) -> None:
        """Both are free to a human under Agents; registration stays closed all the same."""
        before = cluster.api.get(DEFAULT)
        metadata = {key: before["metadata"].get(key, {}) for key in ("name", "labels", "annotations")}
        body = {**{key: before[key] for key in ("apiVersion", "kind", "spec")}, "metadata": metadata}
        opening = {**body, "spec": {**body["spec"], "registration": "Open"}}
        silent = {**body, "spec": {key: value for key, value in body["spec"].items() if key != "registration"}}
        allowed(delete(cluster, "alice", DEFAULT))
        try:
            answer = register(cluster, newcomer(cluster), "alice")
            assert not answer.ok
            assert "helm upgrade --set default.registration=Closed" in message(answer)
            for attempt in (opening, silent):
                answer = cluster.api_as("alice").request("POST", ENVIRONMENTS, attempt)
                assert not answer.ok
                assert "write it with spec.registration: Closed" in message(answer)
        finally:
            cluster.api.create(ENVIRONMENTS, body)
        self.held_now(cluster)

    def test_who_default_excepts_registers_on(self, cluster: Cluster) -> None:
        """A GitOps account, as the platform team names it."""
        account = cluster.new_service_account("gitops", "cluster-admin", namespace="flux-system")
        before = cluster.api.get(DEFAULT)["spec"].get("except", [])
        with _faults.patched(cluster.api, DEFAULT, {"except": [*before, service_account("flux-system", "gitops")]}):
            allowed(register(cluster, newcomer(cluster), account))
        held(register(cluster, newcomer(cluster), account))


def test_a_human_removes_an_agents_identity_freely_under_agents_alone(cluster: Cluster) -> None:
    name = unique("gone")
    cluster.api.create(IDENTITIES, identity_of(cluster, name))
    allowed(patch(cluster, "alice", f"{IDENTITIES}/{name}", {"spec": {"sponsors": ["bob"]}}))
    allowed(delete(cluster, "alice", f"{IDENTITIES}/{name}"))
