"""Roles and bindings: listed page by page, followed by watches, and read from what kubectl writes."""

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress
from typing import Any

import pytest

from countersign.adapters.inventory import load, read
from countersign.adapters.rights import RightsWatch
from countersign.domain.document import JsonObject
from countersign.domain.profile import Profile
from countersign.domain.rbac import Rbac, Request, RoleRef, allows
from countersign.domain.request import GroupResource
from countersign.service.ports import ApiError, GoneError, NotFoundError
from countersign.wire.errors import WireError
from countersign.wire.rbac import COLLECTIONS, parse_binding, parse_role, path_of

ROLE = {"metadata": {"name": "r"}, "rules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]}


def binding(name: str, *subjects: Mapping[str, str], namespace: str = "", role: str = "r", kind: str = "ClusterRole") -> JsonObject:
    metadata = {"name": name} | ({"namespace": namespace} if namespace else {})
    return {"metadata": metadata, "roleRef": {"kind": kind, "name": role}, "subjects": list(subjects)}


def user(name: str) -> dict[str, str]:
    return {"kind": "User", "name": name}


class Pages:
    """Lists in pages of two; watches say what stands in `events` and then stay silent. It keeps no objects of its own."""

    def __init__(self) -> None:
        self.lists: dict[str, list[JsonObject]] = {path_of(plural): [] for plural in COLLECTIONS}
        self.lists[path_of("clusterroles")] = [ROLE]
        self.events: dict[str, list[Any]] = {}
        self.failing: dict[str, ApiError] = {}
        self.gets: list[str] = []
        self.watched_from: list[str] = []

    async def get(self, path: str, *, query: Mapping[str, str] | None = None, **_: Any) -> JsonObject:
        self.gets.append(path)
        if path in self.failing:
            raise self.failing[path]
        if path not in self.lists:
            raise NotFoundError(404, f"{path} not found")
        begin = int((query or {}).get("continue", "0"))
        found = self.lists[path]
        more = {"continue": str(begin + 2)} if begin + 2 < len(found) else {}
        return {"metadata": {"resourceVersion": "7", **more}, "items": found[begin : begin + 2]}

    async def watch(self, path: str, *, resource_version: str, **_: Any) -> AsyncGenerator[JsonObject, None]:
        self.watched_from.append(resource_version)
        for event in self.events.pop(path, []):
            if isinstance(event, ApiError):
                raise event
            yield event
        await asyncio.Event().wait()


def users(rights: RightsWatch) -> set[str]:
    known = rights.known()
    assert known is not None
    return {name for each in known[1] for name in each.users}


async def running(pages: Pages, until: Any) -> RightsWatch:
    rights = RightsWatch(pages)  # type: ignore[arg-type]  # it reads, and nothing else
    told = asyncio.Event()
    rights.tell(told.set)
    task = asyncio.create_task(rights.run())
    try:
        async with asyncio.timeout(10):
            while not until(rights):
                await told.wait()
                told.clear()
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    return rights


def everything(rights: RightsWatch) -> bool:
    return rights.known() is not None


async def test_every_page_of_a_list() -> None:
    pages = Pages()
    pages.lists[path_of("clusterrolebindings")] = [binding(f"b{number}", user(f"u{number}")) for number in range(5)]
    rights = await running(pages, everything)
    assert users(rights) == {f"u{number}" for number in range(5)}
    assert pages.gets.count(path_of("clusterrolebindings")) == 3


async def test_nothing_is_known_until_all_is() -> None:
    pages = Pages()
    pages.failing[path_of("roles")] = ApiError(403, "roles are not yours to read")
    rights = await running(pages, lambda rights: rights.fault)
    assert rights.known() is None
    assert "not yours" in rights.fault


async def test_events_change_what_is_known() -> None:
    pages = Pages()
    path = path_of("rolebindings")
    pages.lists[path] = [binding("old", user("old"), namespace="shop"), binding("old", user("other"), namespace="web")]
    pages.events[path] = [
        {"type": "ADDED", "object": binding("new", user("new"), namespace="shop")},
        {"type": "DELETED", "object": binding("old", user("old"), namespace="shop")},
        {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "9"}}},
    ]
    rights = await running(pages, lambda rights: everything(rights) and users(rights) == {"new", "other"})
    assert rights.version > 4


async def test_a_role_that_changes() -> None:
    pages = Pages()
    changed = {**ROLE, "rules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]}
    pages.events[path_of("clusterroles")] = [{"type": "MODIFIED", "object": changed}]
    rights = await running(pages, lambda rights: everything(rights) and "*" in next(iter(rights.known()[0].values()))[0].verbs)
    assert rights.known() is not None


async def test_a_watch_that_is_too_old_starts_over_with_a_list() -> None:
    pages = Pages()
    path = path_of("clusterrolebindings")
    pages.events[path] = [GoneError(410, "too old")]
    rights = await running(pages, lambda rights: everything(rights) and pages.gets.count(path) == 2)
    assert everything(rights)


# --- what is read ---------------------------------------------------------------------------------


def test_subjects() -> None:
    found = parse_binding(
        binding(
            "b",
            user("alice"),
            {"kind": "Group", "name": "dev"},
            {"kind": "ServiceAccount", "name": "ci", "namespace": "shop"},
            {"kind": "ServiceAccount", "name": "here"},
            {"kind": "Robot", "name": "x"},
            namespace="web",
        )
    )
    assert found.users == ("alice", "system:serviceaccount:shop:ci", "system:serviceaccount:web:here")
    assert found.groups == ("dev",)


def test_an_account_without_a_namespace_is_nobody_to_a_cluster_role_binding() -> None:
    assert parse_binding(binding("b", {"kind": "ServiceAccount", "name": "ci"})).users == ()


def test_a_role_in_a_cluster_role_binding_is_nobodys() -> None:
    ref, rules = parse_role(ROLE)
    rbac = Rbac({ref: rules, RoleRef("shop", "r"): rules}, [parse_binding(binding("b", user("alice"), kind="Role"))])
    assert not allows(rbac.grants(("alice",), ()), Request("get", "", "pods"))


def test_rules_about_urls_are_left_aside() -> None:
    assert parse_role({"metadata": {"name": "r"}, "rules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}]})[1] == ()


def test_absurd_objects_give_nothing() -> None:
    for absurd in ({}, {"metadata": None, "rules": None}, {"metadata": {"name": 3}, "rules": [None, 3, {"resources": "pods"}]}):
        assert parse_role(absurd)[1] == ()
        assert parse_binding({**absurd, "subjects": [None, {"kind": 3}], "roleRef": 3}).users == ()


# --- an inventory ---------------------------------------------------------------------------------

OURS = "kube-countersign.dev/v1alpha1"
IDENTITY: JsonObject = {
    "apiVersion": OURS,
    "kind": "AgentIdentity",
    "metadata": {"name": "kiro"},
    "spec": {"sponsors": ["alice"], "subjects": [{"kind": "ServiceAccount", "namespace": "agents", "name": "kiro"}]},
}
ENVIRONMENT: JsonObject = {
    "apiVersion": OURS,
    "kind": "ProtectedEnvironment",
    "metadata": {"name": "default"},
    "spec": {"protectFrom": "Agents", "resources": [{"group": "argoproj.io", "resource": "applications"}]},
}
DUMP: list[JsonObject] = [
    IDENTITY,
    ENVIRONMENT,
    {"kind": "ClusterRole", **ROLE},
    {"kind": "ClusterRoleBinding", **binding("b", user("alice"))},
    {"kind": "ValidatingAdmissionPolicyBinding", "metadata": {"name": "countersign-hardened-becoming"}},
    {"kind": "FlowSchema", "metadata": {"name": "countersign-jail"}},
    {"kind": "Secret", "metadata": {"name": "x"}},
]


def test_what_kubectl_writes() -> None:
    found = load({"kind": "List", "items": json.loads(json.dumps(DUMP))})
    assert [identity.meta.name for identity in found.identities] == ["kiro"]
    assert found.listed == {GroupResource("argoproj.io", "applications")}
    assert (found.profile, found.jailed) == (Profile.HARDENED, frozenset({"kiro"}))
    assert (len(found.roles), len(found.bindings)) == (1, 1)


@pytest.mark.parametrize("tree", [{}, [], None, {"items": [IDENTITY]}])
def test_a_file_that_holds_too_little_says_how_to_write_it(tree: object) -> None:
    with pytest.raises(WireError, match="kubectl get clusterroles,"):
        load(tree)


async def test_a_cluster_without_countersign_says_so() -> None:
    with pytest.raises(ApiError, match="is Countersign installed"):
        await read(Pages())
