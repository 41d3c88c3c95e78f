"""What nobody was asked about is seen all the same: a label lost, a setting weakened, by somebody else's mutating policy in a human's update.

Admission does not see who writes mutating policies and webhooks, and what they change of a person's request counts as that person's. Nobody
can tell the two apart, so it is told: to the person at once, in the API server's audit log, and by the operator's Events, metric and log.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.controlplane.api import Answer, path
from tests.controlplane.cluster import Cluster
from tests.controlplane.people import public_key, service_account
from tests.e2e import _faults
from tests.e2e._faults import (
    ADMIN,
    OURS,
    TEAM,
    Json,
    allowed,
    delete_namespace,
    environment,
    held,
    kept,
    make_namespace,
    manifest,
    patch,
    unique,
    until,
)
from tests.support.mutating import one_patch

ENVIRONMENTS, IDENTITIES, REVIEWERS = path("protectedenvironments"), path("agentidentities"), path("reviewers")
DEFAULT = path("protectedenvironments", "default")
POLICY = "admissionregistration.k8s.io/v1"
NOTED = f"{OURS}/environments"
TAKEN_UP = 90.0


@contextmanager
def mutated(cluster: Cluster, group: str, resource: str, name: str, expression: str) -> Iterator[None]:
    """An agent's MutatingAdmissionPolicy that makes one JSON patch of everybody's writes to one object."""
    api, sneaky = cluster.api_as("rogue"), unique("sneaky")
    spec = one_patch(group, resource, name, expression)
    policy, binding = path("mutatingadmissionpolicies"), path("mutatingadmissionpolicybindings")
    allowed(api.request("POST", policy, manifest("MutatingAdmissionPolicy", sneaky, api=POLICY, spec=spec)))
    allowed(api.request("POST", binding, manifest("MutatingAdmissionPolicyBinding", sneaky, api=POLICY, spec={"policyName": sneaky})))
    try:
        yield
    finally:
        for collection in (binding, policy):
            api.request("DELETE", f"{collection}/{sneaky}")


def events(cluster: Cluster, reason: str, name: str) -> list[Json]:
    """On objects of the cluster they lie in `default`."""
    found = cluster.api.list(path("events", namespace="default"))
    return [event for event in found if event["reason"] == reason and event["involvedObject"]["name"] == name]


def told(cluster: Cluster, reason: str, name: str) -> str:
    until(lambda: bool(events(cluster, reason, name)), f"an Event {reason} on {name}")
    return str(events(cluster, reason, name)[-1]["message"])


def counted(cluster: Cluster, metric: str) -> float:
    lines = [line for line in cluster.operator_metrics().splitlines() if line.startswith(metric)]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


def wait_noted(cluster: Cluster, namespace: str, team: str) -> None:
    def noted() -> bool:
        annotations = cluster.api.get(path("namespaces", namespace))["metadata"].get("annotations", {})
        return team in annotations.get(NOTED, "").split(",")

    until(noted, f"the operator was to note that {namespace} is in {team}")


@pytest.fixture(scope="module")
def team(cluster: Cluster) -> Iterator[str]:
    name = unique("unseen")
    with kept(cluster.api, ENVIRONMENTS, environment(name, name, "Agents", approvals={"required": 2})):
        yield name


@pytest.fixture
def victim(cluster: Cluster, team: str) -> str:
    name = make_namespace(cluster, "victim", {TEAM: team})
    wait_noted(cluster, name, team)
    return name


STRIP = f"""has(object.metadata.labels) && "{TEAM}" in object.metadata.labels
  ? [JSONPatch{{op: "remove", path: "/metadata/labels/" + jsonpatch.escapeKey("{TEAM}")}}] : []"""


def wait_mutating(ask: Callable[[], Answer], is_seen: Callable[[Answer], bool]) -> None:
    """Until the agent's policy shows in the warnings of a dry run, which itself has to be let through.

    The API server compiles changed policies each second; its informer may be half a minute late after a watch that broke off (client-go's
    reflector backs off that far).
    """
    last: list[Answer] = []

    def seen() -> bool:
        last[:] = [ask()]
        allowed(last[0])
        return is_seen(last[0])

    until(seen, "the agent's policy was to be in force", timeout=TAKEN_UP, explain=lambda: f"The last answer: {last}")


def annotate(cluster: Cluster, namespace: str, value: str, *, dry_run: bool = False) -> Answer:
    return patch(cluster, "alice", path("namespaces", namespace), {"metadata": {"annotations": {"note": value}}}, dry_run=dry_run)


def is_warned(answer: Answer) -> bool:
    return any("takes the namespace" in warning for warning in answer.warnings)


def test_an_agents_policy_strips_the_label_from_a_humans_harmless_update(cluster: Cluster, team: str, victim: str) -> None:
    before = counted(cluster, f'countersign_namespaces_left_total{{environment="{team}"}}')
    assert not is_warned(annotate(cluster, victim, "before"))
    with mutated(cluster, "", "namespaces", victim, STRIP):
        wait_mutating(lambda: annotate(cluster, victim, "probe", dry_run=True), is_warned)
        answer = annotate(cluster, victim, "harmless")
        allowed(answer)
    assert TEAM not in cluster.api.get(path("namespaces", victim))["metadata"]["labels"], "the attack as such"
    # 1. The person is told at once, in process.
    [warning] = [each for each in answer.warnings if "takes the namespace" in each]
    assert f"takes the namespace {victim} out of {team}. If you did not mean to change its labels" in warning
    # 2. The API server's audit log has who asked, and what was left.
    entry = _faults.audit_of(
        cluster,
        "the namespace that left",
        lambda event: (
            _faults.annotations_of(event).get("countersign-leaving/left") == team
            and event["objectRef"]["name"] == victim
            and "dryRun" not in event["requestURI"]
        ),
    )
    assert entry["user"]["username"] == "alice@example.com"
    # 3. Everybody who looks at the namespace or the environment sees it.
    assert f"{TEAM}: {team} -> (absent)" in told(cluster, "LeftEnvironment", victim)
    assert victim in told(cluster, "NamespacesLeft", team)
    assert counted(cluster, f'countersign_namespaces_left_total{{environment="{team}"}}') == before + 1
    assert f"the namespace {victim} has left the environment {team}: {TEAM}: {team} -> (absent)" in cluster.log("operator")
    # 4. `default` holds it still.
    request = held(delete_namespace(cluster, "kiro", victim))
    assert cluster.api.get(path("changerequests", request))["spec"]["environments"] == ["default"]


def test_a_label_lost_by_a_humans_apply_is_told_of(cluster: Cluster, team: str) -> None:
    name = unique("migrated")

    def apply(labels: dict[str, str]) -> str:
        body = manifest("Namespace", name, labels=labels)
        done = cluster.kubectl("alice", "apply", "-f", "-", stdin=json.dumps(body))
        assert done.returncode == 0, done.stderr
        return done.stderr

    apply({TEAM: team, "a": "b"})
    wait_noted(cluster, name, team)
    assert f"takes the namespace {name} out of {team}" in apply({"a": "b"})
    assert f"{TEAM}: {team} -> (absent)" in told(cluster, "LeftEnvironment", name)


def test_what_left_while_the_operator_was_away_is_told_when_it_is_back(cluster: Cluster, team: str, victim: str) -> None:
    cluster.stop_operator()
    try:
        answer = patch(cluster, "alice", path("namespaces", victim), {"metadata": {"labels": {TEAM: None}}})
        allowed(answer)
        assert is_warned(answer), "the policy needs no process of ours"
    finally:
        cluster.start_operator()
    assert "while nobody looked" in told(cluster, "LeftEnvironment", victim)


def test_what_stays_is_not_told_of(cluster: Cluster, team: str, victim: str) -> None:
    answer = patch(cluster, "alice", path("namespaces", victim), {"metadata": {"labels": {"another": "label"}}})
    allowed(answer)
    assert not is_warned(answer)
    assert not events(cluster, "LeftEnvironment", victim)


# ── our own kinds ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def wait_seen(cluster: Cluster, url: str) -> None:
    """The operator compares two looks: what is weakened before its first one, it never saw otherwise."""

    def in_force() -> bool:
        return any(each["type"] == "InForce" for each in cluster.api.get(url).get("status", {}).get("conditions", []))

    until(in_force, f"the operator was to see {url}")
    time.sleep(3)  # what it saw it compares at the end of the round that wrote this


def fingerprint(line: str) -> str:
    done = subprocess.run(["ssh-keygen", "-lf", "-"], input=line, capture_output=True, text=True, check=True, timeout=10)
    return done.stdout.split()[1]


def test_another_key_in_a_humans_registration_is_shown_to_the_human(cluster: Cluster) -> None:
    """The worst of them: the agent's policy swaps the public key in a Reviewer that a person creates."""
    name, own, theirs = unique("swapped"), cluster.new_key(unique("own")), cluster.new_key(unique("theirs"))
    body = cluster.reviewer(name, [f"{name}@example.com"], {"main": own})
    swap = f'[JSONPatch{{op: "replace", path: "/spec/keys/0/publicKey", value: "{public_key(theirs)}"}}]'
    before = cluster.api.get(DEFAULT)["spec"].get("except", [])
    with _faults.patched(cluster.api, DEFAULT, {"except": [*before, ADMIN]}), mutated(cluster, OURS, "reviewers", name, swap):
        shown = fingerprint(public_key(theirs))

        def registers(*, dry_run: bool) -> Answer:
            return cluster.api.request("POST", REVIEWERS, body, {"dryRun": "All"} if dry_run else None)

        wait_mutating(lambda: registers(dry_run=True), lambda answer: any(shown in each for each in answer.warnings))
        answer = registers(dry_run=False)
        allowed(answer)
    try:
        [warning] = [each for each in answer.warnings if "signs with" in each]
        assert f"from now on {name} signs with main {shown}" in warning
        assert fingerprint(public_key(own)) not in warning
        assert "Who may sign has changed" in told(cluster, "Registered", name)
    finally:
        cluster.api.request("DELETE", f"{REVIEWERS}/{name}")


def test_an_exception_in_a_humans_update_of_an_environment_is_told_of(cluster: Cluster) -> None:
    name = unique("excepting")
    add = '[JSONPatch{op: "add", path: "/spec/except", value: [{"kind": "User", "name": "mallory"}]}]'
    before = counted(cluster, 'countersign_protection_weakened_total{kind="protectedenvironments"}')
    with (
        kept(cluster.api, ENVIRONMENTS, environment(name, name, "Agents")) as url,
        mutated(cluster, OURS, "protectedenvironments", name, add),
    ):
        noted = {"metadata": {"annotations": {"note": "harmless"}}}
        wait_seen(cluster, url)
        wait_mutating(
            lambda: patch(cluster, "alice", url, noted, dry_run=True),
            lambda answer: any("more identities are excepted" in each for each in answer.warnings),
        )
        answer = patch(cluster, "alice", url, noted)
        allowed(answer)
        assert "countersign: this takes protection away: more identities are excepted" in answer.warnings
        assert told(cluster, "ProtectionWeakened", name) == "more identities are excepted."
    until(
        lambda: counted(cluster, 'countersign_protection_weakened_total{kind="protectedenvironments"}') >= before + 2,
        "the weakening and the deletion were to be counted",
    )


def test_another_subject_in_a_humans_update_of_an_identity_is_told_of(cluster: Cluster) -> None:
    name = unique("renamed")
    swap = '[JSONPatch{op: "replace", path: "/spec/subjects/0/name", value: "somebody-else"}]'
    body = cluster.identity(name, [service_account("agents", name)])
    with kept(cluster.api, IDENTITIES, body) as url, mutated(cluster, OURS, "agentidentities", name, swap):
        noted = {"metadata": {"annotations": {"note": "harmless"}}}
        wait_seen(cluster, url)
        wait_mutating(
            lambda: patch(cluster, "alice", url, noted, dry_run=True),
            lambda answer: any("fewer subjects" in each for each in answer.warnings),
        )
        answer = patch(cluster, "alice", url, noted)
        allowed(answer)
        assert "countersign: this takes protection away: fewer subjects are recognised" in answer.warnings
        assert told(cluster, "ProtectionWeakened", name) == "fewer subjects are recognised."
