"""Sets the scene on a cluster of our own: the installation of a profile, with its guards or with some of them taken away."""

from __future__ import annotations

import copy
import secrets
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Any, Final

from countersign.wire.guards.exact import NOT_AS_WRITTEN
from tests.controlplane import waiting
from tests.controlplane.api import OURS, Api, ApiError, path
from tests.controlplane.chart import NAMESPACE
from tests.controlplane.cluster import Cluster
from tests.jailbreak import _installations as installations
from tests.jailbreak import _sentinel as sentinel
from tests.jailbreak._attack import WEBHOOK, Profile

OPERATOR: Final = f"system:serviceaccount:{NAMESPACE}:countersign-operator"
_COLLECTIONS: Final = {"policy": "validatingadmissionpolicybindings", "mutation": "mutatingadmissionpolicybindings"}
_STILL: Final = 3  # looks at the policies that show the same
_GUARDS: Final = tuple(path("validatingadmissionpolicies", name) for name in ("countersign-guards", "countersign-guards-2"))
_CONFIGURATION: Final = path("validatingwebhookconfigurations", "countersign")


@dataclass(frozen=True, slots=True)
class Scene:
    """`away` is None while everything is as it should be; else the operator rests, and these guards are gone."""

    profile: Profile
    away: frozenset[str] | None = None


class Director:
    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._scene = Scene(Profile.STANDARD)
        self._taken: dict[str, tuple[str, dict[str, Any]]] = {}
        """What was taken away: guard → its collection and its body."""
        self._exact: dict[str, dict[str, Any]] = {}
        """The guards of the guards as they were: with what they demand of the webhook configuration no entry could be taken away."""
        self._run = secrets.token_hex(3)
        self._changes = 0

    def enter(self, scene: Scene) -> None:
        """Makes the cluster be as the scene says. Raises HarnessError."""
        if scene == self._scene:
            return
        if scene.profile is not self._scene.profile:
            self._put_right()
            installations.switch(self._cluster, self._scene.profile, scene.profile)
            self._scene = Scene(scene.profile)
            self._wait_for_policies(hardened=scene.profile is Profile.HARDENED)
        if scene.away is None:
            self._put_right()
        else:
            if self._scene.away is None:
                self._cluster.stop_operator()
            self._scene = scene
            self._take_away(scene.away)

    def leave(self) -> None:
        """Everything as it was found."""
        self.enter(Scene(Profile.STANDARD))

    # --- guards -------------------------------------------------------------------------------

    def _take_away(self, wanted: frozenset[str]) -> None:
        wanted = self._named(wanted)
        webhooks = {guard for guard in wanted if guard.partition("/")[0] == WEBHOOK}
        for guard in sorted(set(self._taken) - wanted - {WEBHOOK}):
            self._bring_back(guard)
        for guard in sorted(wanted - set(self._taken) - webhooks):
            self._remove(guard)
        if webhooks and not self._exact:
            self._relax()
        self._thin_out(webhooks)
        self._settle()

    def _named(self, guards: frozenset[str]) -> frozenset[str]:
        """With the names in the place of `countersign-guards*`."""
        named: set[str] = set()
        for guard in guards:
            kind, _, pattern = guard.partition("/")
            if not pattern.endswith("*"):
                named.add(guard)
                continue
            there = [each["metadata"]["name"] for each in self._cluster.api.list(path(_COLLECTIONS[kind]))]
            found = {f"{kind}/{name}" for name in there if name.startswith(pattern[:-1])} | {
                each for each in self._taken if fnmatch(each, guard)
            }
            assert found, f"there is no guard {guard}"
            named |= found
        return frozenset(named)

    def _put_right(self) -> None:
        """The guards are put back before the operator returns: it is to find nothing that somebody has tampered with."""
        if self._scene.away is None:
            return
        for guard in sorted(set(self._taken) - {WEBHOOK}):
            self._bring_back(guard)
        self._thin_out(set())
        for url, spec in self._exact.items():
            self._cluster.api.replace(url, {**self._cluster.api.get(url), "spec": spec})
        self._exact.clear()
        self._settle()
        self._cluster.start_operator()
        self._cluster.wait_in_force()
        self._scene = Scene(self._scene.profile)

    def _wait_for_policies(self, *, hardened: bool) -> None:
        """Until the operator has written, or taken away, the profile's policies, and the API server goes by them."""
        seen: list[set[str]] = []

        def written() -> bool:
            there = {each["metadata"]["name"] for each in self._cluster.api.list(path(_COLLECTIONS["policy"]))}
            seen.append({name for name in there if name.startswith("countersign-hardened-")})
            return bool(seen[-1]) == hardened and seen[-3:].count(seen[-1]) == _STILL

        waiting.until(written, "the operator was to write the profile's policies", timeout=30, pause=0.3)
        self._settle()

    def _settle(self) -> None:
        self._changes += 1
        sentinel.settle(self._cluster.api, f"jailbreak-{self._run}-{self._changes}", mutating=True)

    def _remove(self, guard: str) -> None:
        kind, _, name = guard.partition("/")
        if kind == "schema":
            self._loosen_schema(guard, f"{name}.{OURS}")
            return
        url = path(_COLLECTIONS[kind], name)
        body = self._cluster.api.get(url)
        self._cluster.api.delete(url)
        self._taken[guard] = path(_COLLECTIONS[kind]), _anew(body)

    def _bring_back(self, guard: str) -> None:
        url, body = self._taken.pop(guard)
        if guard.startswith("schema/"):
            _rewrite(self._cluster.api, url, body["spec"])
        else:
            self._cluster.api.create(url, body)

    def _loosen_schema(self, guard: str, name: str) -> None:
        """Takes the rules of the spec as a whole out of a CustomResourceDefinition; the operator alone may write it."""
        url = path("customresourcedefinitions", name)
        body = self._cluster.api.get(url)
        self._taken[guard] = url, body
        loose = copy.deepcopy(body["spec"])
        for version in loose["versions"]:
            version["schema"]["openAPIV3Schema"]["properties"]["spec"].pop("x-kubernetes-validations", None)
        _rewrite(self._cluster.api, url, loose)

    def _relax(self) -> None:
        """Everything else that they guard they go on guarding."""
        for url in _GUARDS:
            body = self._cluster.api.get(url)
            spec = self._exact[url] = body["spec"]
            kept = [each for each in spec["validations"] if each.get("message") != NOT_AS_WRITTEN]
            assert len(kept) < len(spec["validations"])
            self._cluster.api.replace(url, {**body, "spec": {**spec, "validations": kept}})
        self._settle()

    def _thin_out(self, away: set[str]) -> None:
        """The webhook configuration without these entries, written as its keeper: our own policy lets nobody else."""
        if WEBHOOK not in self._taken:
            if not away:
                return
            self._taken[WEBHOOK] = path("validatingwebhookconfigurations"), _anew(self._cluster.api.get(_CONFIGURATION))
        collection, whole = self._taken[WEBHOOK]
        kept = [webhook for webhook in whole["webhooks"] if not _is_away(webhook["name"], away)]
        _as_operator(self._cluster.api, "DELETE", _CONFIGURATION, missing_is_fine=True)
        if kept:
            _as_operator(self._cluster.api, "POST", collection, {**whole, "webhooks": kept})
        if not away:
            del self._taken[WEBHOOK]


def _is_away(name: str, away: set[str]) -> bool:
    return WEBHOOK in away or any(name.startswith(guard.partition("/")[2]) for guard in away)


def _anew(body: dict[str, Any]) -> dict[str, Any]:
    """An object as it can be created again."""
    metadata = {key: body["metadata"][key] for key in ("name", "labels", "annotations", "ownerReferences") if key in body["metadata"]}
    return {**body, "metadata": metadata}


def _rewrite(admin: Api, url: str, spec: dict[str, Any]) -> None:
    """With the version of the moment: the API server writes the status of definitions."""
    _as_operator(admin, "PUT", url, {**admin.get(url), "spec": spec})


def _as_operator(admin: Api, method: str, url: str, body: Any = None, *, missing_is_fine: bool = False) -> None:
    """By the operator's name, whom the guards let through, and with an administrator's rights: the operator's own are no wider than its work."""
    answer = admin.request(method, url, body, headers={"Impersonate-User": OPERATOR, "Impersonate-Group": "system:masters"})
    if not answer.ok and not (missing_is_fine and answer.body.get("reason") == "NotFound"):
        raise ApiError(answer, f"{method} {url} as {OPERATOR}")
