"""What a kind of cluster has to be able to do. There are two: localbackend.py and kindbackend.py."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from tests.controlplane.api import Api
from tests.controlplane.chart import Process
from tests.controlplane.kubeconfig import Server
from tests.controlplane.pki import Authority
from tests.controlplane.progress import Progress


class Backend(Protocol):
    """Every method raises HarnessError with the last lines of the log that explains it."""

    @property
    def server(self) -> Server:
        """The API server as clients outside the cluster reach it."""

    @property
    def authority(self) -> Authority:
        """The CA whose client certificates the API server accepts."""

    @property
    def base_values(self) -> dict[str, Any]:
        """The helm values without which Countersign would not run here."""

    @property
    def authorization_folder(self) -> str:
        """Where the API server's own process finds the files of `Layout.authorization`."""

    def begin_installation(self) -> None:
        """Begins in the background what `install` will wait for."""

    def start_plane(self, progress: Progress) -> None:
        """Brings the API server up, writes the admin's kubeconfig. Does nothing where that is so already."""

    def install(self, admin: Api, values: Mapping[str, Any], progress: Progress) -> None:
        """Installs the chart and waits until both processes are ready. Starts nothing twice."""

    def upgrade(self, admin: Api, values: Mapping[str, Any]) -> None:
        """`helm upgrade`, then both processes anew."""

    def start(self, process: Process, env: Mapping[str, str]) -> None:
        """Starts a stopped process and waits until it is ready. `env` goes over its environment (local only)."""

    def stop(self, process: Process) -> None:
        """Returns when nothing of it runs any more."""

    def restart(self, process: Process) -> None:
        """Stops it, starts it, waits until it is ready."""

    def restart_api_server(self) -> None:
        """Returns when the new one is ready."""

    def stop_api_server(self) -> None:
        """Returns when nothing answers any more. Local only."""

    def start_api_server(self) -> None:
        """Returns when it is ready. Local only."""

    def collect_logs(self) -> None:
        """Brings the files in `.cluster/logs/` up to date."""

    def metrics(self, process: Process) -> str:
        """Prometheus' text, of all replicas one after the other."""

    def tear_down(self, progress: Progress) -> None:
        """Leaves no process and no container; the state folder is the caller's."""
