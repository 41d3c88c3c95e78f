"""What the suites about surface, faults and guards have in common: objects to lose, requests as anybody, signatures, spoilt processes."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import httpx

from tests.controlplane import chart, ports, processes, up, waiting
from tests.controlplane.api import Answer, Api, ApiError, path
from tests.controlplane.cluster import APPROVE, REJECT, Cluster
from tests.controlplane.errors import last_lines_of
from tests.controlplane.localbackend import LocalBackend, is_ready
from tests.controlplane.paths import ROOT
from tests.controlplane.progress import Progress

OURS = "kube-countersign.dev"
PROTECTED, CREATED_BY, AGENT, REASON = (f"{OURS}/{name}" for name in ("protected", "created-by", "agent", "reason"))
TEAM = "example.com/team"
PATIENCE = 30.0
TICK = 1.0  # about what the API server takes to put a changed policy in force (facts of apiserver's policy source)

Json = dict[str, Any]


def unique(word: str) -> str:
    return f"{word}-{secrets.token_hex(3)}"


def until(condition: Callable[[], bool], what: str, *, timeout: float = PATIENCE, explain: Callable[[], str] = lambda: "") -> None:
    waiting.until(condition, what, timeout=timeout, explain=explain)


# --- objects ----------------------------------------------------------------------------------


def manifest(kind: str, name: str, *, api: str = "v1", labels: Mapping[str, str] | None = None, **parts: Any) -> Json:
    metadata: Json = {"name": name} | ({"labels": dict(labels)} if labels else {})
    return {"apiVersion": api, "kind": kind, "metadata": metadata, **parts}


def make_namespace(cluster: Cluster, word: str, labels: Mapping[str, str] | None = None, *, user: str = "admin") -> str:
    name = unique(word)
    cluster.api_as(user).create(path("namespaces"), manifest("Namespace", name, labels=labels))
    return name


def claim(name: str, **metadata: Any) -> Json:
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}, "storageClassName": "none"}
    body = manifest("PersistentVolumeClaim", name, spec=spec)
    body["metadata"] |= metadata
    return body


def volume(name: str) -> Json:
    spec = {
        "capacity": {"storage": "1Mi"},
        "accessModes": ["ReadWriteOnce"],
        "hostPath": {"path": "/tmp/none"},
        "storageClassName": "none",
        "persistentVolumeReclaimPolicy": "Retain",
    }
    return manifest("PersistentVolume", name, spec=spec)


def definition(kind: str, group: str, *, scope: str = "Namespaced") -> Json:
    """A CustomResourceDefinition with any content."""
    plural = f"{kind.lower()}s"
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    return manifest(
        "CustomResourceDefinition",
        f"{plural}.{group}",
        api="apiextensions.k8s.io/v1",
        spec={
            "group": group,
            "scope": scope,
            "names": {"kind": kind, "plural": plural, "singular": kind.lower()},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": schema}],
        },
    )


def environment(name: str, team: str, protect_from: str, **spec: Any) -> Json:
    """A ProtectedEnvironment over the namespaces of a team."""
    selector = {"matchLabels": {TEAM: team}}
    return manifest(
        "ProtectedEnvironment",
        name,
        api=f"{OURS}/v1alpha1",
        spec={"namespaces": {"selector": selector}, "protectFrom": protect_from, **spec},
    )


def user_subject(username: str) -> Json:
    return {"kind": "User", "name": username}


ADMIN = user_subject("kubernetes-admin")  # excepted in environments of these suites, so that they can clear up


# --- asking -----------------------------------------------------------------------------------


def cause(answer: Answer, name: str) -> str:
    """One of a refusal's facts for machines, "" where it has none of that name."""
    causes = answer.body.get("details", {}).get("causes", [])
    return next((str(each["message"]) for each in causes if each.get("reason") == name), "")


def request_named_in(answer: Answer) -> str:
    """The change request that a refusal names."""
    kind, _, name = cause(answer, "changeRequest").partition("/")
    assert kind == f"changerequests.{OURS}", f"no change request is named: {answer.status} {answer.body.get('message')}"
    return name


def message(answer: Answer) -> str:
    return str(answer.body.get("message", ""))


def is_allowed(answer: Answer) -> bool:
    return answer.ok


def delete(cluster: Cluster, user: str, url: str, *, dry_run: bool = False) -> Answer:
    return cluster.api_as(user).request("DELETE", url, params={"dryRun": "All"} if dry_run else None)


def delete_namespace(cluster: Cluster, user: str, name: str, *, dry_run: bool = False) -> Answer:
    return delete(cluster, user, path("namespaces", name), dry_run=dry_run)


def patch(cluster: Cluster, user: str, url: str, body: Any, *, dry_run: bool = False) -> Answer:
    params = {"dryRun": "All"} if dry_run else None
    return cluster.api_as(user).request("PATCH", url, body, params, "application/merge-patch+json")


def held(answer: Answer) -> str:
    """Demands a refusal that waits for signatures; returns its change request."""
    assert answer.status == httpx.codes.FORBIDDEN, f"not held: {answer.status} {message(answer)}"
    assert cause(answer, "outcome") == "Pending", message(answer)
    return request_named_in(answer)


def allowed(answer: Answer) -> None:
    assert answer.ok, f"not let through: {answer.status} {message(answer)}"


def wait_refused(ask: Callable[[], Answer], what: str) -> None:
    """Until a (dry-run) request is refused: a new environment or identity is compiled by the operator and taken up by the API server."""
    last: list[Answer] = []

    def refused() -> bool:
        last[:] = [ask()]
        return last[0].status == httpx.codes.FORBIDDEN

    until(refused, f"{what} was to be refused", explain=lambda: message(last[0]) if last else "")


def wait_allowed(ask: Callable[[], Answer], what: str) -> None:
    last: list[Answer] = []

    def passed() -> bool:
        last[:] = [ask()]
        return last[0].ok

    until(passed, f"{what} was to be let through", explain=lambda: message(last[0]) if last else "")


def wait_gone(api: Api, url: str, *, timeout: float = PATIENCE) -> None:
    until(lambda: not api.exists(url), f"{url} was to go", timeout=timeout)


# --- signing ----------------------------------------------------------------------------------


def sign_off(cluster: Cluster, request: str, who: str = "bob", *, reject: bool = False, key: str | Path = "", reviewer: str = "") -> Answer:
    """A signed Approval (or rejection) by a person, brought by that person's own login."""
    api = cluster.api_as(who)
    statement = api.get(path("changerequests", request))["spec"]["statement"]
    spec = {
        "changeRequest": request,
        "reviewer": reviewer or who,
        "decision": "Reject" if reject else "Approve",
        "comment": "said the test",
        "signature": cluster.sign(key or who, statement, REJECT if reject else APPROVE),
    }
    body = manifest("Approval", f"{request[:200]}-{who}-{secrets.token_hex(2)}", api=f"{OURS}/v1alpha1", spec=spec)
    return api.request("POST", path("approvals"), body)


def approve(cluster: Cluster, request: str, *who: str) -> None:
    for person in who or ("bob",):
        answer = sign_off(cluster, request, person)
        assert answer.ok, f"{person} may not sign {request}: {message(answer)}"


def reject(cluster: Cluster, request: str, who: str = "bob") -> None:
    answer = sign_off(cluster, request, who, reject=True)
    assert answer.ok, f"{who} may not reject {request}: {message(answer)}"


def approvals_of(api: Api, request: str) -> list[Json]:
    return api.list(path("approvals"), fieldSelector=f"spec.changeRequest={request}")


# --- what was counted and recorded ------------------------------------------------------------


def received(cluster: Cluster) -> float:
    """How many requests have reached the webhook, over all its replicas."""
    return sum(
        float(line.split()[-1]) for line in cluster.webhook_metrics().splitlines() if line.startswith("countersign_webhook_requests_total")
    )


def annotations_of(event: Mapping[str, Any]) -> Mapping[str, str]:
    found: Mapping[str, str] = event.get("annotations") or {}
    return found


def audit_of(cluster: Cluster, what: str, matches: Callable[[Json], bool]) -> Json:
    """The newest audit event of that kind; the API server writes it a moment after it has answered."""
    found: list[Json] = []

    def there() -> bool:
        found[:] = [event for event in cluster.audit() if matches(event)]
        return bool(found)

    until(there, f"the audit log was to tell of {what}", timeout=10)
    return found[-1]


def decision_of(cluster: Cluster, what: str, matches: Callable[[Json], bool]) -> Json:
    """The newest record of that kind in the decision log."""
    found: list[Json] = []

    def there() -> bool:
        found[:] = [record for record in cluster.decisions() if "decision" in record and matches(record)]
        return bool(found)

    until(there, f"the decision log was to tell of {what}", timeout=10)
    return found[-1]


def is_about(record: Mapping[str, Any], resource: str, name: str) -> bool:
    """Whether a decision is about that object; what the authorizer denied is about none."""
    target = record.get("target", {})
    return (target.get("resource"), target.get("name")) == (resource, name)


# --- settings ---------------------------------------------------------------------------------


@contextmanager
def patched(api: Api, url: str, spec: Mapping[str, Any]) -> Iterator[None]:
    """An object of ours with another spec for a while; the fields that `spec` names are put back as they were."""
    before = api.get(url)["spec"]
    api.patch(url, {"spec": dict(spec)})
    try:
        yield
    finally:
        api.patch(url, {"spec": {name: before.get(name) for name in spec}})


@contextmanager
def kept(api: Api, collection: str, body: Json) -> Iterator[str]:
    """An object that is there for a while. Returns its URL."""
    url = f"{collection}/{body['metadata']['name']}"
    api.create(collection, body)
    try:
        yield url
    finally:
        answer = api.request("DELETE", url)
        if not answer.ok and answer.status != httpx.codes.NOT_FOUND:
            raise ApiError(answer, f"DELETE {url} as {api.user}")


def wait_level(cluster: Cluster, namespace: str, level: str | None) -> None:
    """Until the operator has labelled a namespace with what protects it."""

    def labelled() -> bool:
        labels = cluster.api.get(path("namespaces", namespace))["metadata"].get("labels", {})
        return bool(labels.get(PROTECTED) == level)

    until(labelled, f"the namespace {namespace} was to be labelled {PROTECTED}={level}")


# --- while something is going on --------------------------------------------------------------


@dataclass
class Hammer:
    """One request after the other, from a thread of its own, for as long as the block lasts; every answer is kept."""

    ask: Callable[[], Answer]
    pause: float = 0.05
    answers: list[tuple[float, Answer]] = field(default_factory=list)
    unanswered: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        assert self._thread is not None
        self._thread.join(60)
        assert not self._thread.is_alive(), "a request was never answered"

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self.answers.append((time.monotonic(), self.ask()))
            except httpx.TransportError:
                self.unanswered += 1
            self._stop.wait(self.pause)

    def none_allowed(self) -> None:
        assert self.answers, "nothing was asked"
        through = [answer for _, answer in self.answers if answer.ok]
        assert not through, f"{len(through)} of {len(self.answers)} were let through"


# --- processes --------------------------------------------------------------------------------


def local(cluster: Cluster) -> LocalBackend:
    return cluster._local("a process of its own")


@dataclass(frozen=True)
class ExtraOperator:
    record: Path
    base: str
    log: Path

    def ready(self) -> bool:
        return is_ready(self.base)

    @property
    def pid(self) -> int:
        identity = processes.read(self.record)
        assert identity is not None
        return identity.pid


@contextmanager
def extra_operator(cluster: Cluster, **env: str) -> Iterator[ExtraOperator]:
    """A second operator process. Local only."""
    backend = local(cluster)
    [port] = ports.choose(1)
    name = f"operator-{port}"
    extra = ExtraOperator(cluster.paths.run / name, f"http://127.0.0.1:{port}", cluster.paths.logs / f"{name}.log")
    environment_ = backend.environment("operator", port) | env
    command = [sys.executable, "-m", "countersign", "operator"]
    processes.start(extra.record, command, env=environment_, output=extra.log, errors=extra.log, cwd=ROOT)
    try:
        yield extra
    finally:
        processes.stop(extra.record)


def explain_log(file: Path) -> Callable[[], str]:
    return lambda: last_lines_of(file)


# --- installing -------------------------------------------------------------------------------


def helm(
    cluster: Cluster, user: str, *arguments: str | Path, values: Mapping[str, Any] | None = None, timeout: float = 120
) -> subprocess.CompletedProcess[str]:
    """The real helm as a user; `values` go in by stdin."""
    homes = {f"HELM_{name}_HOME": str(cluster.paths.state / "helm") for name in ("CACHE", "CONFIG", "DATA")}
    given: list[str | Path] = [] if values is None else ["--values", "-"]
    return subprocess.run(
        [cluster.paths.bin / "helm", *arguments, "--kubeconfig", cluster.paths.user(user), *given],
        input=json.dumps(values) if values is not None else "",
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": os.environ["PATH"], "HOME": str(cluster.paths.state), **homes},
        timeout=timeout,
    )


def uninstall(cluster: Cluster, user: str = "alice") -> None:
    """`helm uninstall`, and the processes that no pod runs are stopped as a node would stop them."""
    if cluster.is_local:
        cluster.stop_webhook()
        cluster.stop_operator()
    answer = helm(cluster, user, "uninstall", chart.RELEASE, "--namespace", chart.NAMESPACE, "--wait")
    assert answer.returncode == 0, answer.stderr
    until(lambda: not left_behind(cluster.api), "the garbage collector was to follow", explain=lambda: str(left_behind(cluster.api)))
    # The API server goes by a policy for a moment after it is gone, each by itself.
    for what, ask in _held_by_each_guard(cluster).items():
        wait_allowed(ask, what)


def _held_by_each_guard(cluster: Cluster) -> dict[str, Callable[[], Answer]]:
    """A dry run of something that each guard holds back."""
    owner = {"apiVersion": "v1", "kind": "Node", "name": "absent", "uid": "00000000-0000-4000-8000-000000000000"}
    owned = manifest("Namespace", unique("owned"))
    owned["metadata"]["ownerReferences"] = [owner]
    mine = manifest("ConfigMap", unique("mine"))
    definition = path("customresourcedefinitions", f"approvals.{OURS}")
    return {
        "the deletion of Approvals": lambda: delete(cluster, "admin", path("approvals"), dry_run=True),
        "the deletion of a definition": lambda: delete(cluster, "admin", definition, dry_run=True),
        "a namespace with an owner": lambda: cluster.api.request("POST", path("namespaces"), owned, {"dryRun": "All"}),
        "an agent's deletion of an identity": lambda: delete(cluster, "rogue", path("agentidentities", "kiro"), dry_run=True),
        "an agent's deletion of a namespace": lambda: delete(cluster, "rogue", path("namespaces", "agents"), dry_run=True),
        "an agent's write in our namespace": lambda: cluster.api_as("rogue").request(
            "POST", path("configmaps", namespace=chart.NAMESPACE), mine, {"dryRun": "All"}
        ),
    }


GUARDS = (
    "validatingwebhookconfigurations",
    "validatingadmissionpolicies",
    "validatingadmissionpolicybindings",
    "mutatingadmissionpolicies",
    "mutatingadmissionpolicybindings",
)


def guards(api: Api) -> set[str]:
    """What of ours lies in admissionregistration.k8s.io, as `collection/name`. Below Kubernetes 1.36 some of it is not served."""
    served = {resource["name"] for resource in api.get("/apis/admissionregistration.k8s.io/v1")["resources"]} & set(GUARDS)
    return {f"{kind}/{name}" for kind in served for name in set_of(api.list(path(kind))) if name.startswith("countersign")}


def left_behind(api: Api) -> set[str]:
    """What the two processes have made: the guards, the Lease, the webhook's certificate, notes and the list of heads."""
    own = {
        path("leases", "countersign-operator", namespace=chart.NAMESPACE),
        path("secrets", "countersign-webhook-tls", namespace=chart.NAMESPACE),
        path("secrets", "countersign-webhook-ca", namespace=chart.NAMESPACE),
    }
    notes = api.list(path("configmaps", namespace=chart.NAMESPACE), labelSelector=f"{OURS}/note")
    return guards(api) | {url for url in own if api.exists(url)} | set_of(notes)


def reinstall(cluster: Cluster) -> None:
    """What `make up` does where Countersign is missing."""
    up.up(cluster.paths, cluster.kind, Progress(quiet=True))


def set_of(objects: Sequence[Mapping[str, Any]]) -> set[str]:
    return {str(each["metadata"]["name"]) for each in objects}
