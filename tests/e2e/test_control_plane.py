"""The local control plane itself: what `make up` and `make down` promise, without Countersign on it."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.controlplane import processes, state, up, waiting
from tests.controlplane.api import path
from tests.controlplane.cluster import Cluster
from tests.controlplane.errors import ClusterDown, PortTaken
from tests.controlplane.localplane import COMPONENTS
from tests.controlplane.paths import Layout
from tests.controlplane.progress import Progress

pytestmark = pytest.mark.local_only(reason="starts and kills processes of control planes of its own")
QUIET = Progress(quiet=True)


@pytest.fixture
def layout(tmp_path: Path) -> Iterator[Layout]:
    made = Layout(tmp_path / "cluster")
    yield made
    up.down(made, QUIET)


def start(layout: Layout) -> Cluster:
    return Cluster(layout, "local", up.up(layout, "local", QUIET, bare=True))


def pids(layout: Layout) -> dict[str, int]:
    found = {name: processes.read(layout.run / name) for name in COMPONENTS}
    return {name: identity.pid for name, identity in found.items() if identity is not None}


def test_people_and_agents_are_who_they_should_be(layout: Layout) -> None:
    cluster = start(layout)
    try:
        who = {
            name: cluster.kubectl(name, "auth", "whoami", "-o", "jsonpath={.status.userInfo.username}").stdout
            for name in ("bob", "kiro", "rogue")
        }
        assert who == {"bob": "bob@example.com", "kiro": "system:serviceaccount:agents:kiro", "rogue": "system:serviceaccount:agents:rogue"}
        assert cluster.kubectl("alice", "auth", "can-i", "*", "*").stdout.strip() == "yes"
        assert cluster.kubectl("bob", "auth", "can-i", "delete", "namespaces").stdout.startswith("no")
        assert cluster.kubectl("alice", "version", "-o", "json").stdout.count('"gitVersion": "v1.36.3"') == 2
    finally:
        cluster.close()


def test_up_twice_starts_nothing_twice_and_down_leaves_nothing(layout: Layout) -> None:
    start(layout).close()
    before = pids(layout)
    assert sorted(before) == sorted(COMPONENTS)
    start(layout).close()
    assert pids(layout) == before
    up.down(layout, QUIET)
    assert not layout.state.exists()
    assert [name for name, pid in before.items() if processes.started(pid)] == []
    up.down(layout, QUIET)


@pytest.mark.parametrize("victim", COMPONENTS)
def test_up_completes_what_lost_a_process(layout: Layout, victim: str) -> None:
    cluster = start(layout)
    cluster.api.create(path("namespaces"), {"metadata": {"name": "kept"}})
    cluster.close()
    before = pids(layout)
    os.kill(before[victim], signal.SIGKILL)
    waiting.until(lambda: not processes.is_alive(layout.run / victim), f"{victim} was to die", timeout=5)
    cluster = start(layout)
    try:
        assert cluster.api.get(path("namespaces", "kept"))["status"]["phase"] == "Active"
        after = pids(layout)
        assert all(processes.is_alive(layout.run / name) for name in COMPONENTS)
        # A controller manager that is starting ends when it misses the API server: then it is a new one, too.
        assert {name for name in COMPONENTS if after[name] != before[name]} <= {victim, "kube-controller-manager"}
        assert after[victim] != before[victim]
    finally:
        cluster.close()


def test_two_clusters_at_once_do_not_meet(layout: Layout, tmp_path: Path) -> None:
    other = Layout(tmp_path / "other")
    try:
        first, second = start(layout), start(other)
        try:
            assert first.uid != second.uid
        finally:
            first.close()
            second.close()
    finally:
        up.down(other, QUIET)


def test_two_ups_of_one_checkout_make_one_cluster(layout: Layout) -> None:
    threads = [threading.Thread(target=lambda: start(layout).close()) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    known = state.demand(layout)
    [server] = [line for line in processes_of(layout) if f"--secure-port={known.ports['kube-apiserver']}" in line]
    assert "kube-apiserver" in server


def processes_of(layout: Layout) -> list[str]:
    """The command lines of everything that runs with files of this state folder."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(layout.state) in line:
            found.append(line)
    return found


def test_a_port_that_somebody_took_is_named(layout: Layout) -> None:
    start(layout).close()
    port = state.demand(layout).ports["kube-apiserver"]
    processes.stop(layout.run / "kube-apiserver")
    with socket.socket() as thief:
        thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        thief.bind(("127.0.0.1", port))
        thief.listen()
        with pytest.raises(PortTaken, match=f"port {port} .*make down"):
            start(layout)


def test_the_other_kind_is_not_started_over_it(layout: Layout) -> None:
    start(layout).close()
    with pytest.raises(ClusterDown, match="a local cluster is up"):
        up.up(layout, "kind", QUIET, bare=True)


def test_the_api_server_can_be_stopped_started_and_restarted(layout: Layout) -> None:
    cluster = start(layout)
    try:
        cluster.stop_api_server()
        assert cluster.kubectl("admin", "get", "--raw", "/readyz").returncode != 0
        cluster.start_api_server()
        cluster.restart_api_server()
        assert cluster.kubectl("admin", "get", "--raw", "/readyz").stdout == "ok"
    finally:
        cluster.close()


def test_deletions_complete_and_are_audited(layout: Layout) -> None:
    cluster = start(layout)
    try:
        cluster.kubectl("alice", "create", "namespace", "payments")
        assert cluster.kubectl("rogue", "delete", "namespace", "payments", "--timeout=30s").returncode == 0
        [event] = [event for event in cluster.audit() if event["verb"] == "delete" and event["objectRef"].get("name") == "payments"]
        assert event["user"]["username"] == "system:serviceaccount:agents:rogue"
        assert event["responseObject"]["metadata"]["name"] == "payments"
    finally:
        cluster.close()
