"""The webhook itself as a target: flooded with requests, asked by strangers with forged reviews, and asked by the API server alone."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.controlplane import waiting
from tests.controlplane.api import path
from tests.controlplane.cluster import Cluster
from tests.controlplane.extra import ExtraWebhook
from tests.controlplane.pki import Authority
from tests.e2e.people import People
from tests.e2e.story import Story

KIRO = "system:serviceaccount:agents:kiro"
EVERYBODY = 50  # times the limit of one requester

# --- a limit ----------------------------------------------------------------------------------


@pytest.fixture
def limit(cluster: Cluster) -> Iterator[int]:
    """For one requester. What other tests have left waiting must not fill the bound of everybody together, fifty times as much."""
    limit = 2 + filled(cluster)
    cluster.reconfigure(maxOpenRequests=limit)
    yield limit
    cluster.reset_values()


def filled(cluster: Cluster) -> int:
    """How high a limit has to be for everybody's room not to be full already."""
    return len(cluster.api.list(path("changerequests"))) // EVERYBODY + 1


def test_past_the_limit_nothing_is_opened_and_room_comes_back(story: Story, people: People, limit: int) -> None:
    agent = story.agent("flooder", sponsors=("alice",))
    within, past, another = [story.namespace() for _ in range(limit)], story.namespace(), story.namespace()
    opened = [story.ask(agent, path("namespaces", space)) for space in within]

    limited = story.delete(agent, path("namespaces", past))
    assert (limited.outcome, limited.answer.status) == ("Limited", httpx.codes.FORBIDDEN)
    told = f"TOO MANY OPEN CHANGE REQUESTS, nothing was deleted: {limit} change requests of this requester wait"
    assert limited.message.startswith(told)
    assert opened[0] in limited.message
    assert opened[1] in limited.message
    assert "Retry-After" not in limited.answer.body.get("details", {})
    assert story.requests_for(past) == []
    assert story.decisions(past)[-1]["reason"] == "Limited"

    assert story.delete(agent, path("namespaces", within[0])).request == opened[0], "what is open is answered as ever"
    story.signed(opened[0], people.bob)
    story.passes(agent, path("namespaces", within[0]))
    assert story.ask(agent, path("namespaces", past)), "there is room again"
    assert story.delete(agent, path("namespaces", another)).outcome == "Limited"
    assert story.delete(agent, path("namespaces", another), dryRun="All").outcome == "DryRun"

    other = story.agent("bystander", sponsors=("alice",))
    assert story.ask(other, path("namespaces", another)), "another agent has room of its own"


def test_a_deletecollection_opens_no_more_than_the_limit(cluster: Cluster, story: Story, limit: int) -> None:
    agent, home = story.agent("sweeper", sponsors=("alice",)), story.namespace()
    names = [f"claim-{number}" for number in range(limit + 3)]
    for name in names:
        story.claim(home, name)
    for _ in range(len(names) + 3):  # it ends at the first refusal; whoever wants more asks again and again
        story.delete(agent, path("persistentvolumeclaims", namespace=home))
    for name in names:
        story.delete(agent, path("persistentvolumeclaims", name, namespace=home))
    opened = [request for name in names for request in story.requests_for(name) if request["spec"]["target"]["namespace"] == home]
    assert len(opened) == limit
    assert len(cluster.api.list(path("persistentvolumeclaims", namespace=home))) == len(names)


# --- forged reviews ---------------------------------------------------------------------------


def forged(target: dict[str, Any], username: str = KIRO, **fields: Any) -> dict[str, Any]:
    """The review that the API server would send for the deletion of a namespace, by whoever is claimed to have asked."""
    request = {
        "uid": secrets.token_hex(8),
        "resource": {"group": "", "version": "v1", "resource": "namespaces"},
        "kind": {"group": "", "version": "v1", "kind": "Namespace"},
        "operation": "DELETE",
        "name": target["metadata"]["name"],
        "userInfo": {"username": username, "groups": ["system:serviceaccounts", "system:authenticated"]},
        "oldObject": target,
        "dryRun": False,
        **fields,
    }
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}


@pytest.fixture(scope="module")
def room(cluster: Cluster) -> int:
    return 3 + filled(cluster)


@pytest.fixture(scope="module")
def webhook(cluster: Cluster, room: int) -> Iterator[ExtraWebhook]:
    with cluster.extra_webhook(COUNTERSIGN_MAX_OPEN_REQUESTS=str(room)) as extra:
        yield extra


@pytest.mark.local_only(reason="the webhook's port is reached from the test itself")
class TestForged:
    """By somebody inside the cluster who reaches the port, and knows all names."""

    def test_uses_no_approval_up(self, cluster: Cluster, story: Story, people: People, webhook: ExtraWebhook) -> None:
        url = path("namespaces", story.namespace())
        request = story.ask("kiro", url)
        story.signed(request, people.bob)
        target = cluster.api.get(url)
        for _ in range(5):
            assert webhook.review(forged(target))["response"]["allowed"] is True
            assert webhook.review(forged(target, username="mallory@example.com"))["response"]["allowed"] in (True, False)
        assert cluster.api.exists(url), "an answer to a forger deletes nothing"
        story.passes("kiro", url)

    @pytest.mark.parametrize("spoil", ["name", "uid"])
    def test_opens_nothing_for_what_is_not_there(self, cluster: Cluster, story: Story, webhook: ExtraWebhook, spoil: str) -> None:
        agent = story.agent("ghost", sponsors=("alice",))  # kiro's room is full, by other tests
        target = cluster.api.get(path("namespaces", story.namespace()))
        target["metadata"][spoil] = f"{target['metadata'][spoil]}-not"
        answer = webhook.review(forged(target, username=f"system:serviceaccount:agents:{agent}"))["response"]
        assert (answer["allowed"], answer["status"]["details"]["causes"][0]["message"]) == (False, "NoTarget")
        assert story.requests_for(target["metadata"]["name"]) == []

    def test_opens_one_request_however_often_and_no_more_than_the_limit(
        self, cluster: Cluster, story: Story, webhook: ExtraWebhook, room: int
    ) -> None:
        """What is left of it: the room of whoever is named. It is documented, and ends where the API server shows a certificate."""
        agent = story.agent("framed", sponsors=("alice",))
        username = f"system:serviceaccount:agents:{agent}"
        spaces = [story.namespace() for _ in range(room + 2)]
        outcomes = []
        for space in spaces:
            target = cluster.api.get(path("namespaces", space))
            outcomes += [outcome(webhook.review(forged(target, username=username))) for _ in range(3)]
        assert outcomes == ["Pending"] * 3 * room + ["Limited"] * 6
        assert [len(story.requests_for(space)) for space in spaces] == [1] * room + [0, 0]

    def test_another_content_than_the_cluster_holds_is_not_what_was_signed(
        self, cluster: Cluster, story: Story, people: People, webhook: ExtraWebhook
    ) -> None:
        url = path("namespaces", story.namespace())
        request = story.ask("kiro", url)
        story.signed(request, people.bob)
        target = cluster.api.get(url)
        target["metadata"]["finalizers"] = ["example.com/mine"]
        assert webhook.review(forged(target))["response"]["allowed"] is False


def outcome(answer: dict[str, Any]) -> str:
    return str(answer["response"]["status"]["details"]["causes"][0]["message"])


# --- the API server shows who it is -----------------------------------------------------------

CALLER = "countersign-caller"
Configured = Callable[..., None]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority.load_or_make(tmp_path / "ca.crt", tmp_path / "ca.key")


@pytest.fixture
def configured(cluster: Cluster, authority: Authority, tmp_path: Path) -> Iterator[Configured]:
    """Has the API server show a certificate (AdmissionConfiguration, docs/webhook-hardening.md), or none; and the webhook ask for it."""
    file = cluster.paths.pki / "admission.yaml"

    def configure(shown: str | None, *, by: Authority = authority) -> None:
        if shown is None:
            file.unlink(missing_ok=True)
        else:
            pair = by.client(shown)
            (tmp_path / "caller.pem").write_bytes(pair.key + pair.certificate)
            user = {"client-certificate": str(tmp_path / "caller.pem"), "client-key": str(tmp_path / "caller.pem")}
            kubeconfig = {"apiVersion": "v1", "kind": "Config", "users": [{"name": "*", "user": user}]}
            (tmp_path / "webhooks.kubeconfig").write_text(json.dumps(kubeconfig))
            plugin = {
                "name": "ValidatingAdmissionWebhook",
                "configuration": {
                    "apiVersion": "apiserver.config.k8s.io/v1",
                    "kind": "WebhookAdmissionConfiguration",
                    "kubeConfigFile": str(tmp_path / "webhooks.kubeconfig"),
                },
            }
            file.write_text(json.dumps({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AdmissionConfiguration", "plugins": [plugin]}))
        cluster.restart_api_server()

    yield configure
    file.unlink(missing_ok=True)
    cluster.restart_api_server()
    cluster.reset_values()


@pytest.mark.local_only(reason="the API server's own flags are changed")
def test_nobody_but_the_api_server_is_answered(
    cluster: Cluster, story: Story, people: People, authority: Authority, configured: Configured, tmp_path: Path
) -> None:
    space = story.namespace()
    url = path("namespaces", space)
    configured(CALLER)
    cluster.reconfigure(apiServerClient={"ca": (tmp_path / "ca.crt").read_text(), "commonNames": [CALLER]})  # in force: kiro is refused
    request = story.ask("kiro", url)
    story.signed(request, people.bob)

    base = {webhook["clientConfig"]["url"] for webhook in cluster.api.list(path("validatingwebhookconfigurations"))[0]["webhooks"]}.pop()
    target = cluster.api.get(url)
    answer = httpx.post(base, json=forged(target), verify=False, trust_env=False)
    assert answer.status_code == httpx.codes.FORBIDDEN
    assert "taken from the API server alone" in answer.text
    for page in ("livez", "readyz", "metrics"):
        assert httpx.get(base.replace("/validate", f"/{page}"), verify=False, trust_env=False).is_success

    configured("somebody-else")
    other = story.delete("kiro", url)
    assert not other.ok, "another certificate of the same authority is not enough, and what cannot be asked is refused"
    assert "taken from the API server alone" in other.message
    configured(None)
    assert not story.delete("kiro", url).ok
    configured(CALLER)
    waiting.until(lambda: story.delete("kiro", url).ok, "what was signed for was to pass", timeout=15)  # a fresh API server's caches fill
