"""`helm upgrade` from the version before (tests/previous) to the present one: protection all the time, nothing made anew, values and requests kept."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import pytest

from countersign.domain.names import ANNOTATION_REVISION, GROUP
from countersign.wire.crds import REVISION
from tests.controlplane import chart
from tests.controlplane.api import path
from tests.controlplane.chart import NAMESPACE, RELEASE
from tests.controlplane.cluster import Cluster
from tests.controlplane.files import write_json
from tests.controlplane.paths import ROOT
from tests.e2e._bare import bare, in_force, run_processes
from tests.e2e._faults import allowed, approve, delete_namespace, guards, held, helm, local, make_namespace, message, until

pytestmark = pytest.mark.local_only(reason="runs the code of the version before, on a control plane of its own")
PREVIOUS = ROOT / "tests" / "previous"
DEFAULT = path("protectedenvironments", "default")
DEFINITION = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


@dataclass
class Watch:
    """An agent and a person who ask for a deletion by dry run, without pause. Kept is what passes for the one, or does not for the other."""

    asked: int = 0
    got_through: list[str] = field(default_factory=list)
    held_up: list[str] = field(default_factory=list)


@contextmanager
def watched(cluster: Cluster, namespace: str) -> Iterator[Watch]:
    watch, stop = Watch(), threading.Event()
    target = path("namespaces", namespace)
    agent, person = cluster.api_as("kiro"), cluster.api_as("alice")

    def ask() -> None:
        while not stop.is_set():
            watch.asked += 1
            if (answer := agent.request("DELETE", target, params={"dryRun": "All"})).ok:
                watch.got_through.append(f"{time.time():.2f}: {message(answer)}")
            if not (answer := person.request("DELETE", target, params={"dryRun": "All"})).ok:
                watch.held_up.append(f"{time.time():.2f}: {message(answer)}")

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield watch
    finally:
        stop.set()
        asking.join()


@dataclass(frozen=True)
class Before:
    """What stood before the upgrade."""

    values: dict[str, Any]
    made: dict[str, str]
    guards: set[str]
    request: str
    namespace: str


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with bare(tmp_path_factory.mktemp("upgrade")) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def before(own: Cluster) -> Before:
    """The version before, chart and code, in force, with values of its own and a request that waits."""
    known = {name: value for name, value in local(own).base_values.items() if name != "noteEvery"}  # it left no notes
    values = {
        **known,
        "clusterName": "prod-eu-1",
        "requestTTL": "12h",
        "default": {"approvals": {"useWithin": "30m"}, "exclude": ["kube-system", "kube-public", "kube-node-lease", "sandbox"]},
    }
    write_json(own.paths.values_file, values)
    packed = PREVIOUS / "countersign-0.1.0.tgz"
    given = ("--namespace", NAMESPACE, "--create-namespace", "--values", own.paths.values_file)
    answer = helm(own, "alice", "install", RELEASE, packed, *given)
    assert answer.returncode == 0, answer.stderr
    run_processes(own, PYTHONPATH=str(PREVIOUS / "controller.zip"))
    in_force(own)
    namespace = make_namespace(own, "shop")
    request = held(delete_namespace(own, "rogue", namespace))
    return Before(values, made_by_the_chart(own), guards(own.api), request, namespace)


def made_by_the_chart(cluster: Cluster) -> dict[str, str]:
    """The UIDs of the release's objects, of the definitions and of the certificate's Secret, by kind and name."""
    answer = helm(cluster, "alice", "get", "manifest", RELEASE, "--namespace", NAMESPACE)
    assert answer.returncode == 0, answer.stderr
    found = cluster.kubectl("admin", "get", "--ignore-not-found", "-o", "json", "-f", "-", stdin=answer.stdout)
    assert found.returncode == 0, found.stderr
    listed = json.loads(found.stdout)
    objects = [
        *listed["items"],
        *cluster.api.list(DEFINITION),
        cluster.api.get(path("secrets", "countersign-webhook-tls", namespace=NAMESPACE)),
    ]
    return {f"{obj.get('kind', 'Definition')} {obj['metadata']['name']}": obj["metadata"]["uid"] for obj in objects}


def numbers(cluster: Cluster) -> set[str | None]:
    """The numbers that our definitions bear."""
    ours = [made for made in cluster.api.list(DEFINITION) if made["spec"]["group"] == GROUP]
    assert len(ours) >= 5
    return {made["metadata"].get("annotations", {}).get(ANNOTATION_REVISION) for made in ours}


def spec(cluster: Cluster) -> dict[str, Any]:
    found: dict[str, Any] = cluster.api.get(DEFAULT)["spec"]
    return found


def test_1_the_version_before_is_what_runs(own: Cluster, before: Before) -> None:
    """Or the rest would show nothing: its definitions bore no number yet."""
    assert "ClusterRole countersign-operator" in before.made
    assert spec(own)["approvals"]["useWithin"] == "30m"
    assert numbers(own) == {None}


def test_2_while_it_is_upgraded_no_agent_gets_through_and_no_person_is_held_up(own: Cluster, before: Before) -> None:
    with watched(own, before.namespace) as watch:
        answer = helm(own, "alice", "upgrade", RELEASE, chart.CHART, "--namespace", NAMESPACE, "--reset-then-reuse-values")
        assert answer.returncode == 0, answer.stderr
        run_processes(own)
        own.wait_in_force()
        asked = watch.asked
        until(lambda: watch.asked > asked + 10, "both were to ask the new version too")
    assert watch.got_through == []
    assert watch.held_up == []
    assert watch.asked > 20


def test_3_nothing_was_made_anew(own: Cluster, before: Before) -> None:
    after = made_by_the_chart(own)
    assert {name: uid for name, uid in after.items() if name in before.made} == before.made
    until(lambda: numbers(own) == {str(REVISION)}, "the definitions were to be the new ones", explain=lambda: str(numbers(own)))
    until(lambda: before.guards <= guards(own.api), "the guards were to stand", explain=lambda: str(before.guards - guards(own.api)))


def test_4_values_are_carried(own: Cluster, before: Before) -> None:
    answer = helm(own, "alice", "get", "values", RELEASE, "--namespace", NAMESPACE, "-o", "json")
    assert json.loads(answer.stdout) == before.values
    assert spec(own)["approvals"]["useWithin"] == "30m"
    assert "sandbox" in spec(own)["namespaces"]["exclude"]


def test_5_what_waited_is_signed_and_done(own: Cluster, before: Before) -> None:
    """The statement, the act and the request of the version before: what is signed for it now still fits."""
    # The API server reads our kinds anew for a moment after their definitions were changed.
    until(lambda: delete_namespace(own, "rogue", before.namespace).status == HTTPStatus.FORBIDDEN, "it was to be decided again")
    assert held(delete_namespace(own, "rogue", before.namespace)) == before.request
    approve(own, before.request, "bob")
    until(lambda: delete_namespace(own, "rogue", before.namespace).ok, "the approved deletion was to pass")
    fresh = make_namespace(own, "fresh")
    held(delete_namespace(own, "rogue", fresh))
    allowed(own.api.request("DELETE", path("namespaces", fresh)))
