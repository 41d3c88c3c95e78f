"""The cluster under attack: one of our own, or one that a team names. What attackers need of either."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tests.controlplane import kubeconfig
from tests.controlplane.api import Api, path
from tests.controlplane.cluster import Cluster
from tests.controlplane.kubeconfig import Credentials, Server
from tests.jailbreak import _installations as installations
from tests.jailbreak._attack import Profile

TOKEN_SECONDS = 3600
BROAD = "cluster-admin"
CHARTS = "countersign-agent"


@dataclass(frozen=True, slots=True)
class Address:
    """Where the API server listens. `prefix` stands before each path; `direct` is False where a proxy stands between."""

    host: str
    port: int
    context: ssl.SSLContext
    prefix: str
    direct: bool = True


class Ground(Protocol):
    """`role` is what attackers may do; `labels` what namespaces need to be in an environment."""

    @property
    def admin(self) -> Api: ...

    @property
    def own(self) -> Cluster | None:
        """The harness's cluster, None where a team has named one."""

    @property
    def title(self) -> str:
        """What the table calls it."""

    @property
    def role(self) -> str: ...

    @property
    def labels(self) -> Mapping[str, str]: ...

    @property
    def sponsor(self) -> str: ...

    @property
    def waits_for_signatures(self) -> bool:
        """Whether people sign for the removal of what was made."""

    @property
    def address(self) -> Address:
        """For requests that no client library would send."""

    def as_bearer(self, name: str, token: str) -> Api: ...

    def kubectl(self) -> Path:
        """The program."""

    def write_kubeconfig(self, file: Path, name: str, token: str) -> None: ...

    def obstacle(self, profile: Profile) -> str:
        """Why attacks of this profile cannot be run here, "" if they can."""


def token(admin: Api, namespace: str, name: str) -> str:
    url = path("serviceaccounts", name, namespace=namespace, subresource="token")
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": TOKEN_SECONDS}}
    return str(admin.create(url, body)["status"]["token"])


@dataclass(frozen=True)
class OwnGround:
    """The harness's cluster, with the people of the story in it."""

    cluster: Cluster
    role: str = BROAD
    sponsor: str = "alice"
    waits_for_signatures: bool = False

    @property
    def title(self) -> str:
        return f"a {self.cluster.kind} cluster of the suites"

    @property
    def own(self) -> Cluster:
        return self.cluster

    @property
    def admin(self) -> Api:
        return self.cluster.api

    @property
    def labels(self) -> Mapping[str, str]:
        return {}

    @property
    def _server(self) -> Server:
        return kubeconfig.load(self.cluster.paths.kubeconfig).server

    @property
    def address(self) -> Address:
        name, _, port = self._server.url.removeprefix("https://").rstrip("/").rpartition(":")
        return Address(name, int(port), ssl.create_default_context(cadata=self._server.authority.decode()), "")

    def as_bearer(self, name: str, token: str) -> Api:
        return Api(Credentials(self._server, name, token=token))

    def kubectl(self) -> Path:
        return self.cluster.paths.bin / "kubectl"

    def write_kubeconfig(self, file: Path, name: str, token: str) -> None:
        kubeconfig.save(file, Credentials(self._server, name, token=token))

    def obstacle(self, profile: Profile) -> str:
        return installations.obstacle(self.cluster, profile)
