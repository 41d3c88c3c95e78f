"""After tampering, where it is chosen, nothing guarded passes for an agent, signed for or not, until a second human lifts it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.controlplane.api import path
from tests.controlplane.cluster import Cluster
from tests.e2e._faults import (
    Json,
    allowed,
    approve,
    cause,
    delete_namespace,
    held,
    is_allowed,
    make_namespace,
    message,
    patch,
    request_named_in,
    until,
)

DEFAULT = path("protectedenvironments", "default")
POLICY = path("validatingadmissionpolicies", "countersign-records")


@pytest.fixture(scope="module")
def locking(cluster: Cluster) -> Iterator[None]:
    cluster.reconfigure(lockdownAfterTampering=True)
    yield
    incident = lockdown(cluster).get("incident")
    cluster.reconfigure(lockdownAfterTampering=False)
    if incident and cluster.api.get(DEFAULT)["spec"].get("lockdownLifted") != incident:
        lift(cluster, incident)


def lockdown(cluster: Cluster) -> Json:
    found: Json = cluster.api.get(DEFAULT).get("status", {}).get("lockdown", {})
    return found


def condition(cluster: Cluster, kind: str) -> str:
    conditions = cluster.api.get(DEFAULT)["status"]["conditions"]
    return next((str(each["status"]) for each in conditions if each["type"] == kind), "")


def tamper(cluster: Cluster) -> str:
    """The incident that follows."""
    before = lockdown(cluster).get("incident")
    cluster.api_as("rogue").patch(POLICY, {"spec": {"failurePolicy": "Ignore"}})
    until(lambda: lockdown(cluster).get("incident") not in (None, before), "agents were to be locked down")
    return str(lockdown(cluster)["incident"])


def lift(cluster: Cluster, incident: str) -> None:
    change = {"spec": {"lockdownLifted": incident}}
    approve(cluster, held(patch(cluster, "alice", DEFAULT, change)), "bob")
    until(lambda: is_allowed(patch(cluster, "alice", DEFAULT, change)), "what is signed for was to pass")


def test_the_whole_way(cluster: Cluster, locking: None) -> None:
    name = make_namespace(cluster, "shop")
    request = held(delete_namespace(cluster, "kiro", name))
    approve(cluster, request, "bob")
    allowed(delete_namespace(cluster, "kiro", name, dry_run=True))

    incident = tamper(cluster)
    refused = delete_namespace(cluster, "kiro", name)
    assert message(refused).startswith(
        'admission webhook "agents-0.kube-countersign.dev" denied the request: LOCKED DOWN, nothing was deleted'
    )
    assert (cause(refused, "outcome"), cause(refused, "incident")) == ("Locked", incident)
    until(lambda: condition(cluster, "LockedDown") == "True", "the condition was to say it")
    assert "countersign_locked_down 1.0" in cluster.operator_metrics()
    assert cluster.api.exists(path("namespaces", name))

    # A human's own changes pass as before; no agent lifts it, and no human alone.
    allowed(patch(cluster, "alice", path("namespaces", name), {"metadata": {"labels": {"a": "b"}}}))
    change = {"spec": {"lockdownLifted": incident}}
    assert not is_allowed(patch(cluster, "rogue", DEFAULT, change))
    lifting = request_named_in(patch(cluster, "alice", DEFAULT, change))
    statement = cluster.api.get(path("changerequests", lifting))["spec"]["statement"]
    assert f'spec.lockdownLifted: absent -> \\"{incident}\\"' in statement or incident in statement
    assert cause(delete_namespace(cluster, "kiro", name), "outcome") == "Locked"
    approve(cluster, lifting, "bob")
    until(lambda: is_allowed(patch(cluster, "alice", DEFAULT, change)), "what is signed for was to pass")

    # What was signed for before is good again, within its time.
    until(lambda: is_allowed(delete_namespace(cluster, "kiro", name, dry_run=True)), "it was to pass again")
    until(lambda: condition(cluster, "LockedDown") == "False", "the condition was to say that it is over")


@pytest.mark.local_only(reason="starts the operator with another setting than the chart's")
def test_it_outlives_the_operator_and_its_own_setting(cluster: Cluster, locking: None) -> None:
    name = make_namespace(cluster, "shop")
    incident = tamper(cluster)
    cluster.stop_operator()
    try:
        assert cause(delete_namespace(cluster, "kiro", name), "outcome") == "Locked"
    finally:
        cluster.start_operator(COUNTERSIGN_LOCKDOWN_AFTER_TAMPERING="false")
    assert cause(delete_namespace(cluster, "kiro", name), "outcome") == "Locked"
    lift(cluster, incident)
    until(lambda: cause(delete_namespace(cluster, "kiro", name), "outcome") == "Pending", "it was to be as before")
    cluster.restart_operator()


def test_nobody_but_the_operator_writes_it(cluster: Cluster, locking: None) -> None:
    forged = {"status": {"lockdown": None}}
    for user in ("admin", "alice", "rogue"):
        answer = cluster.api_as(user).request("PATCH", f"{DEFAULT}/status", forged, None, "application/merge-patch+json")
        assert "by its operator alone" in message(answer) or "countersign-agents" in message(answer), message(answer)


def test_nobody_lifts_it_ahead_of_its_time(cluster: Cluster, locking: None) -> None:
    assert held(patch(cluster, "alice", DEFAULT, {"spec": {"lockdownLifted": "a-guess"}}))
