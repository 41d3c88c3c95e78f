"""etcd, kube-apiserver and kube-controller-manager as plain processes on loopback. No kubelet: pods stay Pending."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.controlplane import authorization, kubeconfig, ports, processes, waiting
from tests.controlplane.api import Api
from tests.controlplane.errors import PortTaken, last_lines_of
from tests.controlplane.files import write
from tests.controlplane.kubeconfig import Credentials, Server
from tests.controlplane.paths import HERE, Layout
from tests.controlplane.pki import Authority, Pair, new_token_key

NAME = "countersign-local"
SERVICE_RANGE, SERVICE_ADDRESS = "10.0.0.0/24", "10.0.0.1"
API_SERVER_NAMES = ("localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc")
ADMIN = "kubernetes-admin"
READY_WITHIN = 60
STOP_GRACE = 2.0
COMPONENTS = ("etcd", "kube-apiserver", "kube-controller-manager")
NODE_CONTROLLERS = ("node-ipam-controller", "node-lifecycle-controller", "node-route-controller", "cloud-node-lifecycle-controller")


@dataclass(frozen=True, slots=True)
class LocalPlane:
    layout: Layout
    ports: Mapping[str, int]
    binaries: Mapping[str, Path]

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.ports['kube-apiserver']}"

    @property
    def ca_file(self) -> Path:
        return self.layout.pki / "ca.crt"

    @property
    def admission_file(self) -> Path:
        return self.layout.pki / "admission.yaml"

    @property
    def flags_file(self) -> Path:
        return self.layout.state / "api-server-flags.json"

    @property
    def server(self) -> Server:
        return Server(NAME, self.url, self.ca_file.read_bytes())

    def authority(self) -> Authority:
        return Authority.load_or_make(self.ca_file, self.layout.pki / "ca.key")

    def make_certificates(self) -> None:
        """All keys and certificates, each once, and the admin's kubeconfig."""
        pki, authority = self.layout.pki, self.authority()
        self._once("kube-apiserver", lambda: authority.server(API_SERVER_NAMES, ("127.0.0.1", SERVICE_ADDRESS)))
        if not (pki / "tokens.key").exists():
            write(pki / "tokens.key", new_token_key())
        self._kubeconfig(pki / "controller-manager.kubeconfig", lambda: authority.client("system:kube-controller-manager"))
        self._kubeconfig(self.layout.kubeconfig, lambda: authority.client(ADMIN, ["system:masters"]))

    def _once(self, name: str, make: Callable[[], Pair]) -> None:
        certificate, key = self.layout.pki / f"{name}.crt", self.layout.pki / f"{name}.key"
        if not (certificate.exists() and key.exists()):
            pair = make()
            write(key, pair.key)
            write(certificate, pair.certificate)

    def _kubeconfig(self, file: Path, make: Callable[[], Pair]) -> None:
        if not file.exists():
            pair = make()
            user = ADMIN if file == self.layout.kubeconfig else "kube-controller-manager"
            kubeconfig.save(file, Credentials(self.server, user, pair=pair))

    # --- the processes ------------------------------------------------------------------------

    def record(self, component: str) -> Path:
        return self.layout.run / component

    def log(self, component: str) -> Path:
        return self.layout.logs / f"{component}.log"

    def is_alive(self, component: str) -> bool:
        return processes.is_alive(self.record(component))

    def start(self, component: str) -> None:
        """Starts a component if it is not running; does not wait.

        Raises:
            PortTaken: another program listens where this one has to.
        """
        if self.is_alive(component):
            return
        port = self.ports[component]
        if not ports.becomes_free(port):
            raise PortTaken(
                f"port {port} on 127.0.0.1, which {component} of this cluster uses, is taken: `make down`, then `make up` again"
            )
        binary, flags = self.binaries[component], self._flags(component)
        # Nothing of the caller's environment has a say in how a cluster behaves, HTTPS_PROXY least of all.
        env = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
        processes.start(self.record(component), [binary, *flags], env=env, output=self.log(component), cwd=self.layout.state)

    def stop(self, component: str) -> None:
        # Nothing is lost by impatience: the API server, asked politely, waits for its clients' watches to end.
        processes.stop(self.record(component), grace=STOP_GRACE)

    def wait_ready(self) -> None:
        """
        Raises:
            StartFailed: with the last lines of the log
        """
        with Api(kubeconfig.load(self.layout.kubeconfig), timeout=5) as api:

            def ready() -> bool:
                try:
                    return api.request("GET", "/readyz").ok
                except httpx.TransportError:
                    return False

            waiting.until(
                ready,
                "kube-apiserver was to become ready",
                timeout=READY_WITHIN,
                explain=lambda: last_lines_of(self.log("kube-apiserver")),
                give_up=lambda: not (self.is_alive("kube-apiserver") and self.is_alive("etcd")),
            )

    def _flags(self, component: str) -> list[str]:
        make = {"etcd": self._etcd, "kube-apiserver": self._api_server, "kube-controller-manager": self._controller_manager}
        return [f"--{name}={value}" for name, value in make[component]().items()]

    def _etcd(self) -> dict[str, object]:
        client, peer = (f"http://127.0.0.1:{self.ports[name]}" for name in ("etcd", "etcd-peer"))
        return {
            "data-dir": self.layout.state / "etcd",
            "listen-client-urls": client,
            "advertise-client-urls": client,
            "listen-peer-urls": peer,
            "initial-advertise-peer-urls": peer,
            "initial-cluster": f"default={peer}",
            "unsafe-no-fsync": "true",
        }

    def _api_server(self) -> dict[str, object]:
        pki = self.layout.pki
        return {
            "etcd-servers": f"http://127.0.0.1:{self.ports['etcd']}",
            "service-cluster-ip-range": SERVICE_RANGE,
            "allow-privileged": "true",
            "authorization-config": authorization.prepare(self.layout.authorization),
            "bind-address": "127.0.0.1",
            "advertise-address": "127.0.0.1",
            "secure-port": self.ports["kube-apiserver"],
            "tls-cert-file": pki / "kube-apiserver.crt",
            "tls-private-key-file": pki / "kube-apiserver.key",
            "client-ca-file": self.ca_file,
            "service-account-issuer": "https://kubernetes.default.svc.cluster.local",
            "service-account-key-file": pki / "tokens.key",
            "service-account-signing-key-file": pki / "tokens.key",
            "endpoint-reconciler-type": "none",
            "audit-log-path": self.layout.audit_log,
            "audit-policy-file": HERE / "audit-policy.yaml",
            # Blocking: an entry is in the file before the answer is given, so a test never reads a log that lags.
            "audit-log-mode": "blocking",
            # Written by who wants it (AdmissionConfiguration); taken up at the next start.
            **({"admission-control-config-file": self.admission_file} if self.admission_file.exists() else {}),
            # Flags besides, as {"feature-gates": "X=true"}; likewise.
            **(json.loads(self.flags_file.read_text()) if self.flags_file.exists() else {}),
        }

    def _controller_manager(self) -> dict[str, object]:
        credentials = self.layout.pki / "controller-manager.kubeconfig"
        return {
            # Five minutes by default, for which one of Kubernetes' conformance tests waits.
            "resource-quota-sync-period": "20s",
            "kubeconfig": credentials,
            "authentication-kubeconfig": credentials,
            "authorization-kubeconfig": credentials,
            "service-account-private-key-file": self.layout.pki / "tokens.key",
            "root-ca-file": self.ca_file,
            "use-service-account-credentials": "true",
            "bind-address": "127.0.0.1",
            "secure-port": self.ports["kube-controller-manager"],
            "leader-elect": "false",
            "controllers": ",".join(["*", *(f"-{name}" for name in NODE_CONTROLLERS)]),
        }
