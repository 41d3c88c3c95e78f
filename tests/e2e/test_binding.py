"""An approval covers one act: this agent, this cluster, this object as it was, no more to lose, once."""

from __future__ import annotations

import json
from typing import Any

import pytest

from countersign.domain.statement import render
from countersign.wire.resources import parse_change_request
from tests.controlplane import waiting
from tests.controlplane.api import OURS, path
from tests.controlplane.cluster import Cluster
from tests.e2e.people import People
from tests.e2e.story import Reply, Story, condition, label_of, manifest


@pytest.fixture
def url(story: Story, people: People) -> str:
    """A namespace's path."""
    return path("namespaces", story.namespace())


def name_of(url: str) -> str:
    return url.rpartition("/")[2]


def approved(story: Story, people: People, user: str, url: str) -> str:
    request = story.ask(user, url)
    story.signed(request, people.bob)
    return request


def still_held(story: Story, user: str, url: str, before: str) -> dict[str, Any]:
    """The deletion waits under another change request than the one that was signed; returns it."""
    request = story.ask(user, url)
    assert request != before
    return story.request(request)


# --- one agent, one cluster -----------------------------------------------------------------------


def test_another_agents_approval_does_not_count(story: Story, people: People, url: str) -> None:
    kiros = approved(story, people, "kiro", url)
    for agent in (people.kira, "rogue"):
        held = still_held(story, agent, url, kiros)
        assert held["spec"]["requester"]["username"] == f"system:serviceaccount:agents:{agent}"
    story.passes("kiro", url)


def test_another_clusters_signature_does_not_count(cluster: Cluster, story: Story, people: People, url: str) -> None:
    request = story.ask("kiro", url)
    text = story.request(request)["spec"]["statement"]
    elsewhere = text.replace(cluster.uid, "9e5b2f6e-0000-4000-8000-000000000000")
    assert elsewhere != text
    reply = story.bring(request, people.bob, story.signature(people.bob.key(), elsewhere))
    assert reply.fault == "SignatureRefused", str(reply)
    assert story.ask("kiro", url) == request


def test_another_clusters_request_cannot_be_signed_here(story: Story, people: People, url: str) -> None:
    """Carried over with the webhook's own credentials, whole and consistent, under the very name that its act would have."""
    request = story.ask("kiro", url)
    spec = dict(story.request(request)["spec"])
    foreign = manifest("ChangeRequest", f"{request}00000000", spec | {"cluster": {"name": "elsewhere", "uid": "9e5b2f6e"}})
    foreign["spec"]["statement"] = render(parse_change_request({**foreign, "metadata": {**foreign["metadata"], "uid": "u"}}))
    carried = story.send(story.webhook_account(), "POST", path("changerequests"), foreign)
    assert carried.ok, str(carried)
    name = foreign["metadata"]["name"]
    reply = story.approve(name, people.bob)
    assert reply.fault == "OtherCluster", str(reply)
    assert "9e5b2f6e" in reply.message
    assert story.approvals(name) == []
    assert story.ask("kiro", url) == request


# --- one object, as it was ------------------------------------------------------------------------


def finalize(cluster: Cluster, url: str, finalizers: list[str]) -> None:
    """Whatever version it has by now: the operator labels namespaces."""
    live = cluster.api.get(url)
    del live["metadata"]["resourceVersion"]
    cluster.api.replace(f"{url}/finalize", {**live, "spec": {"finalizers": finalizers}})


@pytest.mark.parametrize("what", ["finalizer", "spec finalizer"])
def test_a_change_after_signing_needs_a_new_signature(cluster: Cluster, story: Story, people: People, url: str, what: str) -> None:
    """A finalizer added later is a cascade that nobody has seen."""
    first = approved(story, people, "kiro", url)
    if what == "finalizer":
        cluster.api.patch(url, {"metadata": {"finalizers": ["e2e.example.com/cascade"]}})
    else:
        finalize(cluster, url, ["kubernetes", "e2e.example.com/cascade"])
    try:
        held = still_held(story, "kiro", url, first)
        assert held["spec"]["round"] == 1, "another act, not another round"
        assert held["spec"]["change"]["old"] != story.request(first)["spec"]["change"]["old"]
    finally:
        if what == "finalizer":
            cluster.api.patch(url, {"metadata": {"finalizers": None}})
        else:
            finalize(cluster, url, ["kubernetes"])
    story.passes("kiro", url)


def test_labels_may_change_after_signing(cluster: Cluster, story: Story, people: People, url: str) -> None:
    """People and controllers label namespaces all the time; what is deleted is the same."""
    approved(story, people, "kiro", url)
    cluster.api.patch(url, {"metadata": {"labels": {"cost-centre": "42"}}})
    story.passes("kiro", url)


def test_another_update_of_the_same_namespace_needs_its_own_signature(cluster: Cluster, story: Story, people: People) -> None:
    """Taking a namespace out of an environment is guarded: the signature is for these labels and no others."""
    with story.environment("labelled", required=1) as environment:
        label = label_of(environment)
        url = path("namespaces", story.in_environment(environment))

        def relabel(value: str | None, **params: str) -> Reply:
            change = {"metadata": {"labels": {label: value}}}
            return Reply(cluster.api_as("kiro").request("PATCH", url, change, params, "application/merge-patch+json"))

        waiting.until(lambda: relabel("no", dryRun="All").outcome == "DryRun", "the API server was to know the environment", timeout=20)
        first = relabel("no")
        assert first.outcome == "Pending", str(first)
        spec = story.request(first.request)["spec"]
        assert spec["operation"] == "UPDATE"
        assert spec["change"]["old"] != spec["change"]["new"]
        assert spec["change"]["lines"] == [f'metadata.labels."{label}": "yes" -> "no"']
        story.signed(first.request, people.bob)

        other = relabel(None)
        assert other.outcome == "Pending", str(other)
        assert other.request != first.request
        assert story.ask("kiro", url) not in (first.request, other.request)

        passed = relabel("no")
        assert passed.ok, str(passed)
        assert cluster.api.get(url)["metadata"]["labels"][label] == "no"
        story.wait_for(first.request, "Executed")


def test_the_earlier_namespace_of_the_same_name(cluster: Cluster, story: Story, people: People, url: str) -> None:
    first = approved(story, people, "kiro", url)
    story.wait_for(first, "Approved")
    old_uid = cluster.api.get(url)["metadata"]["uid"]
    cluster.api.delete(url)
    story.wait_gone(url)
    story.namespace(name_of(url))
    held = still_held(story, "kiro", url, first)
    assert held["spec"]["target"]["uid"] == cluster.api.get(url)["metadata"]["uid"] != old_uid
    reply = story.bring(held["metadata"]["name"], people.bob, story.signature(people.bob.key(), story.request(first)["spec"]["statement"]))
    assert reply.fault == "SignatureRefused", str(reply)


# --- no more to lose ------------------------------------------------------------------------------


@pytest.mark.parametrize("more", ["volume", "load balancer"])
def test_more_to_lose_than_was_signed_for(story: Story, people: People, url: str, more: str) -> None:
    first = approved(story, people, "kiro", url)
    if more == "volume":
        story.claim(name_of(url))
    else:
        story.load_balancer(name_of(url))
    reply = story.delete("kiro", url)
    assert reply.outcome == "Pending", str(reply)
    assert reply.request != first
    assert "The round before this one is over: more would be lost now than was signed for" in reply.message
    assert story.delete("kiro", url).message == reply.message, "nobody misses it who asks again"
    spec = story.request(reply.request)["spec"]
    assert spec["round"] == 2
    assert spec["losses"] == {"volumes": int(more == "volume"), "loadBalancers": int(more == "load balancer")}
    story.signed(reply.request, people.bob)
    story.passes("kiro", url)


def test_less_to_lose_is_no_reason_to_ask_again(cluster: Cluster, story: Story, people: People, url: str) -> None:
    claim = story.claim(name_of(url))
    approved(story, people, "kiro", url)
    cluster.api.delete(claim)
    story.wait_gone(claim)
    story.passes("kiro", url)


# --- once -----------------------------------------------------------------------------------------


def test_approved_executed_and_refused_again(cluster: Cluster, story: Story, people: People, url: str) -> None:
    """The story as people play it, by kubectl and ssh-keygen."""
    name = name_of(url)
    request = story.ask("kiro", url)
    text = cluster.kubectl("bob", "get", f"changerequests.{OURS}", request, "-o", "jsonpath={.spec.statement}").stdout
    assert text == story.request(request)["spec"]["statement"]
    spec = {
        "changeRequest": request,
        "reviewer": "bob",
        "decision": "Approve",
        "comment": "replaced by payments-v2",
        "signature": cluster.sign("bob", text),
    }
    created = cluster.kubectl("bob", "create", "-f", "-", stdin=json.dumps(manifest("Approval", f"{request}-bob", spec)))
    assert created.returncode == 0, created.stderr
    waited = cluster.kubectl("admin", "wait", "--for=condition=Approved", f"changerequests.{OURS}/{request}", "--timeout=20s")
    assert waited.returncode == 0, waited.stderr
    deleted = cluster.kubectl("kiro", "delete", "namespace", name, "--timeout=60s")
    assert deleted.returncode == 0, deleted.stderr
    assert not cluster.api.exists(url)

    status = story.wait_for(request, "Executed")
    assert condition(status, "Settled")["status"] == "True"
    assert [each["reviewer"] for each in status["approvals"]] == ["bob"]
    story.namespace(name)
    again = cluster.kubectl("kiro", "delete", "namespace", name, "--timeout=60s")
    assert again.returncode != 0
    assert "WAITING FOR HUMAN SIGNATURES" in again.stderr
    assert request not in again.stderr
    assert story.request(request)["status"]["outcome"] == "Executed"
    *_, allowed = [record for record in story.decisions(name) if record["decision"] == "Allow"]
    assert allowed["reason"] == "Approved"
    assert allowed["reviewers"] == ["bob"]
    assert allowed["changeRequest"] == request
    assert allowed["approvals"] == [f"{request}-bob"]


def test_a_second_use_while_it_goes_destroys_nothing_more(cluster: Cluster, story: Story, people: People, url: str) -> None:
    """A finalizer that was signed for keeps the namespace: asking twice is one deletion."""
    cluster.api.patch(url, {"metadata": {"finalizers": ["e2e.example.com/hold"]}})
    try:
        request = approved(story, people, "kiro", url)
        story.passes("kiro", url)
        gone_since = cluster.api.get(url)["metadata"]["deletionTimestamp"]
        story.wait_for(request, "Executed")
        story.delete("kiro", url)
        assert cluster.api.get(url)["metadata"]["deletionTimestamp"] == gone_since
    finally:
        cluster.api.patch(url, {"metadata": {"finalizers": None}})


def test_an_approved_namespace_covers_what_is_in_it_for_the_same_agent(story: Story, people: People, url: str) -> None:
    inside = story.claim(name_of(url))
    elsewhere = story.claim(story.namespace())
    claims = story.ask("kiro", inside)
    approved(story, people, "kiro", url)
    assert not story.delete("rogue", inside).ok
    assert not story.delete(people.kira, inside).ok
    assert not story.delete("kiro", elsewhere).ok
    story.passes("kiro", inside)
    covered = story.decisions("ledger")[-1]
    assert covered["reason"] == "CoveredByNamespace"
    assert story.request(claims)["spec"]["target"]["resource"] == "persistentvolumeclaims"
    story.passes("kiro", url)


def test_an_approved_claim_does_not_cover_its_namespace(story: Story, people: People, url: str) -> None:
    first = story.claim(name_of(url), "first")
    second = story.claim(name_of(url), "second")
    approved(story, people, "kiro", first)
    story.ask("kiro", url)
    story.ask("kiro", second)
    story.passes("kiro", first)


# --- what the operator shows ----------------------------------------------------------------------


def test_gone_without_a_quorum_is_expired(cluster: Cluster, story: Story, people: People, url: str) -> None:
    request = story.ask("kiro", url)
    story.wait_for(request, "Pending")
    cluster.api.delete(url)
    status = story.wait_for(request, "Expired", timeout=40)
    assert "gone" in status["message"]
    assert condition(status, "Settled")["status"] == "True"
    assert condition(status, "Approved")["status"] == "False"


def test_events_tell_people(cluster: Cluster, story: Story, people: People, url: str) -> None:
    request = approved(story, people, "kiro", url)
    story.wait_for(request, "Approved")
    story.passes("kiro", url)
    story.wait_for(request, "Executed")
    reasons = story.wait_for_events(request, {"Approved", "Executed"})
    assert {"Approved", "Executed"} <= reasons


def test_the_name_is_taken_by_another_and_that_stops_nobody(cluster: Cluster, story: Story, people: People) -> None:
    """Somebody with the webhook's credentials sits on the name that the request will have."""
    model = path("namespaces", story.namespace())
    spec = story.request(story.ask("kiro", model))["spec"]
    namespace = story.namespace()
    url = path("namespaces", namespace)
    dry = story.delete("kiro", url, dryRun="All")
    assert dry.outcome == "DryRun"
    name = story.name_to_be("kiro", cluster.api.get(url))
    squatter = manifest("ChangeRequest", name, spec)
    assert story.send(story.webhook_account(), "POST", path("changerequests"), squatter).ok
    request = story.ask("kiro", url)
    assert request != name
    assert request.startswith(name), "eight digits more of the same digest"
    assert story.request(request)["spec"]["target"]["name"] == namespace
    story.signed(request, people.bob)
    story.passes("kiro", url)
