"""A cluster as the end-to-end suites, the demo and the benchmark see it."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from tests.controlplane import binaries, chart, jsonlines, kubeconfig, people, ports, processes, state, up, waiting
from tests.controlplane.api import Api, path
from tests.controlplane.apiproxy import ApiProxy
from tests.controlplane.authorization import Authorization
from tests.controlplane.backend import Backend
from tests.controlplane.errors import HarnessError
from tests.controlplane.extra import ExtraWebhook
from tests.controlplane.kindbackend import KindBackend
from tests.controlplane.localbackend import LocalBackend
from tests.controlplane.paths import ROOT, Layout
from tests.controlplane.people import People
from tests.controlplane.progress import Progress

APPROVE, REJECT = "approve@kube-countersign.dev", "reject@kube-countersign.dev"


class Cluster:
    """One running cluster with Countersign in force.

    Users are named by their kubeconfig: `admin`, the humans `alice` (cluster-admin, the sponsor), `bob`, `carol` (reviewers),
    the agents `kiro` (the chart's agent role) and `rogue` (cluster-admin), and those that `new_human` and its like return.
    """

    def __init__(self, layout: Layout, kind: state.Kind, backend: Backend) -> None:
        self.paths = layout
        self.kind = kind
        self._backend = backend
        self._apis: dict[str, Api] = {}

    @classmethod
    def up(cls, kind: str | None = None, *, progress: Progress | None = None, layout: Layout | None = None) -> Cluster:
        """Starts the cluster, or joins the one that is up. `kind` is CLUSTER's value if None, `local` without one."""
        layout = layout or Layout.from_environment()
        wanted = state.kind_of(kind or os.environ.get("CLUSTER") or "local")
        return cls(layout, wanted, up.up(layout, wanted, progress or Progress(sys.stderr)))

    @classmethod
    def current(cls, layout: Layout | None = None) -> Cluster:
        """The one that is up.

        Raises:
            ClusterDown
        """
        layout = layout or Layout.from_environment()
        known = state.demand(layout)
        quiet = Progress(quiet=True)
        if known.kind == "local":
            return cls(layout, known.kind, LocalBackend(layout, known, binaries.ensure(binaries.LOCAL_CLUSTER, quiet)))
        return cls(layout, known.kind, KindBackend(layout, known, binaries.ensure(binaries.KIND_CLUSTER, quiet)))

    def close(self) -> None:
        """Closes connections; the cluster stays up."""
        while self._apis:
            self._apis.popitem()[1].close()

    def down(self, progress: Progress | None = None) -> None:
        self.close()
        up.down(self.paths, progress or Progress(sys.stderr))

    @property
    def is_local(self) -> bool:
        return self.kind == "local"

    @property
    def name(self) -> str:
        """What Countersign calls this cluster in its messages: the chart's `clusterName`."""
        return str(chart.values(self.paths)["clusterName"])

    @cached_property
    def uid(self) -> str:
        """The cluster's identity: the uid of kube-system."""
        return str(self.api.get(path("namespaces", "kube-system"))["metadata"]["uid"])

    # --- asking the API server ----------------------------------------------------------------

    def kubectl(self, user: str, *arguments: str, stdin: str | None = None, timeout: float = 90) -> subprocess.CompletedProcess[str]:
        """Runs the real kubectl as a user. Its exit code is the caller's to judge.

        Raises:
            HarnessError: nobody of that name has a kubeconfig
            subprocess.TimeoutExpired
        """
        file = self.paths.user(user)
        if not file.exists():
            raise HarnessError(f"there is no user {user!r} ({file}): make one with new_human, new_agent or new_service_account")
        command: list[str | Path] = [self.paths.bin / "kubectl", "--kubeconfig", file, *arguments]
        given: dict[str, Any] = {"stdin": subprocess.DEVNULL} if stdin is None else {"input": stdin}
        # Its discovery cache belongs to this cluster: another of the same port must not be mistaken for it.
        env = {"PATH": os.environ["PATH"], "HOME": str(self.paths.state), "KUBECACHEDIR": str(self.paths.state / "kubecache")}
        return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False, env=env, **given)

    @property
    def api(self) -> Api:
        """The raw API as the admin."""
        return self.api_as("admin")

    def api_as(self, user: str) -> Api:
        if user not in self._apis:
            self._apis[user] = Api(kubeconfig.load(self.paths.user(user)))
        return self._apis[user]

    # --- Countersign's processes --------------------------------------------------------------

    def stop_webhook(self) -> None:
        self._backend.stop("webhook")

    def start_webhook(self, **env: str) -> None:
        """Starts it and waits until it is ready; `env` goes over its environment (local only)."""
        self._backend.start("webhook", env)

    def restart_webhook(self) -> None:
        self._backend.restart("webhook")

    def stop_operator(self) -> None:
        self._backend.stop("operator")

    def start_operator(self, **env: str) -> None:
        self._backend.start("operator", env)

    def restart_operator(self) -> None:
        self._backend.restart("operator")

    def restart_api_server(self) -> None:
        self._backend.restart_api_server()

    def stop_api_server(self) -> None:
        """Local only."""
        self._backend.stop_api_server()

    def start_api_server(self) -> None:
        """Local only."""
        self._backend.start_api_server()

    def reconfigure(self, **values: Any) -> None:
        """`helm upgrade` with these values merged over the present ones, both processes anew, in force again."""
        self._upgrade(chart.merged(chart.values(self.paths), values))

    def reset_values(self) -> None:
        """Takes back whatever `reconfigure` set."""
        self._upgrade(self._backend.base_values)

    def _upgrade(self, values: Mapping[str, Any]) -> None:
        self._backend.upgrade(self.api, values)
        self.wait_in_force()

    def wait_in_force(self, timeout: float = chart.IN_FORCE_WITHIN) -> None:
        """Until the webhook is registered and refuses kiro's and rogue's dry-run deletion of the namespace `agents`."""
        for agent in people.AGENT_ROLES:
            chart.wait_in_force(self.api, self.api_as(agent), timeout=timeout)

    # --- the authorizer -----------------------------------------------------------------------

    @property
    def authorization(self) -> Authorization:
        """What the API server goes by in authorizing."""
        return Authorization(self.api, self.paths.authorization, self._backend.authorization_folder)

    def add_authorizer(self, **values: Any) -> None:
        """From now on the API server asks Countersign's authorizer before RBAC; `values` are set besides.

        Agents made later are held by it once `authorization.deliver(naming=…)` has returned.
        """
        self.reconfigure(authorizer={"enabled": True, "folder": self._backend.authorization_folder}, **values)
        self.authorization.deliver()

    def remove_authorizer(self) -> None:
        self.authorization.clear()
        self.reconfigure(authorizer={"enabled": False})

    @contextlib.contextmanager
    def with_authorizer(self) -> Iterator[Authorization]:
        """`add_authorizer`, until the end."""
        try:
            self.add_authorizer()
            yield self.authorization
        finally:
            self.remove_authorizer()

    # --- what was recorded --------------------------------------------------------------------

    def decisions(self) -> list[dict[str, Any]]:
        """The decision log from the beginning, of all replicas."""
        self._backend.collect_logs()
        return jsonlines.read(self.paths.decisions_log)

    def audit(self) -> list[dict[str, Any]]:
        """The API server's audit events of answered requests."""
        self._backend.collect_logs()
        return [event for event in jsonlines.read(self.paths.audit_log) if event["stage"] == "ResponseComplete"]

    def collect_logs(self) -> None:
        """Brings the files in `.cluster/logs/` up to date (kind; the local ones always are)."""
        self._backend.collect_logs()

    def log(self, name: str) -> str:
        """webhook, operator, kube-apiserver, kube-controller-manager or etcd."""
        self._backend.collect_logs()
        return (self.paths.logs / f"{name}.log").read_text(errors="replace")

    def webhook_metrics(self) -> str:
        return self._backend.metrics("webhook")

    def operator_metrics(self) -> str:
        return self._backend.metrics("operator")

    # --- people, agents, keys -----------------------------------------------------------------

    @property
    def _people(self) -> People:
        return People(self.paths, self.api, self._backend.server, self._backend.authority)

    def new_human(self, username: str, groups: Sequence[str] = (), role: str | None = None) -> str:
        """A client certificate, bound to a ClusterRole if one is named. Returns the user's name: what stands before the `@`."""
        name = username.partition("@")[0]
        self._people.human(name, username, groups, role)
        return name

    def new_service_account(self, name: str, role: str | None = None, *, namespace: str) -> str:
        """A ServiceAccount that is no agent, with a token of 24 hours. The namespace is made if it is missing."""
        people.create_namespace(self.api, namespace)
        self._people.account(name, namespace, role)
        self._forget(name)
        return name

    def new_agent(
        self,
        name: str,
        role: str | None = people.AGENT_ROLE,
        *,
        namespace: str = people.AGENTS,
        sponsors: Sequence[str] = people.SPONSORS,
        identity: bool = True,
        in_force: bool = True,
    ) -> str:
        """A ServiceAccount with a token, and its AgentIdentity. Waits until its deletions are held, unless `in_force` is False."""
        self.new_service_account(name, role, namespace=namespace)
        if identity:
            manifest = people.identity(name, [people.service_account(namespace, name)], sponsors)
            people.create_if_absent(self.api, path("agentidentities"), manifest)
            if in_force:
                chart.wait_held(self.api_as(name))
        return name

    def _forget(self, user: str) -> None:
        """A user's credentials are new: an open connection would go on with the old ones."""
        if user in self._apis:
            self._apis.pop(user).close()

    def new_key(self, name: str, type: str = "ed25519", bits: int | None = None) -> Path:  # noqa: A002 -- ssh-keygen's word for it
        """A key pair by ssh-keygen in `.cluster/ssh/`, without a passphrase; the `.pub` lies beside it."""
        return people.new_key(self.paths.ssh / name, type, bits)

    def reviewer(self, name: str, usernames: Sequence[str], keys: Mapping[str, Path], teams: Sequence[str] = ()) -> dict[str, Any]:
        """A Reviewer's manifest."""
        return people.reviewer(name, usernames, keys, teams)

    def identity(self, name: str, subjects: Sequence[Mapping[str, Any]], sponsors: Sequence[str] = people.SPONSORS) -> dict[str, Any]:
        """An AgentIdentity's manifest."""
        return people.identity(name, subjects, sponsors)

    def sign(self, key: Path | str, text: str, namespace: str = APPROVE) -> str:
        """An armored SSHSIG by ssh-keygen; a key's name stands for the one in `.cluster/ssh/`."""
        file = self.paths.ssh / key if isinstance(key, str) else key
        with tempfile.TemporaryDirectory() as folder:
            return people.sign(file, text, namespace, Path(folder))

    # --- spoiling things (local only) ---------------------------------------------------------

    def _local(self, what: str) -> LocalBackend:
        if isinstance(self._backend, LocalBackend):
            return self._backend
        raise HarnessError(f"{what} needs a process of the local cluster: CLUSTER=local")

    def api_proxy(self) -> ApiProxy:
        """A proxy before the API server that can be frozen; a context manager."""
        backend = self._local("a proxy before the API server")
        pair = backend.authority.server(["localhost"], ["127.0.0.1"])
        return ApiProxy(backend.plane.url, backend.server.authority, pair)

    def extra_webhook(self, **env: str) -> ExtraWebhook:
        """A second webhook process, ready; a context manager. It is not registered: ask it with `review`."""
        backend = self._local("a second webhook process")
        [port] = ports.choose(1)
        name = f"webhook-{port}"
        record, output, errors = self.paths.run / name, self.paths.logs / f"{name}.jsonl", self.paths.logs / f"{name}.log"
        command = [sys.executable, "-m", "countersign", "webhook"]
        processes.start(record, command, env=backend.environment("webhook", port) | env, output=output, errors=errors, cwd=ROOT)
        extra = ExtraWebhook(f"https://127.0.0.1:{port}", record, output, errors)
        try:
            extra.wait_ready()
        except BaseException:
            extra.stop()
            raise
        return extra

    def point_webhook_at(self, url: str | None) -> None:
        """Makes the operator register this URL instead of the first webhook's; None takes it back."""
        backend = self._local("another webhook URL")
        wanted = url or backend.webhook_url
        self.stop_operator()
        self.start_operator(COUNTERSIGN_WEBHOOK_URL=wanted)

        def pointed() -> bool:
            urls = {webhook["clientConfig"].get("url") for webhook in chart.registered(self.api)}
            return urls == {wanted}

        waiting.until(pointed, f"the operator was to register {wanted}", timeout=30)


@contextlib.contextmanager
def running_cluster(kind: str | None = None) -> Iterator[Cluster]:
    """The cluster of a test session: one that is up already is left up, one that was started is taken down (unless KEEP_CLUSTER is set).

    Its logs are kept in `build/logs-KIND/`.
    """
    layout = Layout.from_environment()
    known = state.load(layout)
    found = known is not None and known.ready
    try:
        cluster = Cluster.up(kind, layout=layout)
    except BaseException:
        if not found and not os.environ.get("KEEP_CLUSTER"):
            up.down(layout, Progress(sys.stderr))
        raise
    try:
        yield cluster
    finally:
        _keep_logs(cluster)
        cluster.close()
        if not found and not os.environ.get("KEEP_CLUSTER"):
            cluster.down()


def _keep_logs(cluster: Cluster) -> None:
    # Suites run side by side: each keeps its own.
    suite = cluster.paths.state.name.removeprefix(".cluster").removeprefix("-e2e")
    target = ROOT / "build" / f"logs-{cluster.kind}{suite}"
    shutil.rmtree(target, ignore_errors=True)
    with contextlib.suppress(HarnessError):
        cluster.collect_logs()
    shutil.copytree(cluster.paths.logs, target)
