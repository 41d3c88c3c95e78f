"""The table of uninstalling: what was dead, how long it took, what was left. Each row on a control plane that a full inventory was taken of.

Countersign has no Helm hooks, so that nothing of it has to run: what the chart made goes by Helm, what the operator made goes with the
chart's ClusterRole by the garbage collector. What stays is on purpose: the definitions and with them the records (docs/uninstall.md).
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.controlplane import waiting
from tests.controlplane.api import path
from tests.controlplane.cluster import Cluster
from tests.controlplane.paths import ROOT
from tests.e2e import _life
from tests.e2e._faults import OURS, allowed, delete_namespace, guards, held, make_namespace, set_of, sign_off, wait_allowed
from tests.e2e._life import Inventory, is_record

pytestmark = pytest.mark.local_only(reason="takes inventories of a control plane of its own; test_uninstall uninstalls on kind")
REST = ROOT / "deploy" / "remove-records"


@dataclass(frozen=True)
class Row:
    dead: str
    flags: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        return f"{self.dead} dead{''.join(f', {flag}' for flag in self.flags)}"


ROWS = (
    Row("nothing"),
    Row("operator"),
    Row("webhook"),
    Row("both"),
    Row("both", ("--no-hooks",)),
)
_table: list[str] = []


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with _life.bare_cluster(tmp_path_factory.mktemp("uninstalling") / "cluster") as cluster:
        # Helm makes the release's namespace and leaves it, as it does for every chart.
        cluster.api.create(path("namespaces"), {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "countersign"}})
        waiting.until(
            lambda: "configmaps countersign/kube-root-ca.crt" in Inventory.of(cluster.api).objects,
            "the namespace was to be filled",
            timeout=30,
        )
        yield cluster


@pytest.fixture(scope="module")
def before(own: Cluster) -> Inventory:
    """What lies in the cluster before Countersign is first installed. People's objects are there; those that tests make, they remove."""
    return Inventory.of(own.api)


@pytest.fixture(scope="module", autouse=True)
def table(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    capture = request.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        print("\n\nUninstalled while dead | seconds | left besides records\n--- | --- | ---", *_table, sep="\n")


def use(cluster: Cluster) -> None:
    """Agents are held, people sign, something is deleted: so that there is something to be left."""
    name = make_namespace(cluster, "used", user="kiro")
    other = make_namespace(cluster, "lost")
    request = held(delete_namespace(cluster, "rogue", other))
    assert sign_off(cluster, request, "bob").ok
    allowed(delete_namespace(cluster, "rogue", other))
    for each in (name, other):
        cluster.kubectl("admin", "delete", "namespace", each, "--ignore-not-found")


def kill(cluster: Cluster, dead: str) -> None:
    if dead in ("operator", "both"):
        cluster.stop_operator()
    if dead in ("webhook", "both"):
        cluster.stop_webhook()


def left(cluster: Cluster, before: Inventory) -> set[str]:
    return {each for each in Inventory.of(cluster.api).objects - before.objects if not is_record(each)}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.title)
def test_nothing_is_left_but_the_records(own: Cluster, before: Inventory, row: Row) -> None:
    """Each row begins with an installation, so that all but the first install into what an earlier one has left."""
    _life.install(own)
    use(own)
    requests = set_of(own.api.list(path("changerequests")))
    kill(own, row.dead)
    begun = time.monotonic()
    done = _life.release(own, "alice", "uninstall", *row.flags)
    try:
        assert done.returncode == 0, done.stderr
        waiting.until(lambda: not left(own, before), "all was to go", timeout=30, explain=lambda: str(sorted(left(own, before))))
        seconds = time.monotonic() - begun
        if row.dead == "nothing":
            time.sleep(3)  # no node has ended them yet: they must not make again what went
        rest = left(own, before)
        _table.append(f"{row.title} | {seconds:.1f} | {', '.join(sorted(rest)) or 'nothing'}")
        assert not rest
        assert guards(own.api) == set()
        assert before.objects <= Inventory.of(own.api).objects, "what was there before is there"
    finally:
        _life.stop_processes(own)
    name = make_namespace(own, "free")
    wait_allowed(lambda: delete_namespace(own, "rogue", name, dry_run=True), "an agent's deletion, with nothing installed")
    allowed(delete_namespace(own, "rogue", name))
    own.kubectl("admin", "delete", "namespace", name, "--ignore-not-found")
    assert set_of(own.api.list(path("changerequests"))) == requests, "the records are kept"
    assert "bob" in set_of(own.api.list(path("reviewers")))


def remove_rest(cluster: Cluster) -> subprocess.CompletedProcess[str]:
    """The one documented command, as whoever's kubeconfig and kubectl are at hand."""
    env = {"PATH": f"{cluster.paths.bin}:/usr/bin:/bin", "HOME": str(cluster.paths.state), "KUBECONFIG": str(cluster.paths.user("alice"))}
    return subprocess.run([REST], capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False, env=env, timeout=120)


def test_the_one_command_takes_the_records_too(own: Cluster, before: Inventory) -> None:
    """After it the cluster is as it was before the first installation, marks on people's objects included."""
    marks = Inventory.of(own.api).marks
    assert any(f"{OURS}/protected" in each for each in marks), "else it would not show that marks are removed"
    done = remove_rest(own)
    assert done.returncode == 0, done.stderr + done.stdout
    after = Inventory.of(own.api)
    assert after.objects ^ before.objects == set()
    assert after.marks == before.marks == set()
    assert remove_rest(own).returncode == 0, "a second time there is nothing to do"


def test_it_does_nothing_while_countersign_is_installed(own: Cluster) -> None:
    _life.install(own)
    standing = Inventory.of(own.api)
    done = remove_rest(own)
    assert done.returncode != 0
    assert "helm uninstall" in done.stderr
    assert Inventory.of(own.api).lasting == standing.lasting


def test_the_page_on_uninstalling_goes_through(own: Cluster, before: Inventory) -> None:
    _life.typed(own, "alice", "docs/uninstall.md")
    _life.stop_processes(own)
    assert Inventory.of(own.api).objects ^ before.objects == set()
