"""Agents and people at work, at once, while something breaks. Bounded: seven threads, each with a pause between its requests."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import httpx

from tests.chaos.ledger import Asked, Change, Ledger, Verdict, Who, cause, said
from tests.controlplane import kubeconfig
from tests.controlplane.api import OURS, Answer, Api, path
from tests.controlplane.cluster import Cluster

PAUSE = 0.2
PATIENCE = 15.0  # above the 10 s after which the API server gives up on a webhook
IN_THE_END = 90.0
"""Seconds within which an approved change has to succeed, tried again every second as an agent would."""

GONE_WITHIN = 120.0
"""Seconds that the namespace controller may take."""

WORKPLACE = "workplace"
USERS = ("kiro", "rogue", "admin", "alice", "bob", "dave")
PRECIOUS = ("precious-1", "precious-2")
"""Namespaces that nobody ever signs for: they must be there in the end, with the UIDs that they had."""

Json = dict[str, Any]


def body(kind: str, name: str, *, api: str = "v1", **parts: Any) -> Json:
    return {"apiVersion": api, "kind": kind, "metadata": {"name": name}, **parts}


def deployment(name: str, image: str, *, replicas: int) -> Json:
    labels = {"app": name}
    container = {"name": "app", "image": image, "imagePullPolicy": "IfNotPresent"}
    pod = {"metadata": {"labels": labels}, "spec": {"containers": [container], "terminationGracePeriodSeconds": 0}}
    return body("Deployment", name, api="apps/v1", spec={"replicas": replicas, "selector": {"matchLabels": labels}, "template": pod})


def fresh(word: str) -> str:
    return f"{word}-{secrets.token_hex(4)}"


@dataclass
class Actor:
    """One user's thread: asks, and writes into the ledger what came of it."""

    ledger: Ledger
    api: Api
    stopped: threading.Event

    def ask(self, who: Who, what: str, judge: Callable[[Answer | None], Verdict], method: str, url: str, **parts: Any) -> Answer | None:
        begun = time.monotonic()
        try:
            answer = self.api.request(method, url, **parts)
        except httpx.TransportError:
            answer = None
        self.ledger.asked.append(Asked(who, what, begun, time.monotonic(), judge(answer), said(answer)))
        return answer

    def ordinary(self, who: Who, method: str, url: str, **parts: Any) -> Answer | None:
        """Something that is none of our business; asked again where the API server itself failed, as every client would."""
        deadline = time.monotonic() + IN_THE_END
        judge: Callable[[Answer | None], Verdict] = self.ledger.ordinary
        while True:
            answer = self.ask(who, f"{method} {url}", judge, method, url, **parts)
            if judge(answer) is Verdict.RIGHT or not self.ledger.touches_server or time.monotonic() > deadline:
                return answer
            judge = self._done_already
            time.sleep(0.5)

    def _done_already(self, answer: Answer | None) -> Verdict:
        """Where the answer to the first attempt got lost, the second one may find it done."""
        if answer is not None and answer.status in (httpx.codes.CONFLICT, httpx.codes.NOT_FOUND):
            return Verdict.RIGHT
        return self.ledger.ordinary(answer)

    def pause(self) -> None:
        self.stopped.wait(PAUSE)


class Load:
    """A context manager: at its end every change that was begun is brought to its end, or given up after IN_THE_END seconds."""

    def __init__(self, cluster: Cluster, ledger: Ledger) -> None:
        self._cluster = cluster
        self._ledger = ledger
        self._stopped = threading.Event()
        self._apis = {user: Api(kubeconfig.load(cluster.paths.user(user)), timeout=PATIENCE) for user in USERS}
        self._threads: list[threading.Thread] = []
        self.failures: list[str] = []
        """Threads that died or never ended: load that was missing."""

    def __enter__(self) -> Self:
        self._begin("kiro", self._destroys)
        self._begin("rogue", self._destroys)
        self._begin("kiro", self._deletes_what_is_signed)
        self._begin("rogue", self._deletes_what_is_signed)
        self._begin("kiro", self._works)
        self._begin("dave", self._lives)
        self._begin("alice", self._lives)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join(4 * IN_THE_END)
        alive = [thread.name for thread in self._threads if thread.is_alive()]
        for api in self._apis.values():
            api.close()
        if alive:
            self.failures.append(f"never ended: {', '.join(alive)}")

    def _actor(self, user: str) -> Actor:
        return Actor(self._ledger, self._apis[user], self._stopped)

    def _begin(self, user: str, work: Callable[[Actor], None]) -> None:
        actor = self._actor(user)

        def run() -> None:
            try:
                while not self._stopped.is_set():
                    work(actor)
                    actor.pause()
            except Exception as error:  # noqa: BLE001  (a thread that dies in silence would be load that is missing)
                self.failures.append(f"{user}: {error!r}")

        thread = threading.Thread(target=run, name=f"{user} {work.__name__.strip('_')}", daemon=True)
        self._threads.append(thread)
        thread.start()

    # --- agents -------------------------------------------------------------------------------

    def _destroys(self, actor: Actor) -> None:
        for name in PRECIOUS:
            for params in ({}, {"dryRun": "All"}):
                actor.ask(Who.GUARDED, f"delete {name}", self._ledger.unsigned, "DELETE", path("namespaces", name), params=params)
                actor.pause()

    def _works(self, actor: Actor) -> None:
        """Unguarded writes and deployments."""
        self._life_of(actor, Who.AGENTS, WORKPLACE)

    def _life_of(self, actor: Actor, who: Who, namespace: str) -> None:
        name = fresh("app")
        maps, deployments = path("configmaps", namespace=namespace), path("deployments", namespace=namespace)
        actor.ordinary(who, "POST", maps, body=body("ConfigMap", name, data={"a": "1"}))
        actor.pause()
        actor.ordinary(who, "POST", deployments, body=deployment(name, "none", replicas=0))
        actor.pause()
        patch: Json = {"metadata": {"annotations": {"example.com/by": actor.api.user}}}
        actor.ordinary(who, "PATCH", f"{deployments}/{name}", body=patch, content_type="application/merge-patch+json")
        actor.pause()
        actor.ordinary(who, "DELETE", f"{deployments}/{name}")
        actor.ordinary(who, "DELETE", f"{maps}/{name}")

    # --- an approved deletion ------------------------------------------------------------------

    def _deletes_what_is_signed(self, actor: Actor) -> None:
        change = Change(fresh("signed"))
        self._ledger.changes.append(change)
        admin, bob, sponsor = self._actor("admin"), self._actor("bob"), self._actor("alice")
        url = path("namespaces", change.name)
        admin.ordinary(Who.PEOPLE, "POST", path("namespaces"), body=body("Namespace", change.name))
        request = self._refused(actor, url, change)
        if not request:
            return
        statement = self._statement(bob, request)
        sponsor.ask(
            Who.SIGNING,
            f"the sponsor signs {request}",
            self._ledger.sponsors_signature,
            "POST",
            path("approvals"),
            body=self._approval(request, "alice", statement),
        )
        approval = self._approval(request, "bob", statement)
        change.signed = self._try(
            lambda: bob.ask(Who.SIGNING, f"bob signs {request}", self._ledger.signature, "POST", path("approvals"), body=approval),
            self._ledger.signature,
        )
        if not change.signed:
            return
        change.executed = self._try(
            lambda: actor.ask(Who.APPROVED, f"delete {change.name}", self._deleted, "DELETE", url),
            self._deleted,
        )
        if not change.executed or not self._gone(admin, url):
            return
        admin.ordinary(Who.PEOPLE, "POST", path("namespaces"), body=body("Namespace", change.name))
        change.refused_again = bool(self._refused(actor, url, change))
        admin.ordinary(Who.PEOPLE, "DELETE", url)

    def _refused(self, actor: Actor, url: str, change: Change) -> str:
        """Until an answer names the change request."""
        for answer in self._attempts(
            lambda: actor.ask(Who.GUARDED, f"delete {change.name}, unsigned", self._ledger.unsigned, "DELETE", url)
        ):
            verdict = self._ledger.unsigned(answer)
            if answer is not None and verdict is Verdict.RIGHT:
                return cause(answer, "changeRequest").partition("/")[2]
            if verdict is Verdict.WRONG:
                break
        return ""

    def _deleted(self, answer: Answer | None) -> Verdict:
        """An attempt whose answer got lost may have been carried out."""
        if answer is not None and answer.status in (httpx.codes.NOT_FOUND, httpx.codes.CONFLICT):
            return Verdict.RIGHT
        return self._ledger.signed(answer)

    def _statement(self, reader: Actor, request: str) -> str:
        for answer in self._attempts(lambda: reader.ordinary(Who.PEOPLE, "GET", path("changerequests", request))):
            if answer is not None and answer.ok:
                return str(answer.body["spec"]["statement"])
        return ""

    def _approval(self, request: str, who: str, statement: str) -> Json:
        spec = {
            "changeRequest": request,
            "reviewer": who,
            "decision": "Approve",
            "comment": "said the chaos",
            "signature": self._cluster.sign(who, statement),
        }
        return body("Approval", f"{request[:200]}-{who}", api=f"{OURS}/v1alpha1", spec=spec)

    def _gone(self, admin: Actor, url: str) -> bool:
        deadline = time.monotonic() + GONE_WITHIN
        while time.monotonic() < deadline:
            try:
                if admin.api.request("GET", url).status == httpx.codes.NOT_FOUND:
                    return True
            except httpx.TransportError:
                pass
            time.sleep(0.5)
        return False

    def _try(self, ask: Callable[[], Answer | None], judge: Callable[[Answer | None], Verdict]) -> bool:
        return any(judge(answer) is Verdict.RIGHT for answer in self._attempts(ask))

    def _attempts(self, ask: Callable[[], Answer | None]) -> Iterator[Answer | None]:
        """Once a second, for IN_THE_END seconds."""
        deadline = time.monotonic() + IN_THE_END
        while time.monotonic() < deadline:
            yield ask()
            time.sleep(1)

    # --- people -------------------------------------------------------------------------------

    def _lives(self, actor: Actor) -> None:
        """Makes a namespace, works in it, deletes it: under protectFrom Agents nobody asks a human for signatures."""
        name = fresh("own")
        actor.ordinary(Who.PEOPLE, "POST", path("namespaces"), body=body("Namespace", name))
        actor.pause()
        self._life_of(actor, Who.PEOPLE, name)
        actor.pause()
        actor.ordinary(Who.PEOPLE, "DELETE", path("namespaces", name))
