"""Every road by which protection could be taken away (invariant 10), asked by everybody, under each `protectFrom`; and what must pass.

The tables are asked as dry runs, which go the same way through the API server and write no change request.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from tests.controlplane.api import Answer, path
from tests.controlplane.cluster import Cluster
from tests.controlplane.people import service_account
from tests.e2e import _faults
from tests.e2e._faults import ADMIN, TEAM, Json, allowed, manifest, message, unique
from tests.e2e._roads import (
    AGENT,
    APPLY,
    DEPLOYER,
    ENVIRONMENTS,
    GONE,
    HELD_FROM,
    HUMAN,
    JSON,
    LEVELS,
    MERGE,
    STAYS,
    WHO,
    Scene,
    ask,
    closed_registration,
    deployer,
    expected,
    staged,
    verdict,
)


@pytest.fixture(scope="module")
def machine(cluster: Cluster) -> str:
    return deployer(cluster)


@pytest.fixture(scope="module", autouse=True)
def closed(cluster: Cluster) -> Iterator[None]:
    with closed_registration(cluster):
        yield


# ── environments ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Row:
    weaker: Mapping[str, Any]
    stronger: Mapping[str, Any] | None = None


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


@pytest.fixture(scope="module", params=LEVELS)
def scene(request: pytest.FixtureRequest, cluster: Cluster, machine: str) -> Iterator[Scene]:
    with staged(cluster, request.param, machine) as found:
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
