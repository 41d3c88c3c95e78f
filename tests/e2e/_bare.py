"""Control planes of a test's own, bare or with Countersign, and Helm on them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.controlplane import chart, people, up
from tests.controlplane.cluster import Cluster
from tests.controlplane.files import write
from tests.controlplane.paths import Layout
from tests.controlplane.progress import Progress
from tests.e2e import _faults
from tests.e2e._faults import local

QUIET = Progress(quiet=True)


@contextmanager
def installed(folder: Path) -> Iterator[Cluster]:
    """With Countersign, as the harness installs it."""
    cluster = Cluster.up("local", progress=QUIET, layout=Layout(folder / "cluster"))
    try:
        yield cluster
    finally:
        cluster.down(QUIET)


def helm(
    cluster: Cluster, *arguments: str | Path, namespace: str = chart.NAMESPACE, user: str = "admin", values: Mapping[str, Any] | None = None
) -> subprocess.CompletedProcess[str]:
    return _faults.helm(cluster, user, *arguments, "--namespace", namespace, values=values)


@contextmanager
def bare(folder: Path) -> Iterator[Cluster]:
    """Without Countersign, for what installs it in another way than the harness does."""
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
