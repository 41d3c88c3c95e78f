"""Taking protection away is itself a guarded change (invariant 10); what would lock everybody out is refused; registration is a latch."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.controlplane.api import Answer, path
from tests.controlplane.cluster import Cluster
from tests.controlplane.people import public_key, service_account
from tests.e2e import _faults
from tests.e2e._faults import (
    ADMIN,
    PROTECTED,
    TEAM,
    Json,
    allowed,
    approve,
    delete,
    delete_namespace,
    environment,
    held,
    kept,
    make_namespace,
    message,
    patch,
    unique,
    until,
    wait_refused,
)

ENVIRONMENTS = path("protectedenvironments")
IDENTITIES = path("agentidentities")
REVIEWERS = path("reviewers")
DEFAULT = path("protectedenvironments", "default")
NEVER = "never create, change or delete"


def spec_of(cluster: Cluster, request: str) -> Json:
    spec: Json = cluster.api.get(path("changerequests", request))["spec"]
    return spec


def refused_at_creation(cluster: Cluster, collection: str, body: Json) -> str:
    answer = cluster.api.request("POST", collection, body, {"dryRun": "All"})
    assert not answer.ok, f"accepted: {body}"
    assert answer.status in (403, 422), f"{answer.status} {message(answer)}"
    return message(answer)


def identity_of(cluster: Cluster, name: str, *, sponsors: tuple[str, ...] = ("alice",)) -> Json:
    return cluster.identity(name, [service_account("agents", name)], sponsors=sponsors)


# --- the latch --------------------------------------------------------------------------------


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
