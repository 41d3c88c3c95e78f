"""Small helpers for the end-to-end suites: an agent asks, people sign, and what Countersign makes of it is read."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx

from countersign.domain import statement
from tests.controlplane import chart, waiting
from tests.controlplane.api import OURS, Answer, path
from tests.controlplane.cluster import APPROVE, REJECT, Cluster
from tests.support.authenticator import SoftwareAuthenticator

_DENIED: Final = re.compile(r'\Aadmission webhook "[^"]+" denied the request: ')
_SECONDS: Final = 20.0

Key = Path | SoftwareAuthenticator


@dataclass(frozen=True, slots=True)
class Person:
    """`name` is the Reviewer's, `user` the kubeconfig's. The first key is the one signed with if none is named."""

    name: str
    user: str
    keys: Mapping[str, Key]

    def key(self, name: str | None = None) -> Key:
        return self.keys[name or next(iter(self.keys))]


@dataclass(frozen=True, slots=True)
class Reply:
    """What the API server answered, taken apart."""

    answer: Answer

    @property
    def ok(self) -> bool:
        return self.answer.ok

    @property
    def message(self) -> str:
        """Countersign's own words, without the API server's before them."""
        return _DENIED.sub("", str(self.answer.body.get("message", "")))

    @property
    def causes(self) -> dict[str, str]:
        causes = self.answer.body.get("details", {}).get("causes", [])
        return {cause.get("reason", ""): cause.get("message", "") for cause in causes}

    @property
    def outcome(self) -> str:
        return self.causes.get("outcome", "")

    @property
    def fault(self) -> str:
        return self.causes.get("fault", "")

    @property
    def signature(self) -> str:
        """What is wrong with a refused signature."""
        return self.causes.get("signature", "")

    @property
    def request(self) -> str:
        """The change request's name."""
        return self.causes.get("changeRequest", "").removeprefix(f"changerequests.{OURS}/")

    def __str__(self) -> str:
        return f"{self.answer.status} {self.causes} {self.answer.body.get('message', '')}"


@dataclass
class Story:
    """One session's names on one cluster. `run` tells them from those of other sessions."""

    cluster: Cluster
    run: str
    _count: int = 0
    _made: list[str] = field(default_factory=list)

    # --- the stage ----------------------------------------------------------------------------

    def name(self, word: str) -> str:
        """A name that nobody has had."""
        self._count += 1
        return f"{word}-{self.run}-{self._count}"

    def namespace(self, name: str | None = None, *, labels: Mapping[str, str] | None = None) -> str:
        """A new namespace, made by the admin."""
        name = name or self.name("payments")
        self.cluster.api.create(path("namespaces"), {"metadata": {"name": name, "labels": dict(labels or {})}})
        self._made.append(path("namespaces", name))
        return name

    def claim(self, namespace: str, name: str = "ledger") -> str:
        """A PersistentVolumeClaim; returns its path."""
        spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "storageClassName": "none"}
        self.cluster.api.create(path("persistentvolumeclaims", namespace=namespace), {"metadata": {"name": name}, "spec": spec})
        return path("persistentvolumeclaims", name, namespace=namespace)

    def load_balancer(self, namespace: str, name: str = "front") -> str:
        """A Service of type LoadBalancer; returns its path."""
        spec = {"type": "LoadBalancer", "ports": [{"port": 80}], "selector": {"app": name}}
        self.cluster.api.create(path("services", namespace=namespace), {"metadata": {"name": name}, "spec": spec})
        return path("services", name, namespace=namespace)

    @contextmanager
    def environment(self, word: str, *, protect_from: str = "Agents", **approvals: Any) -> Iterator[str]:
        """An environment over the namespaces of `in_environment`, in force on entry and gone on exit."""
        name = self.name(word)
        spec = {
            "namespaces": {"selector": {"matchLabels": {label_of(name): "yes"}}},
            "protectFrom": protect_from,
            "approvals": approvals,
        }
        self.cluster.api.create(path("protectedenvironments"), manifest("ProtectedEnvironment", name, spec))
        try:
            probe = self.in_environment(name)
            waiting.until(lambda: name in self.holders(probe), f"the webhook was to know the environment {name}", timeout=_SECONDS)
            waiting.until(lambda: self._in_force(name), f"the API server was to be told of the environment {name}", timeout=_SECONDS)
            if protect_from != "Agents":
                held = path("namespaces", probe)
                waiting.until(
                    lambda: self.delete("admin", held, dryRun="All").outcome == "DryRun",
                    f"the API server was to know the environment {name}",
                    timeout=_SECONDS,
                )
            yield name
        finally:
            self.remove(path("protectedenvironments", name))

    def _in_force(self, environment: str) -> bool:
        found = self.cluster.api.get(path("protectedenvironments", environment)).get("status", {}).get("conditions", [])
        return any(each["type"] == "InForce" and each["status"] == "True" for each in found)

    def in_environment(self, *environments: str) -> str:
        """A namespace in environments made by `environment`."""
        return self.namespace(labels={label_of(name): "yes" for name in environments})

    def holders(self, namespace: str) -> list[str]:
        """The environments that hold back kiro's deletion of a namespace, by the webhook's own record of a dry run."""
        self.delete("kiro", path("namespaces", namespace), dryRun="All")
        return list(self.decisions(namespace)[-1]["environments"])

    def agent(self, word: str, *, sponsors: tuple[str, ...]) -> str:
        """A new agent with the chart's agent role, already recognised on return."""
        name = self.name(word)
        self.cluster.new_agent(name, sponsors=sponsors)
        self._made.append(path("agentidentities", name))
        agents = path("namespaces", "agents")
        waiting.until(
            lambda: self.delete(name, agents, dryRun="All").outcome == "DryRun", f"the agent {name} was to be recognised", timeout=_SECONDS
        )
        return name

    def remove(self, url: str) -> None:
        """Deletes as alice; where that is held back, bob and carol sign."""
        reply = self.delete("alice", url)
        if reply.outcome == "Pending":
            required = self.request(reply.request)["spec"]["required"]
            self.signed(reply.request, *self.harness_reviewers()[:required])
            reply = self.delete("alice", url)
        assert reply.ok or reply.answer.status == httpx.codes.NOT_FOUND, str(reply)

    def clear_up(self) -> None:
        """Takes away what another session on this cluster could trip over; namespaces go in their own time."""
        while self._made:
            self.remove(self._made.pop())

    def harness_reviewers(self) -> tuple[Person, Person]:
        """bob and carol, who are there from the beginning."""
        bob, carol = (Person(name, name, {"main": self.cluster.paths.ssh / name}) for name in ("bob", "carol"))
        return bob, carol

    # --- asking -------------------------------------------------------------------------------

    def send(self, user: str, method: str, url: str, body: Any = None, **params: Any) -> Reply:
        return Reply(self.cluster.api_as(user).request(method, url, body, params))

    def delete(self, user: str, url: str, **params: Any) -> Reply:
        return self.send(user, "DELETE", url, **params)

    def ask(self, user: str, url: str) -> str:
        """A deletion that has to be refused until people have signed. Returns the change request's name."""
        reply = self.delete(user, url)
        assert not reply.ok, f"{user} was let through: DELETE {url}"
        assert reply.outcome == "Pending", str(reply)
        return reply.request

    def passes(self, user: str, url: str) -> None:
        reply = self.delete(user, url)
        assert reply.ok, str(reply)

    # --- reading ------------------------------------------------------------------------------

    def request(self, name: str) -> dict[str, Any]:
        return self.cluster.api.get(path("changerequests", name))

    def requests_for(self, target: str) -> list[dict[str, Any]]:
        """The change requests about objects of this name."""
        return self.cluster.api.list(path("changerequests"), fieldSelector=f"spec.target.name={target}")

    def approvals(self, request: str) -> list[dict[str, Any]]:
        return self.cluster.api.list(path("approvals"), fieldSelector=f"spec.changeRequest={request}")

    def decisions(self, target: str) -> list[dict[str, Any]]:
        """What the webhook recorded about objects of this name."""
        return [record for record in self.cluster.decisions() if record.get("target", {}).get("name") == target]

    def events(self, request: str) -> list[dict[str, Any]]:
        """The Events on a change request; those of cluster-scoped objects lie in `default`."""
        return self.cluster.api.list(path("events", namespace="default"), fieldSelector=f"involvedObject.name={request}")

    # --- signing ------------------------------------------------------------------------------

    def signature(self, key: Key, text: str, namespace: str = APPROVE) -> str:
        if isinstance(key, SoftwareAuthenticator):
            return key.sign(text.encode(), namespace)
        return self.cluster.sign(key, text, namespace)

    def approve(self, request: str, person: Person, *, key: str | None = None, name: str | None = None) -> Reply:
        """As people do it: read the statement, sign it, create the Approval."""
        return self.bring(request, person, self.signature(person.key(key), self.request(request)["spec"]["statement"]), name=name)

    def reject(self, request: str, person: Person, comment: str) -> Reply:
        signature = self.signature(person.key(), self.request(request)["spec"]["statement"], REJECT)
        return self.bring(request, person, signature, decision="Reject", comment=comment)

    def bring(
        self,
        request: str,
        person: Person,
        signature: str,
        *,
        by: str | None = None,
        decision: str = "Approve",
        comment: str = "",
        name: str | None = None,
        **params: Any,
    ) -> Reply:
        """Creates an Approval that says it is this person's; `by` is the user who brings it, if another."""
        body = approval(request, person.name, signature, decision=decision, comment=comment, name=name)
        return self.send(by or person.user, "POST", path("approvals"), body, **params)

    def signed(self, request: str, *people: Person) -> None:
        """These people sign, and it is taken."""
        for person in people:
            reply = self.approve(request, person)
            assert reply.ok, str(reply)

    # --- waiting for the operator -------------------------------------------------------------

    def wait_for(self, request: str, outcome: str, timeout: float = _SECONDS) -> dict[str, Any]:
        """Until the operator shows this outcome; returns the status."""
        return self.wait_for_status(request, lambda status: status.get("outcome") == outcome, f"outcome {outcome}", timeout)

    def wait_for_status(
        self, request: str, holds: Callable[[dict[str, Any]], bool], what: str, timeout: float = _SECONDS
    ) -> dict[str, Any]:
        """Until the operator's status holds; returns it."""
        deadline = time.monotonic() + timeout
        while True:
            status: dict[str, Any] = self.request(request).get("status", {})
            if holds(status):
                return status
            assert time.monotonic() < deadline, f"{request} was to show {what} within {timeout:.0f} s; its status: {status}"
            time.sleep(0.1)

    def wait_for_events(self, request: str, wanted: set[str]) -> set[str]:
        """Until Events with these reasons are there; returns all reasons."""
        found: set[str] = set()

        def told() -> bool:
            found.update(event["reason"] for event in self.events(request))
            return wanted <= found

        waiting.until(told, f"Events {sorted(wanted)} on {request}", timeout=_SECONDS, explain=lambda: f"    there are {sorted(found)}")
        return found

    def wait_gone(self, url: str, timeout: float = 60) -> None:
        waiting.until(lambda: not self.cluster.api.exists(url), f"{url} was to be gone", timeout=timeout)

    def name_to_be(self, user: str, namespace: Mapping[str, Any]) -> str:
        """The name that the change request of an agent's deletion would have, computed as the rules say."""
        metadata, username = namespace["metadata"], f"system:serviceaccount:agents:{user}"
        digest = statement.act(
            cluster_uid=self.cluster.uid,
            operation="DELETE",
            group="",
            resource="namespaces",
            namespace="",
            name=metadata["name"],
            uid=metadata["uid"],
            old=statement.digest_deleted(namespace),
            new="",
            requester_key=username,
        )
        names = statement.names(operation="DELETE", resource="namespaces", namespace="", name=metadata["name"], act=digest, round_=1)
        return next(names)

    # --- straight at the webhook --------------------------------------------------------------

    def post_review(self, review: dict[str, Any]) -> Answer:
        """Posts to the webhook as anybody with network reach could; on kind through the API server's service proxy."""
        if not self.cluster.is_local:
            url = f"/api/v1/namespaces/{chart.NAMESPACE}/services/https:countersign-webhook:https/proxy/validate"
            return self.cluster.api.request("POST", url, review)
        [url, *_] = [webhook["clientConfig"]["url"] for webhook in chart.registered(self.cluster.api)]
        answer = httpx.post(url, json=review, verify=False, timeout=15, trust_env=False)
        return Answer(answer.status_code, answer.json(), [])

    def webhook_account(self) -> str:
        """The user whose token is the webhook's own: what somebody holds who has broken into its pod."""
        return self.account("countersign-webhook")

    def account(self, name: str) -> str:
        """The same for another account of ours."""
        return self.cluster.new_service_account(name, namespace=chart.NAMESPACE)


def manifest(kind: str, name: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    return {"apiVersion": f"{OURS}/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": dict(spec)}


def approval(
    request: str, reviewer: str, signature: str, *, decision: str = "Approve", comment: str = "", name: str | None = None
) -> dict[str, Any]:
    spec = {"changeRequest": request, "reviewer": reviewer, "decision": decision, "comment": comment, "signature": signature}
    return manifest("Approval", name or f"{request}-{reviewer}"[:253], spec)


def label_of(environment: str) -> str:
    """The label by which an environment of these suites selects."""
    return f"e2e.example.com/{environment}"


def condition(status: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """A condition, empty where it is absent."""
    found: dict[str, Any] = next((each for each in status.get("conditions", []) if each["type"] == kind), {})
    return found


def review(operation: str, user: Mapping[str, Any], old: Mapping[str, Any], *, dry_run: bool = False) -> dict[str, Any]:
    """An AdmissionReview about a Namespace, as the API server writes them."""
    metadata = old["metadata"]
    return {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
            "kind": {"group": "", "version": "v1", "kind": "Namespace"},
            "resource": {"group": "", "version": "v1", "resource": "namespaces"},
            "name": metadata["name"],
            "namespace": metadata["name"],
            "operation": operation,
            "userInfo": dict(user),
            "object": None,
            "oldObject": {"apiVersion": "v1", "kind": "Namespace", **old},
            "dryRun": dry_run,
        },
    }
