"""How the API server is told whom to ask: its AuthorizationConfiguration, which it reads again whenever the file changes.

It starts with Node and RBAC, which is what it does without such a file. Countersign's authorizer comes in by `Authorization.deliver` and goes
by `Authorization.clear`, without a restart.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.controlplane import waiting
from tests.controlplane.api import Api, path
from tests.controlplane.chart import NAMESPACE
from tests.controlplane.files import write
from tests.controlplane.paths import HERE

PLAIN = HERE / "authorization" / "authorization.yaml"
CONFIGURATION, KUBECONFIG = "authorization.yaml", "kubeconfig"
CONFIG_MAP = "countersign-authorizer"
# What the API server's process on a kind node calls the folder that is mounted into it.
ON_A_NODE = "/etc/kubernetes/countersign"
LOADED_WITHIN = 75.0  # seconds; at once as a rule, a minute where a mount passes on no events (reload.go)
_LOADED = re.compile(r'^apiserver_authorization_config_controller_last_config_info\{.*hash="sha256:([0-9a-f]{64})"', re.MULTILINE)


def prepare(folder: Path) -> Path:
    """The file without which the API server does not start; what is there stays."""
    file = folder / CONFIGURATION
    if not file.exists():
        write(file, PLAIN.read_bytes(), mode=0o644)
    return file


@dataclass(frozen=True, slots=True)
class Authorization:
    """`folder` is where the files are written; the API server finds it under `seen_as`."""

    admin: Api
    folder: Path
    seen_as: str

    def deliver(self, *, naming: str = "", timeout: float = 30) -> None:
        """Take the files that the operator keeps, `naming` an agent if one is given, to the API server; returns once they are in force."""
        data: Mapping[str, str] = {}

        def there() -> bool:
            nonlocal data
            answer = self.admin.request("GET", path("configmaps", CONFIG_MAP, namespace=NAMESPACE))
            data = answer.body.get("data") or {} if answer.ok else {}
            return data.keys() == {CONFIGURATION, KUBECONFIG} and naming in data[CONFIGURATION]

        waiting.until(there, f"the operator was to fill the ConfigMap {CONFIG_MAP} (with {naming or 'its files'})", timeout=timeout)
        write(self.folder / KUBECONFIG, data[KUBECONFIG], mode=0o644)  # first: it is read when the other one changes
        self._load(data[CONFIGURATION])

    def clear(self) -> None:
        """Node and RBAC alone, as at the start."""
        self._load(PLAIN.read_text())

    def _load(self, configuration: str) -> None:
        write(self.folder / CONFIGURATION, configuration, mode=0o644)
        digest = hashlib.sha256(configuration.encode()).hexdigest()
        waiting.until(
            lambda: digest in _LOADED.findall(self.admin.text("/metrics")),
            "the API server was to take up its new authorization configuration",
            timeout=LOADED_WITHIN,
            explain=lambda: "    see the API server's log for 'authorization config'",
        )
