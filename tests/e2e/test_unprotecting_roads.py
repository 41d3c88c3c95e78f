"""Every road by which protection could be taken away (invariant 10), asked by everybody, under each `protectFrom`; and what must pass.

The tables are asked as dry runs, which go the same way through the API server and write no change request.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

from tests.controlplane.api import Answer, path
from tests.controlplane.cluster import Cluster
from tests.controlplane.people import public_key, service_account
from tests.e2e import _faults
from tests.e2e._faults import ADMIN, TEAM, Json, allowed, cause, held, kept, make_namespace, manifest, message, patch, unique, wait_refused
from tests.support.authenticator import SoftwareAuthenticator

ENVIRONMENTS = path("protectedenvironments")
IDENTITIES = path("agentidentities")
REVIEWERS = path("reviewers")
DEFAULT = path("protectedenvironments", "default")
MERGE, APPLY, JSON = "application/merge-patch+json", "application/apply-patch+yaml", "application/json-patch+json"
LEVELS = ("Agents", "People", "Everyone")
AGENT, HUMAN, MACHINE = "rogue", "alice", "machine"
HELD_FROM = {"Agents": (AGENT,), "People": (AGENT, HUMAN), "Everyone": (AGENT, HUMAN, MACHINE)}
WHO = (AGENT, HUMAN, MACHINE)


@pytest.fixture(scope="module")
def machine(cluster: Cluster) -> str:
    """A ServiceAccount with all rights that is no agent: CI, a GitOps controller."""
    return cluster.new_service_account(unique("deployer"), "cluster-admin", namespace="ci")


@pytest.fixture(scope="module", autouse=True)
def closed(cluster: Cluster) -> Iterator[None]:
    """Registration is closed, as it is for good once an installation is at work; the suite's admin registers its people."""
    cluster.api.patch(DEFAULT, {"spec": {"registration": "Closed"}})
    before = cluster.api.get(DEFAULT)["spec"].get("except", [])
    with _faults.patched(cluster.api, DEFAULT, {"except": [*before, ADMIN]}):
        yield


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


# ── environments ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Row:
    weaker: Mapping[str, Any]
    stronger: Mapping[str, Any] | None = None


GONE = {"group": "example.com", "resource": "widgets"}
STAYS = {"group": "example.com", "resource": "gadgets"}
DEPLOYER = service_account("ci", "only")
ROWS: dict[str, Row] = {
    "selector narrowed": Row({"namespaces": {"selector": {"matchLabels": {"more": "labels"}}}}, {"namespaces": {"selector": None}}),
    "selector elsewhere": Row({"namespaces": {"selector": {"matchLabels": {TEAM: "another"}}}}),
    "selector by expression": Row(
        {"namespaces": {"selector": {"matchExpressions": [{"key": "tier", "operator": "In", "values": ["prod"]}]}}},
    ),
    "excluded": Row({"namespaces": {"exclude": ["scratch", "precious"]}}, {"namespaces": {"exclude": None}}),
    "excepted": Row({"except": [ADMIN, DEPLOYER, service_account("ci", "more")]}, {"except": [ADMIN]}),
    "an exception widened": Row({"except": [ADMIN, service_account("ci", "*")]}, {"except": [ADMIN, {**DEPLOYER, "groups": ["more"]}]}),
    "own work": Row({"ownWork": "2h"}, {"ownWork": "10m"}),
    "no own work": Row({"ownWork": "1h1s"}, {"ownWork": None}),
    "mode": Row({"mode": "Audit"}),
    "signatures": Row({"approvals": {"required": 1}}),
    "another team": Row({"approvals": {"teams": ["TEAM", "web"]}}),
    "every team": Row({"approvals": {"teams": None}}),
    "software keys": Row({"approvals": {"hardwareKeysOnly": False}}),
    "software keys, left out": Row({"approvals": {"hardwareKeysOnly": None}}),
    "window": Row({"approvals": {"useWithin": "31m"}}, {"approvals": {"useWithin": "5m"}}),
    "window, left out": Row({"approvals": {"useWithin": None}}),
    "kinds": Row({"resources": [STAYS]}, {"resources": [STAYS, GONE, {"group": "example.com", "resource": "things"}]}),
}
STRICTER = {"approvals": {"useWithin": "1m"}}


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


@pytest.fixture(scope="module", params=LEVELS)
def scene(request: pytest.FixtureRequest, cluster: Cluster, machine: str) -> Iterator[Scene]:
    """One environment in which everything can be weakened, and two people who could sign in it."""
    level, team = request.param, unique("roads")
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


def named(spec: Mapping[str, Any], team: str) -> Any:
    """A row with the scene's team in its place."""
    if isinstance(spec, Mapping):
        return {key: named(value, team) for key, value in spec.items()}
    if isinstance(spec, list):
        return [named(value, team) for value in spec]
    return team if spec == "TEAM" else spec


@pytest.mark.parametrize("what", ROWS)
def test_an_environment_weakened(cluster: Cluster, scene: Scene, what: str) -> None:
    weaker = named(ROWS[what].weaker, scene.team)
    for who in WHO:
        answer = ask(cluster, scene.user(who), "PATCH", scene.environment, {"spec": weaker})
        assert verdict(answer) == expected(scene.level, who, weaker=True), f"{who}: {answer.status} {message(answer)}"


@pytest.mark.parametrize("what", [what for what, row in ROWS.items() if row.stronger is not None])
def test_an_environment_made_stricter_passes(cluster: Cluster, scene: Scene, what: str) -> None:
    stronger = ROWS[what].stronger
    for who in WHO:
        answer = ask(cluster, scene.user(who), "PATCH", scene.environment, {"spec": stronger})
        assert verdict(answer) == expected(scene.level, who, weaker=False), f"{who}: {answer.status} {message(answer)}"


@pytest.mark.parametrize("what", ["excluded", "mode", "signatures"])
def test_what_is_stricter_in_one_field_and_weaker_in_another_is_held(cluster: Cluster, scene: Scene, what: str) -> None:
    both = {**ROWS[what].weaker, "approvals": {**ROWS[what].weaker.get("approvals", {}), **STRICTER["approvals"]}}
    for who in WHO:
        answer = ask(cluster, scene.user(who), "PATCH", scene.environment, {"spec": both})
        assert verdict(answer) == expected(scene.level, who, weaker=True), f"{who}: {answer.status} {message(answer)}"


def test_it_protects_from_fewer(cluster: Cluster, scene: Scene) -> None:
    for lower in LEVELS[: LEVELS.index(scene.level)]:
        for who in WHO:
            answer = ask(cluster, scene.user(who), "PATCH", scene.environment, {"spec": {"protectFrom": lower}})
            assert verdict(answer) == expected(scene.level, who, weaker=True), f"{who}: {answer.status} {message(answer)}"
    for higher in LEVELS[LEVELS.index(scene.level) + 1 :]:
        allowed(ask(cluster, HUMAN, "PATCH", scene.environment, {"spec": {"protectFrom": higher}}))


def without(obj: Json, *fields: str) -> Json:
    return {key: value for key, value in obj.items() if key not in fields}


def asked_otherwise(cluster: Cluster, scene: Scene, user: str, spec: Json) -> dict[str, Answer]:
    """The same change by every other verb and content type that the API server knows."""
    live = cluster.api.get(scene.environment)
    bare = {**without(live, "metadata", "status"), "metadata": {"name": scene.team}, "spec": spec}
    return {
        "PUT": ask(cluster, user, "PUT", scene.environment, {**live, "spec": spec}, "application/json"),
        "JSON patch": ask(cluster, user, "PATCH", scene.environment, [{"op": "replace", "path": "/spec", "value": spec}], JSON),
        "server-side apply": ask(cluster, user, "PATCH", scene.environment, bare, APPLY),
        "apply as another manager": ask(cluster, user, "PATCH", scene.environment, bare, APPLY, fieldManager="helm"),
    }


def test_every_other_way_of_writing_is_the_same_change(cluster: Cluster, scene: Scene) -> None:
    spec = cluster.api.get(scene.environment)["spec"]
    weaker = {**spec, "approvals": {**spec["approvals"], "required": 1}}
    for who in WHO:
        for way, answer in asked_otherwise(cluster, scene, scene.user(who), weaker).items():
            assert verdict(answer) == expected(scene.level, who, weaker=True), f"{who} by {way}: {answer.status} {message(answer)}"
    for way, answer in asked_otherwise(cluster, scene, scene.user(HUMAN), spec).items():
        assert answer.ok, f"what changes nothing was refused by {way}: {answer.status} {message(answer)}"


def test_what_server_side_apply_leaves_out_is_taken_away(cluster: Cluster, scene: Scene) -> None:
    """The owner of a field applies without it: nothing in the request names what goes."""
    live = cluster.api.get(scene.environment)
    bare = {**without(live, "metadata", "status"), "metadata": {"name": scene.team}}
    spec = live["spec"]
    shorter = {**bare, "spec": {**spec, "approvals": without(spec["approvals"], "useWithin")}}
    for who in WHO:
        answer = ask(cluster, scene.user(who), "PATCH", scene.environment, shorter, APPLY, fieldManager="gitops")
        # `useWithin` has a default, so it is there again, longer than it was.
        assert verdict(answer) == expected(scene.level, who, weaker=True), f"{who}: {answer.status} {message(answer)}"


def test_status_is_no_way_to_the_spec(cluster: Cluster, scene: Scene) -> None:
    before = cluster.api.get(scene.environment)
    for who in WHO:
        bodies: tuple[Json, ...] = ({"spec": {"mode": "Audit"}}, {"status": {"conditions": []}})
        for body in bodies:
            answer = cluster.api_as(scene.user(who)).request("PATCH", f"{scene.environment}/status", body, None, MERGE)
            assert not answer.ok, f"{who} wrote a status"
    assert cluster.api.get(scene.environment)["spec"] == before["spec"]


@pytest.mark.parametrize("by", ["its name", "a collection", "a label"])
def test_an_environment_deleted(cluster: Cluster, scene: Scene, by: str) -> None:
    ways: dict[str, tuple[str, dict[str, str]]] = {
        "its name": (scene.environment, {}),
        "a collection": (ENVIRONMENTS, {"fieldSelector": f"metadata.name={scene.team}"}),
        "a label": (ENVIRONMENTS, {"labelSelector": f"example.com/of={scene.team}"}),
    }
    url, params = ways[by]
    cluster.api.patch(scene.environment, {"metadata": {"labels": {"example.com/of": scene.team}}})
    for who in WHO:
        for propagation in ("Foreground", "Background", "Orphan"):
            answer = ask(cluster, scene.user(who), "DELETE", url, None, "application/json", propagationPolicy=propagation, **params)
            assert verdict(answer) == expected(scene.level, who, weaker=True), f"{who}: {answer.status} {message(answer)}"


def test_replaced_by_force(cluster: Cluster, scene: Scene) -> None:
    """`kubectl replace --force` deletes and creates: it is held where a deletion is, and nothing is lost."""
    live = cluster.api.get(scene.environment)
    body = {**without(live, "metadata", "status"), "metadata": {"name": scene.team}, "spec": {**live["spec"], "mode": "Audit"}}
    human = cluster.new_human(f"{unique('replacer')}@example.com", role="cluster-admin")
    for user in (AGENT,) if scene.level == "Agents" else (AGENT, human):
        done = cluster.kubectl(user, "replace", "--force", "-f", "-", stdin=json.dumps(body))
        assert done.returncode != 0
        assert ("Agents never" if user == AGENT else "WAITING FOR HUMAN SIGNATURES") in done.stderr, done.stderr
    after = cluster.api.get(scene.environment)
    assert (after["metadata"]["uid"], after["spec"]) == (live["metadata"]["uid"], live["spec"])


# ── a namespace's labels ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def relabelled(namespace: Json, team: str | None) -> Json:
    changed = copy.deepcopy(namespace)
    labels = changed["metadata"]["labels"]
    labels.pop(TEAM, None)
    if team is not None:
        labels[TEAM] = team
    return changed


def roads_out(cluster: Cluster, user: str, name: str, team: str | None) -> dict[str, Answer]:
    url = path("namespaces", name)
    live = cluster.api.get(url)
    out, label = relabelled(live, team), {"metadata": {"labels": {TEAM: team}}}
    pointer = f"/metadata/labels/{TEAM.replace('/', '~1')}"
    json_patch = [{"op": "remove", "path": pointer} if team is None else {"op": "replace", "path": pointer, "value": team}]
    bare = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {} if team is None else {TEAM: team}}}
    roads = {
        "merge patch": ask(cluster, user, "PATCH", url, label),
        "strategic merge patch": ask(cluster, user, "PATCH", url, label, "application/strategic-merge-patch+json"),
        "JSON patch": ask(cluster, user, "PATCH", url, json_patch, JSON),
        "PUT": ask(cluster, user, "PUT", url, out, "application/json"),
        "status, merge patch": ask(cluster, user, "PATCH", f"{url}/status", label),
        "status, PUT": ask(cluster, user, "PUT", f"{url}/status", out, "application/json"),
        "finalize, PUT": ask(cluster, user, "PUT", f"{url}/finalize", out, "application/json"),
        "replace the whole of its labels": ask(
            cluster, user, "PATCH", url, [{"op": "replace", "path": "/metadata/labels", "value": out["metadata"]["labels"]}], JSON
        ),
    }
    # As the manager that put the label there: leaving it out takes it away.
    roads["server-side apply"] = ask(cluster, user, "PATCH", url, bare, APPLY, fieldManager="owner")
    return roads


def labelled(cluster: Cluster, team: str) -> str:
    """A namespace whose label belongs to a manager of server-side apply."""
    name = unique("labelled")
    body = manifest("Namespace", name, labels={TEAM: team})
    url = path("namespaces", name)
    allowed(cluster.api.request("PATCH", url, body, {"fieldManager": "owner", "force": "true"}, APPLY))
    _faults.until(
        lambda: is_marked(cluster.api.get(url), team), "the operator was to mark the namespace"
    )  # its writes would conflict with a PUT
    return name


def is_marked(namespace: Json, team: str) -> bool:
    marks = {**namespace["metadata"].get("labels", {}), **namespace["metadata"].get("annotations", {})}
    return _faults.PROTECTED in marks and team in marks.get(f"{_faults.OURS}/environments", "")


@pytest.mark.parametrize("team", [None, "another"])
def test_a_namespace_taken_out_by_its_labels(cluster: Cluster, scene: Scene, team: str | None) -> None:
    name = labelled(cluster, scene.team)
    for who in WHO:
        for road, answer in roads_out(cluster, scene.user(who), name, team).items():
            if who not in HELD_FROM[scene.level]:
                assert answer.ok, f"{who} by {road}: {answer.status} {message(answer)}"
                continue
            # Through a subresource it is refused outright: that is no request that people sign for.
            assert not answer.ok, f"{who} by {road} was let through"
            assert verdict(answer) == ("never" if road.startswith(("status", "finalize")) else "held"), (
                f"{who} by {road}: {message(answer)}"
            )


def test_other_labels_of_a_namespace_pass(cluster: Cluster, scene: Scene) -> None:
    name = labelled(cluster, scene.team)
    for who in WHO:
        allowed(
            ask(
                cluster,
                scene.user(who),
                "PATCH",
                path("namespaces", name),
                {"metadata": {"labels": {"tier": "x"}, "annotations": {"a": "b"}}},
            )
        )


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
