"""The RBAC evaluator against the API server's own: the same answers to SubjectAccessReviews, over random roles and bindings."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import product

import pytest

from countersign.domain.becoming import account_groups
from countersign.domain.rbac import Rbac, Request, allows
from countersign.domain.request import UserInfo
from countersign.wire.rbac import BINDINGS, COLLECTIONS, ROLES, parse_binding, parse_role, path_of
from tests.controlplane.api import ApiError
from tests.controlplane.cluster import Cluster
from tests.e2e._faults import Json, manifest, unique, until

RBAC = "rbac.authorization.k8s.io"
VERBS = ("get", "delete", "deletecollection", "impersonate", "impersonate:user-info", "escalate")
RESOURCES = (
    ("", "pods", ""),
    ("", "pods", "exec"),
    ("", "namespaces", ""),
    ("", "serviceaccounts", "token"),
    ("apps", "deployments", ""),
    ("apps", "deployments", "scale"),
    ("apps", "statefulsets", "scale"),
    ("authentication.k8s.io", "users", ""),
    (RBAC, "clusterroles", ""),
)
NAMES = ("", "one", "two")


def rule(dice: random.Random) -> Json:
    resources = [f"{resource}/{sub}" if sub else resource for _, resource, sub in RESOURCES]
    made: Json = {
        "verbs": dice.sample([*VERBS, "*"], dice.randint(1, 3)),
        "apiGroups": dice.sample(["", "apps", "authentication.k8s.io", RBAC, "*"], dice.randint(1, 2)),
        "resources": dice.sample([*resources, "*", "*/scale", "*/exec", "*/*", "pods/*"], dice.randint(1, 3)),
    }
    if dice.random() < 0.3:
        made["resourceNames"] = dice.sample(["one", "two", "three"], dice.randint(1, 2))
    return made


class World:
    """Random rights in two namespaces of their own, and whom they are for."""

    def __init__(self, cluster: Cluster, dice: random.Random) -> None:
        self.api = cluster.api
        self.tag = unique("oracle")
        self.homes = [f"{self.tag}-a", f"{self.tag}-b"]
        self.made: list[str] = []
        self.askers = [
            *(UserInfo(f"system:serviceaccount:{home}:bot", groups=account_groups(home)) for home in self.homes),
            UserInfo(f"{self.tag}-user", groups=frozenset({"system:authenticated"})),
            UserInfo("somebody", groups=frozenset({"system:authenticated", f"{self.tag}-group"})),
        ]
        for home in self.homes:
            self.put("/api/v1/namespaces", manifest("Namespace", home))
        for number in range(14):
            self.grant(dice, number)

    def put(self, collection: str, body: Json) -> None:
        self.made.append(f"{collection}/{self.api.create(collection, body)['metadata']['name']}")

    def grant(self, dice: random.Random, number: int) -> None:
        name, home = f"{self.tag}-{number}", dice.choice(["", *self.homes])
        kind = dice.choice(["ClusterRole", "Role"]) if home else "ClusterRole"
        role_home = home if kind == "Role" else ""
        rules = [rule(dice) for _ in range(dice.randint(1, 2))]
        roles = f"/apis/{RBAC}/v1/namespaces/{role_home}/roles" if role_home else path_of("clusterroles")
        self.put(roles, manifest(kind, name, api=f"{RBAC}/v1", rules=rules))
        bound = f"/apis/{RBAC}/v1/namespaces/{home}/rolebindings" if home else path_of("clusterrolebindings")
        body = manifest("RoleBinding" if home else "ClusterRoleBinding", name, api=f"{RBAC}/v1")
        # One in seven names a role that is not there.
        body["roleRef"] = {"apiGroup": RBAC, "kind": kind, "name": name if dice.random() > 0.15 else f"{name}-none"}
        body["subjects"] = [self.subject(dice) for _ in range(dice.randint(1, 2))]
        self.put(bound, body)

    def subject(self, dice: random.Random) -> Json:
        home = dice.choice(self.homes)
        return dice.choice(
            [
                {"kind": "ServiceAccount", "name": "bot", "namespace": home},
                {"kind": "User", "name": f"system:serviceaccount:{home}:bot", "apiGroup": RBAC},
                {"kind": "User", "name": f"{self.tag}-user", "apiGroup": RBAC},
                {"kind": "Group", "name": f"{self.tag}-group", "apiGroup": RBAC},
                {"kind": "Group", "name": f"system:serviceaccounts:{home}", "apiGroup": RBAC},
            ]
        )

    def rbac(self) -> Rbac:
        found = {plural: self.api.list(path_of(plural)) for plural in COLLECTIONS}
        roles = dict(parse_role(role) for plural in ROLES for role in found[plural])
        return Rbac(roles, [parse_binding(binding) for plural in BINDINGS for binding in found[plural]])

    def server_says(self, asker: UserInfo, request: Request) -> bool:
        attributes = {
            "verb": request.verb,
            "group": request.group,
            "resource": request.resource,
            "subresource": request.subresource,
            "namespace": request.namespace,
            "name": request.name,
        }
        spec = {"user": asker.username, "groups": sorted(asker.groups), "resourceAttributes": attributes}
        body = manifest("SubjectAccessReview", "", api="authorization.k8s.io/v1", spec=spec)
        del body["metadata"]
        answer = self.api.create("/apis/authorization.k8s.io/v1/subjectaccessreviews", body)
        return bool(answer["status"]["allowed"])

    def settle(self) -> None:
        """Until the API server's own view has the last binding of all."""
        name = f"{self.tag}-last"
        self.put(
            path_of("clusterroles"),
            manifest("ClusterRole", name, api=f"{RBAC}/v1", rules=[{"verbs": ["settle"], "apiGroups": ["x"], "resources": ["x"]}]),
        )
        body = manifest("ClusterRoleBinding", name, api=f"{RBAC}/v1")
        body["roleRef"] = {"apiGroup": RBAC, "kind": "ClusterRole", "name": name}
        body["subjects"] = [{"kind": "User", "name": f"{self.tag}-last", "apiGroup": RBAC}]
        self.put(path_of("clusterrolebindings"), body)
        until(lambda: self.server_says(UserInfo(f"{self.tag}-last"), Request("settle", "x", "x")), "the API server has the last binding")

    def clean(self) -> None:
        for made in reversed(self.made):
            try:
                self.api.delete(made)
            except ApiError:
                continue


@pytest.fixture(params=[11, 22, 33])
def world(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[World]:
    made = World(cluster, random.Random(request.param))
    try:
        made.settle()
        yield made
    finally:
        made.clean()


def test_the_evaluator_says_what_the_api_server_says(world: World) -> None:
    rbac = world.rbac()
    grid = [Request(verb, *kind, namespace, name) for verb, kind, namespace, name in product(VERBS, RESOURCES, ["", *world.homes], NAMES)]
    asked = random.Random(7).sample(grid, 150)
    differing, allowed = [], 0
    for asker in world.askers:
        grants = rbac.grants((asker.username,), asker.groups)
        for request in asked:
            ours, theirs = allows(grants, request), world.server_says(asker, request)
            allowed += theirs
            if ours is not theirs:
                differing.append(f"{asker.username}: {request}: we say {ours}, the API server {theirs}")
    assert not differing
    assert 20 < allowed < len(asked) * len(world.askers), "random rights that allow nothing, or all, prove little"
