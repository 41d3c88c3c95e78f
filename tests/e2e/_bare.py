"""A control plane without Countersign, for tests that install it in another way than the harness does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.controlplane import chart, people, up
from tests.controlplane.cluster import Cluster
from tests.controlplane.files import write
from tests.controlplane.paths import Layout
from tests.controlplane.progress import Progress
from tests.e2e._faults import local

QUIET = Progress(quiet=True)


@contextmanager
def bare(folder: Path) -> Iterator[Cluster]:
    layout = Layout(folder / "cluster")
    cluster = Cluster(layout, "local", up.up(layout, "local", QUIET, bare=True))
    try:
        yield cluster
    finally:
        cluster.down(QUIET)


def run_processes(cluster: Cluster, **env: str) -> None:
    """Both processes, as the kubelet would: with new tokens of the accounts that were installed."""
    backend = local(cluster)
    for process in chart.PROCESSES:
        backend.stop(process)
        write(backend.token_file(process), people.token(cluster.api, chart.NAMESPACE, f"countersign-{process}"))
    for process in chart.PROCESSES:
        backend.launch(process, env)
    for process in chart.PROCESSES:
        backend.start(process, env)


def in_force(cluster: Cluster) -> None:
    """The agents and reviewers of the harness are known, and held."""
    cluster._people.register()
    cluster.wait_in_force()
