"""The attackers' camp: agents of this session's own, made in no time, since two AgentIdentities stand for all of them."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import httpx

from tests.controlplane import waiting
from tests.controlplane.api import OURS, Api, ApiError, path
from tests.e2e.story import Reply
from tests.jailbreak._ground import CHARTS, Ground, token

_PATIENCE: Final = 30.0
_GONE_WITHIN: Final = 120.0
_SIGNED_WITHIN: Final = 15 * 60.0
_RBAC: Final = "rbac.authorization.k8s.io"


@dataclass(frozen=True, slots=True)
class Agent:
    """`username` is what the API server knows it by."""

    name: str
    namespace: str
    token: str
    api: Api

    @property
    def username(self) -> str:
        return f"system:serviceaccount:{self.namespace}:{self.name}"


@dataclass
class Camp:
    """`folder` is for files of this session. Everything made is removed by `close`, in the end also after Ctrl-C."""

    ground: Ground
    folder: Path
    say: Callable[[str], object] = print
    run: str = field(default_factory=lambda: secrets.token_hex(3))
    _after: ExitStack = field(default_factory=ExitStack)
    _removed: list[str] = field(default_factory=list)
    _waiting: dict[str, str] = field(default_factory=dict)
    """What cannot be removed before people have signed: its path → the change request."""

    @cached_property
    def _broad(self) -> str:
        return self._pitch(f"jailbreak-agents-{self.run}", self.ground.role)

    @cached_property
    def _tame(self) -> str:
        return self._pitch(f"jailbreak-tame-{self.run}", CHARTS)

    def broad_agent(self) -> Agent:
        return self._agent(self._broad)

    def tame_agent(self) -> Agent:
        return self._agent(self._tame)

    def pitch(self) -> None:
        """Makes the places where the agents live, once. Has to happen while nothing is taken away."""
        for _ in (self._broad, self._tame):
            pass

    def agent_of(self, sponsor: str) -> Agent:
        """A broad agent in a place of its own, run by this sponsor."""
        return self._agent(self._pitch(f"jailbreak-{secrets.token_hex(3)}-{self.run}", self.ground.role, sponsor))

    def _agent(self, namespace: str) -> Agent:
        admin = self.ground.admin
        name = f"agent-{secrets.token_hex(4)}"
        admin.create(path("serviceaccounts", namespace=namespace), {"metadata": {"name": name}})
        secret = token(admin, namespace, name)
        return Agent(name, namespace, secret, self.ground.as_bearer(name, secret))

    def _pitch(self, name: str, role: str, sponsor: str = "") -> str:
        """A namespace whose ServiceAccounts are all agents, in force on return."""
        identity = {
            "apiVersion": f"{OURS}/v1alpha1",
            "kind": "AgentIdentity",
            "metadata": {"name": name},
            "spec": {
                "sponsors": [sponsor or self.ground.sponsor],
                "subjects": [{"kind": "ServiceAccount", "namespace": name, "name": "*"}],
            },
        }
        self._make(path("namespaces"), {"metadata": {"name": name, "labels": dict(self.ground.labels)}})
        self._make(path("agentidentities"), identity)
        self._make(
            path("clusterrolebindings"),
            {
                "metadata": {"name": name},
                "roleRef": {"apiGroup": _RBAC, "kind": "ClusterRole", "name": role},
                "subjects": [{"apiGroup": _RBAC, "kind": "Group", "name": f"system:serviceaccounts:{name}"}],
            },
        )
        probe = self._agent(name)
        try:
            self._wait_held(probe)
        finally:
            probe.api.close()
        return name

    def _wait_held(self, agent: Agent) -> None:
        last = ""

        def held() -> bool:
            nonlocal last
            answer = agent.api.request("DELETE", path("namespaces", agent.namespace), params={"dryRun": "All"})
            last = str(answer.body.get("message", "let through"))
            return answer.status == httpx.codes.FORBIDDEN and "admission webhook" in last

        waiting.until(held, f"the agents in {agent.namespace} were to be held back", timeout=_PATIENCE, explain=lambda: f"    {last}")

    def _make(self, collection: str, body: dict[str, Any]) -> None:
        # Noted before it is made: an interruption may come between.
        url = f"{collection}/{body['metadata']['name']}"
        self._after.callback(self.remove, url)
        self.ground.admin.create(collection, body)

    def remove(self, url: str) -> None:
        """Raises ApiError where the admin may not; what is gone already is gone."""
        reply = Reply(self.ground.admin.request("DELETE", url))
        if reply.ok or reply.answer.status in {httpx.codes.NOT_FOUND, httpx.codes.CONFLICT}:
            self._removed.append(url)
        elif reply.outcome == "Pending" and self.ground.waits_for_signatures:
            self._waiting[url] = reply.request
        else:
            raise ApiError(reply.answer, f"DELETE {url}")

    # --- the end ------------------------------------------------------------------------------

    def hold(self, close: Callable[[], None]) -> None:
        """Something that has to be closed before the camp is; it may be closed more than once."""
        self._after.callback(close)

    def close(self) -> None:
        """Takes away everything; on a team's cluster it says what it could not."""
        try:
            self._after.close()
        finally:
            if self._waiting:
                self._wait_for_signatures()
            if self.ground.own is None:
                self._report()

    def _wait_for_signatures(self) -> None:
        self.say("jailbreak: these changes clean up after the run, and wait for signatures:")
        for url, request in self._waiting.items():
            self.say(f"  DELETE {url}: changerequests.{OURS}/{request}")
        deadline = time.monotonic() + _SIGNED_WITHIN
        while self._waiting and time.monotonic() < deadline:
            time.sleep(2)
            for url in list(self._waiting):
                del self._waiting[url]
                self.remove(url)

    def _report(self) -> None:
        left = dict.fromkeys(self._waiting, "waits for signatures")
        admin, deadline = self.ground.admin, time.monotonic() + _GONE_WITHIN
        for url in self._removed:
            while admin.exists(url) and time.monotonic() < deadline:
                time.sleep(0.2)
            if admin.exists(url):
                left[url] = "is still being removed"
        for url, why in left.items():
            self.say(f"jailbreak: LEFT BEHIND: {url}: {why}")
        ours = [each for each in admin.list(path("changerequests")) if self.run in each["spec"]["requester"]["username"]]
        self.say(
            f"jailbreak: {len(self._removed)} objects made and removed, {len(left)} left behind. {len(ours)} change requests about them stay as "
            "a record until the operator removes them (the value keepEnded): nobody else may."
        )
