"""An agent is refused: what it reads, what is recorded, and what is not."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.controlplane import kubeconfig, waiting
from tests.controlplane.api import OURS, Api, path
from tests.controlplane.cluster import Cluster
from tests.e2e.people import People
from tests.e2e.story import Story, condition, manifest, review

KIRO = "system:serviceaccount:agents:kiro"


def text_of(request: dict[str, Any], thing: str, *, signed: int = 0) -> str:
    """What design and docs promise an agent, word for word."""
    name, spec = request["metadata"]["name"], request["spec"]
    people = "1 person" if spec["required"] == 1 else f"{spec['required']} people"
    until = f"{spec['expiresAt'][:16]}Z"
    return "\n".join(
        [
            f"WAITING FOR HUMAN SIGNATURES, nothing was deleted: {thing} on {spec['cluster']['name']} needs {people} to sign "
            f"{name} ({signed} of {spec['required']}, until {until}).",
            "This is not a permission problem: changing RBAC or identity does not help, and signatures by agents or their sponsors "
            "do not count. Attempts by another route are held and recorded too.",
            "Next step: give this name to the person you work for and end this task here.",
            f"State: kubectl get changerequests.{OURS} {name} -o jsonpath='{{.status.outcome}}'   (at most once a minute)",
            "Pending: come back later. Approved: send this same request again. Rejected or Expired: stop; the reason is in .status.message.",
        ]
    )


def test_kubectl_shows_the_agent_the_whole_text(cluster: Cluster, story: Story) -> None:
    namespace = story.namespace()
    ran = cluster.kubectl("kiro", "delete", "namespace", namespace)
    assert ran.returncode != 0
    [request] = story.requests_for(namespace)
    text = text_of(request, f'namespace "{namespace}"')
    assert "Error from server (Forbidden): " in ran.stderr
    assert ran.stderr.endswith(f"denied the request: {text}\n")
    assert len(text.splitlines()[0]) <= 200
    assert "Warning: countersign: recognised as agent kiro, run by alice" in ran.stderr
    assert cluster.api.get(path("namespaces", namespace))["status"]["phase"] == "Active"


def test_the_text_holds_no_command_that_signs_or_changes(story: Story) -> None:
    namespace = story.namespace()
    reply = story.delete("kiro", path("namespaces", namespace))
    assert re.findall(r"kubectl (\w+)", reply.message) == ["get"]
    assert not re.search(r"approve|ssh-keygen|\bcreate\b|\bapply\b|\bpatch\b|--as\b", reply.message)


def test_causes_say_the_same_to_a_machine(story: Story) -> None:
    namespace = story.namespace()
    reply = story.delete("kiro", path("namespaces", namespace))
    [request] = story.requests_for(namespace)
    assert reply.answer.status == 403
    assert reply.answer.body["reason"] == "Forbidden"
    assert reply.causes == {
        "outcome": "Pending",
        "changeRequest": f"changerequests.{OURS}/{request['metadata']['name']}",
        "humanActionRequired": "true",
        "pollSeconds": "60",
    }
    assert "retryAfterSeconds" not in reply.answer.body["details"]
    assert reply.answer.warnings == ["countersign: recognised as agent kiro, run by alice"]


def test_a_cluster_admin_is_refused_where_it_is_an_agent(story: Story) -> None:
    namespace = story.namespace()
    request = story.request(story.ask("rogue", path("namespaces", namespace)))
    assert request["spec"]["requester"]["username"] == "system:serviceaccount:agents:rogue"


def test_the_change_request_records_who_what_and_what_would_be_lost(cluster: Cluster, story: Story, people: People) -> None:
    namespace = story.namespace()
    live = cluster.api.get(path("namespaces", namespace))
    story.claim(namespace, "ledger")
    story.claim(namespace, "archive")
    story.load_balancer(namespace)
    before = datetime.now(UTC)
    name = story.ask("kiro", path("namespaces", namespace))
    request = story.request(name)
    spec = dict(request["spec"])
    statement, expires = spec.pop("statement"), datetime.fromisoformat(spec.pop("expiresAt"))
    digest = spec["change"].pop("old")
    assert re.fullmatch(rf"delete-namespace-{re.escape(namespace)}-[0-9a-f]{{8}}", name)
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", digest)
    assert timedelta(hours=23, minutes=59) < expires - before < timedelta(hours=24, seconds=30)
    assert spec == {
        "cluster": {"name": cluster.name, "uid": cluster.uid},
        "operation": "DELETE",
        "target": {"group": "", "version": "v1", "resource": "namespaces", "name": namespace, "uid": live["metadata"]["uid"]},
        "change": {},
        "losses": {"volumes": 2, "loadBalancers": 1},
        "requester": {"username": KIRO, "key": KIRO, "agents": ["kiro"], "sponsors": ["alice"]},
        "environments": ["default"],
        "required": 1,
        "round": 1,
    }
    lines = statement.splitlines()
    assert lines[0] == f"{OURS}/v1alpha1"
    assert statement.isascii()
    assert statement.endswith("\n")
    shown = dict(line.split(": ", 1) for line in lines[1:])
    assert json.loads(shown["target.name"]) == namespace
    assert json.loads(shown["target.uid"]) == live["metadata"]["uid"]
    assert json.loads(shown["cluster.uid"]) == cluster.uid
    assert json.loads(shown["losses.volumes"]) == 2
    assert json.loads(shown["losses.loadBalancers"]) == 1
    assert json.loads(shown["requester.username"]) == KIRO
    assert json.loads(shown["requester.sponsors[0]"]) == "alice"
    assert json.loads(shown["change.old"]) == digest


def test_the_operator_says_where_it_stands_and_what_goes_with_it(cluster: Cluster, story: Story, people: People) -> None:
    namespace = story.namespace()
    for name in ("one", "two"):
        cluster.api.create(path("configmaps", namespace=namespace), {"metadata": {"name": name}})
    waiting.until(
        lambda: len(cluster.api.list(path("configmaps", namespace=namespace))) == 3, "kube-root-ca.crt was to be published", timeout=20
    )
    name = story.ask("kiro", path("namespaces", namespace))
    status = story.wait_for(name, "Pending")
    assert status["impact"]["configmaps"] == 3
    assert {people.bob.name, people.carol.name, people.dave.name} <= set(status["eligibleReviewers"])
    assert people.alice.name not in status["eligibleReviewers"]
    assert status["message"]
    assert condition(status, "Approved").get("status") != "True"
    assert condition(status, "Settled").get("status") != "True"


def test_asking_again_is_the_same_request(story: Story) -> None:
    namespace = story.namespace()
    first = story.ask("kiro", path("namespaces", namespace))
    written = story.request(first)
    assert story.ask("kiro", path("namespaces", namespace)) == first
    [found] = story.requests_for(namespace)
    assert found["spec"] == written["spec"]
    assert found["metadata"]["uid"] == written["metadata"]["uid"]


def test_ten_at_once_are_one_request(cluster: Cluster, story: Story) -> None:
    url = path("namespaces", story.namespace())

    def ask(_: int) -> str:
        with Api(kubeconfig.load(cluster.paths.user("kiro"))) as api:
            answer = api.request("DELETE", url)
        assert answer.status == 403, answer
        return str({cause["reason"]: cause["message"] for cause in answer.body["details"]["causes"]}["changeRequest"])

    with ThreadPoolExecutor(10) as pool:
        names = set(pool.map(ask, range(10)))
    assert len(names) == 1
    assert len(story.requests_for(url.rpartition("/")[2])) == 1


def test_each_agent_has_a_request_of_its_own(story: Story) -> None:
    namespace = story.namespace()
    names = {story.ask(agent, path("namespaces", namespace)) for agent in ("kiro", "rogue")}
    assert len(names) == 2
    assert {request["spec"]["requester"]["username"] for request in story.requests_for(namespace)} == {
        KIRO,
        "system:serviceaccount:agents:rogue",
    }


def test_a_dry_run_is_refused_and_leaves_nothing(cluster: Cluster, story: Story) -> None:
    namespace = story.namespace()
    ran = cluster.kubectl("kiro", "delete", "namespace", namespace, "--dry-run=server")
    assert ran.returncode != 0
    assert (
        f'DRY RUN, nothing was deleted: namespace "{namespace}" on {cluster.name} would be held until 1 person has signed for it.'
        in ran.stderr
    )
    reply = story.delete("kiro", path("namespaces", namespace), dryRun="All")
    assert reply.answer.status == 403
    assert reply.outcome == "DryRun"
    assert reply.request == ""
    assert story.requests_for(namespace) == []


def test_a_dry_run_names_the_request_that_waits(story: Story) -> None:
    url = path("namespaces", story.namespace())
    name = story.ask("kiro", url)
    reply = story.delete("kiro", url, dryRun="All")
    assert reply.outcome == "DryRun"
    assert reply.request == name


def test_nothing_is_recorded_for_what_is_not_there(cluster: Cluster, story: Story) -> None:
    ran = cluster.kubectl("kiro", "delete", "namespace", "never-was")
    assert "NotFound" in ran.stderr
    assert story.requests_for("never-was") == []


def user_info(username: str) -> dict[str, Any]:
    return {"username": username, "uid": "1", "groups": ["system:serviceaccounts", "system:authenticated"]}


@pytest.mark.parametrize("case", ["never there", "another uid"])
def test_a_forged_review_writes_no_request_for_what_is_not_there(cluster: Cluster, story: Story, case: str) -> None:
    name = story.name("phantom")
    if case == "another uid":
        story.namespace(name)
    old = {
        "metadata": {"name": name, "uid": "11111111-2222-3333-4444-555555555555", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"finalizers": ["kubernetes"]},
    }
    answer = story.post_review(review("DELETE", user_info(KIRO), old))
    assert answer.status == 200
    response = answer.body["response"]
    assert response["allowed"] is False
    assert {"reason": "outcome", "message": "NoTarget"} in response["status"]["details"]["causes"]
    assert story.requests_for(name) == []


def test_a_forged_review_of_a_real_object_uses_nothing_up(cluster: Cluster, story: Story, people: People) -> None:
    """Whoever reaches the port may ask in an agent's name: the answer changes nothing that the agent's own request would not."""
    namespace = story.namespace()
    old = cluster.api.get(path("namespaces", namespace))
    for _ in range(3):
        response = story.post_review(review("DELETE", user_info(KIRO), old)).body["response"]
        assert response["allowed"] is False
    name = story.ask("kiro", path("namespaces", namespace))
    story.signed(name, people.bob)
    for _ in range(3):
        assert story.post_review(review("DELETE", user_info(KIRO), old)).body["response"]["allowed"] is True
    assert [request["metadata"]["name"] for request in story.requests_for(namespace)] == [name]
    story.passes("kiro", path("namespaces", namespace))


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param({"metadata": {"name": "n", "uid": ""}}, id="no uid"),
        pytest.param({"metadata": {"name": "", "uid": "u"}}, id="no name"),
        pytest.param({"metadata": {}}, id="nothing"),
    ],
)
def test_half_a_review_is_never_allowed(story: Story, spoil: dict[str, Any]) -> None:
    whole = review("DELETE", user_info(KIRO), {"metadata": {"name": "n", "uid": "u"}})
    whole["request"]["oldObject"] |= spoil
    whole["request"]["name"] = spoil["metadata"].get("name", "")
    answer = story.post_review(whole)
    assert answer.status >= 400 or answer.body["response"]["allowed"] is False


def test_the_audit_log_says_who_and_why(cluster: Cluster, story: Story) -> None:
    namespace = story.namespace()
    name = story.ask("kiro", path("namespaces", namespace))
    found: list[dict[str, Any]] = []

    def recorded() -> bool:
        found[:] = [event for event in cluster.audit() if event["verb"] == "delete" and event.get("objectRef", {}).get("name") == namespace]
        return bool(found)

    waiting.until(recorded, f"the deletion of {namespace} was to be audited", timeout=10)
    [event] = found
    annotations = {key.partition("/")[2]: value for key, value in event["annotations"].items() if f".{OURS}/" in key}
    assert annotations == {
        "decision": "refuse",
        "reason": "Pending",
        "agents": "kiro",
        "sponsors": "alice",
        "environments": "default",
        "change-request": name,
    }
    label = {key.partition("/")[2]: value for key, value in event["annotations"].items() if key.startswith("countersign-label")}
    assert label == {"agent": "kiro", "sponsor": "alice"}
    assert event["responseStatus"]["code"] == 403
    assert {"reason": "changeRequest", "message": f"changerequests.{OURS}/{name}"} in event["responseStatus"]["details"]["causes"]


def test_the_decision_log_holds_the_chain(cluster: Cluster, story: Story) -> None:
    namespace = story.namespace()
    name = story.ask("kiro", path("namespaces", namespace))
    # The API server may ask more than once about one request: when the object has changed meanwhile, it starts over.
    record = story.decisions(namespace)[-1]
    expected = {
        "decision": "Refuse",
        "reason": "Pending",
        "user": KIRO,
        "serviceAccount": "agents/kiro",
        "agents": ["kiro"],
        "sponsors": ["alice"],
        "environments": ["default"],
        "changeRequest": name,
        "reviewers": [],
        "operation": "DELETE",
        "dryRun": False,
    }
    assert {key: record[key] for key in expected} == expected
    assert record["target"]["uid"] == cluster.api.get(path("namespaces", namespace))["metadata"]["uid"]
    assert record["hash"]


def test_claims_volumes_and_definitions_are_held_too(cluster: Cluster, story: Story) -> None:
    namespace = story.namespace()
    claim = story.claim(namespace)
    request = story.request(story.ask("kiro", claim))
    assert request["spec"]["target"]["namespace"] == namespace
    assert request["spec"]["losses"] == {"volumes": 1}
    volume = story.name("volume")
    spec = {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/nowhere"}}
    cluster.api.create(path("persistentvolumes"), {"metadata": {"name": volume}, "spec": spec})
    assert story.request(story.ask("kiro", path("persistentvolumes", volume)))["spec"]["losses"] == {"volumes": 1}
    cluster.api.delete(path("persistentvolumes", volume))
    plural = f"widgets{story.run}"
    definition = f"{plural}.e2e.example.com"
    cluster.api.create(path("customresourcedefinitions"), a_definition(plural))
    request = story.request(story.ask("kiro", path("customresourcedefinitions", definition)))
    assert request["spec"]["target"]["group"] == "apiextensions.k8s.io"
    cluster.api.delete(path("customresourcedefinitions", definition))


def a_definition(plural: str) -> dict[str, Any]:
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    return {
        "metadata": {"name": f"{plural}.e2e.example.com"},
        "spec": {
            "group": "e2e.example.com",
            "scope": "Namespaced",
            "names": {"plural": plural, "kind": plural.capitalize()},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": schema}],
        },
    }


def test_the_record_is_nobody_elses_to_write(cluster: Cluster, story: Story) -> None:
    namespace = story.namespace()
    name = story.ask("kiro", path("namespaces", namespace))
    url, written = path("changerequests", name), story.request(name)
    forged = manifest("ChangeRequest", f"{name}0", written["spec"])
    for user in ("rogue", "alice", "admin"):
        for method, target, body in (
            ("POST", path("changerequests"), forged),
            ("DELETE", url, None),
        ):
            reply = story.send(user, method, target, body)
            assert reply.answer.status == 403, f"{user} {method}: {reply}"
            assert "Countersign" in reply.answer.body["message"]
        for subresource, change in (
            (None, {"spec": {"required": 0}}),
            (None, {"spec": {"environments": []}}),
            (None, {"metadata": {"labels": {"seen": "yes"}}}),
            ("status", {"status": {"outcome": "Approved"}}),
        ):
            target = path("changerequests", name, subresource=subresource)
            answer = cluster.api_as(user).request("PATCH", target, change, content_type="application/merge-patch+json")
            assert answer.status in (403, 422), f"{user} {change}: {answer}"
    assert story.request(name)["spec"] == written["spec"]


def test_the_requester_may_say_why(cluster: Cluster, story: Story) -> None:
    namespace = story.namespace()
    name = story.ask("kiro", path("namespaces", namespace))

    def says(user: str, text: str) -> int:
        change = {"metadata": {"annotations": {f"{OURS}/reason": text}}}
        return (
            cluster.api_as(user).request("PATCH", path("changerequests", name), change, content_type="application/merge-patch+json").status
        )

    assert says("kiro", "replaced by payments-v2") == 200
    assert says("rogue", "trust me") == 403
    assert says("kiro", "x" * 501) == 403
    after = story.request(name)
    assert after["metadata"]["annotations"][f"{OURS}/reason"] == "replaced by payments-v2"
    assert "payments-v2" not in after["spec"]["statement"]
