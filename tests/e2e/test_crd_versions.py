"""An upgrade to a release whose definitions serve and store a version more and whose environments have a field more, and the way back.

That release is made from a copy of this one (`_life.NextRelease`); its processes run beside ours, as in a rolling upgrade. The plan:
docs/decisions/0008-crd-versions.md. The cases are steps of one story, on a control plane of its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx
import pytest

from countersign.domain.names import ANNOTATION_REVISION
from countersign.wire.crds import REVISION
from tests.controlplane.api import Answer, path
from tests.controlplane.chart import CHART
from tests.controlplane.cluster import Cluster
from tests.controlplane.localbackend import is_ready
from tests.e2e import _life
from tests.e2e._faults import (
    OURS,
    Json,
    allowed,
    approvals_of,
    cause,
    delete_namespace,
    environment,
    explain_log,
    extra_operator,
    held,
    local,
    make_namespace,
    message,
    patch,
    sign_off,
    until,
    wait_refused,
)
from tests.e2e._life import NextRelease, stored_version

pytestmark = pytest.mark.local_only(reason="runs processes of two releases side by side, on a control plane of its own")
PLURALS = ("agentidentities", "approvals", "changerequests", "protectedenvironments", "reviewers")
NEXT = NextRelease.VERSION


@dataclass
class Story:
    cluster: Cluster
    next: NextRelease
    requests: dict[str, str] = field(default_factory=dict)  # a namespace and its change request
    statements: dict[str, str] = field(default_factory=dict)

    def definitions(self) -> dict[str, Json]:
        return {plural: self.cluster.api.get(path("customresourcedefinitions", f"{plural}.{OURS}")) for plural in PLURALS}

    def generations(self) -> dict[str, int]:
        return {plural: each["metadata"]["generation"] for plural, each in self.definitions().items()}

    def revisions(self) -> set[int]:
        return {int(each["metadata"]["annotations"][ANNOTATION_REVISION]) for each in self.definitions().values()}

    def ask(self, word: str) -> str:
        """A new namespace whose deletion by kiro waits; returns its name."""
        name = make_namespace(self.cluster, word)
        self.requests[word] = held(delete_namespace(self.cluster, "kiro", name))
        self.statements[word] = self.cluster.api.get(path("changerequests", self.requests[word]))["spec"]["statement"]
        return name

    def statement_now(self, word: str, version: str) -> str:
        url = f"/apis/{OURS}/{version}/changerequests/{self.requests[word]}"
        return str(self.cluster.api.get(url)["spec"]["statement"])


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    folder = tmp_path_factory.mktemp("versions")
    with _life.bare_cluster(folder / "cluster") as cluster:
        _life.install(cluster)
        yield Story(cluster, NextRelease(folder / "next"))


@pytest.fixture(scope="module")
def names(story: Story) -> dict[str, str]:
    """What was asked, and partly signed, before the upgrade."""
    return {word: story.ask(word) for word in ("signed", "waiting", "later", "back")}


@pytest.fixture(scope="module")
def weakening(story: Story) -> Json:
    """A human's weakening of an environment, asked for and signed through v1alpha1 before the upgrade."""
    cluster = story.cluster
    cluster.new_human("dana@example.com", role="cluster-admin")
    cluster.api.create(path("protectedenvironments"), environment("kept", "kept", "People", approvals={"required": 2}))
    weaker = {"spec": {"approvals": {"required": 1}}}
    wait_refused(lambda: patch(cluster, "dana", path("protectedenvironments", "kept"), weaker, dry_run=True), "a weakening")
    request = held(patch(cluster, "dana", path("protectedenvironments", "kept"), weaker))
    for person in ("bob", "carol", "alice"):
        assert sign_off(cluster, request, person).ok
    return weaker


def next_path(plural: str, name: str = "") -> str:
    return f"/apis/{OURS}/{NEXT}/{plural}" + (f"/{name}" if name else "")


@contextmanager
def next_operator(story: Story) -> Iterator[None]:
    """The operator of the release of the future, leading."""
    with extra_operator(story.cluster, **story.next.env) as operator:
        until(operator.ready, "the next release's operator was to stand by")
        story.cluster.stop_operator()
        until(lambda: is_leading(operator.base), "the next release's operator was to lead", timeout=40, explain=explain_log(operator.log))
        yield


def is_leading(base: str) -> bool:
    try:
        return httpx.get(f"{base}/readyz", timeout=5, trust_env=False).text.startswith("leading\n")
    except httpx.TransportError:
        return False


def test_1_helm_changes_no_definition_and_who_waits_to_lead_neither(story: Story, names: dict[str, str], weakening: Json) -> None:
    assert names
    assert weakening
    assert sign_off(story.cluster, story.requests["signed"]).ok
    before = story.generations()
    done = _life.release(story.cluster, "alice", "upgrade", story.next.chart, "--reset-then-reuse-values")
    assert done.returncode == 0, done.stderr
    with extra_operator(story.cluster, **story.next.env) as operator:
        until(operator.ready, "the next release's operator was to stand by")
        time.sleep(3)
        assert story.generations() == before


def test_2_the_next_leader_brings_them(story: Story) -> None:
    [before] = story.revisions()
    with next_operator(story):
        until(lambda: story.revisions() == {1000 + before}, "all were to be brought")
        for each in story.definitions().values():
            assert [(v["name"], v["served"], v["storage"]) for v in each["spec"]["versions"]] == [
                ("v1alpha1", True, False),
                (NEXT, True, True),
            ]
            assert each["spec"]["conversion"]["strategy"] == "None"
        until(lambda: story.cluster.api.request("GET", next_path("reviewers")).ok, "the version was to be served")


def test_3_what_was_asked_and_signed_before_stays_valid(story: Story, names: dict[str, str]) -> None:
    """Decided by the older webhook, which has not been replaced yet."""
    for word in names:
        assert story.statement_now(word, "v1alpha1") == story.statement_now(word, NEXT) == story.statements[word]
    allowed(delete_namespace(story.cluster, "kiro", names["signed"]))


def test_4_new_clients_are_understood_by_the_older_webhook(story: Story, names: dict[str, str]) -> None:
    cluster, request = story.cluster, story.requests["waiting"]
    signature = cluster.sign("bob", story.statement_now("waiting", NEXT))
    spec = {"changeRequest": request, "reviewer": "bob", "decision": "Approve", "signature": signature}
    body: Json = {"apiVersion": f"{OURS}/{NEXT}", "kind": "Approval", "metadata": {"name": "by-a-new-client"}, "spec": spec}
    forged = {**body, "metadata": {"name": "forged"}, "spec": {**spec, "signature": cluster.sign("carol", "another text")}}
    assert cluster.api_as("bob").request("POST", next_path("approvals"), forged).status == httpx.codes.FORBIDDEN
    assert cluster.api_as("bob").request("POST", next_path("approvals"), body).ok
    assert [each["metadata"]["name"] for each in approvals_of(cluster.api, request)] == ["by-a-new-client"], "old clients see it"
    allowed(delete_namespace(cluster, "kiro", names["waiting"]))


def served(ask: Callable[[], Answer]) -> Answer:
    """The API server's answer once it has taken the new version up everywhere; until then it says 503 and does nothing."""
    answers: list[Answer] = []

    def taken_up() -> bool:
        answers.append(ask())
        return answers[-1].status != httpx.codes.SERVICE_UNAVAILABLE

    until(taken_up, "the API server was to serve the new version")
    return answers[-1]


def test_5_agents_are_refused_in_every_version(story: Story) -> None:
    """No rule of ours names a version, so none is a way round."""
    cluster = story.cluster
    identity = {**cluster.identity("ghost", [{"kind": "User", "name": "ghost@example.com"}]), "apiVersion": f"{OURS}/{NEXT}"}
    for method, url, body in (
        ("DELETE", next_path("protectedenvironments", "default"), None),
        ("POST", next_path("agentidentities"), identity),
        ("PATCH", next_path("reviewers", "bob"), {"spec": {"usernames": ["kiro"]}}),
        ("PATCH", f"{next_path('reviewers', 'bob')}/status", {"status": {"observedGeneration": 1}}),
    ):
        kind = "application/merge-patch+json" if method == "PATCH" else None
        answer = served(lambda: cluster.api_as("rogue").request(method, url, body, {"dryRun": "All"}, kind))  # noqa: B023  # called at once
        assert answer.status == httpx.codes.FORBIDDEN, f"{method} {url}: {answer.status} {message(answer)}"


def test_6_what_was_signed_in_one_version_may_be_done_in_another_and_once(story: Story, weakening: Json) -> None:
    url = next_path("protectedenvironments", "kept")
    allowed(patch(story.cluster, "dana", url, weakening))
    assert story.cluster.api.get(path("protectedenvironments", "kept"))["spec"]["approvals"]["required"] == 1
    story.cluster.api.patch(url, {"spec": {"approvals": {"required": 2}}})
    held(patch(story.cluster, "dana", path("protectedenvironments", "kept"), weakening))


def test_7_storage_moves_by_an_empty_patch_of_the_operators(story: Story) -> None:
    cluster = story.cluster
    assert stored_version(cluster, "reviewers", "alice") == f"{OURS}/v1alpha1"
    before = cluster.api.get(path("reviewers", "alice"))
    token = local(cluster).token_file("operator").read_text()
    url, content = f"{path('reviewers', 'alice')}/status", "application/merge-patch+json"
    answer = httpx.patch(
        f"{local(cluster).plane.url}{url}",
        content="{}",
        headers={"Authorization": f"Bearer {token}", "Content-Type": content},
        verify=False,
        trust_env=False,
        timeout=10,
    )
    assert answer.is_success, answer.text
    assert stored_version(cluster, "reviewers", "alice") == f"{OURS}/{NEXT}"
    after = cluster.api.get(path("reviewers", "alice"))
    assert (after["spec"], after["metadata"]["generation"]) == (before["spec"], before["metadata"]["generation"])


def test_8_a_field_that_an_older_replica_does_not_know_makes_it_refuse(story: Story, names: dict[str, str]) -> None:
    """It may protect more than that replica knows. It is not ready either, so that requests go to replicas of the next release."""
    cluster = story.cluster
    assert sign_off(cluster, story.requests["later"]).ok
    newer = environment("newer", "newer", "Agents", **{NextRelease.FIELD: "x"})
    with next_webhook(story):
        cluster.api.create(path("protectedenvironments"), newer)
    answer = older_answer(story, names["later"])
    assert "protectedenvironments that it cannot read: newer" in message(answer)
    assert not is_ready(local(cluster)._base("webhook"))
    out = patch(cluster, "alice", path("protectedenvironments", "newer"), WITHOUT, dry_run=True)
    assert out.status == httpx.codes.SERVICE_UNAVAILABLE, "whether that weakens something it cannot tell"
    ordinary = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "ordinary"}}
    allowed(cluster.api_as("kiro").request("POST", path("namespaces"), ordinary, {"dryRun": "All"}))
    with next_webhook(story):
        allowed(delete_namespace(cluster, "kiro", names["later"]))
        held(delete_namespace(cluster, "kiro", names["back"]))


WITHOUT: Json = {"spec": {NextRelease.FIELD: None}}


def older_answer(story: Story, name: str) -> Answer:
    """What our own webhook, started anew, says to kiro's deletion, once it answers at all."""
    found: list[Answer] = []

    def answered() -> bool:
        found[:] = [delete_namespace(story.cluster, "kiro", name)]
        return cause(found[0], "outcome") == "Unable"

    until(answered, "the older webhook was to say that it cannot decide", explain=lambda: message(found[0]))
    return found[0]


@contextmanager
def next_webhook(story: Story) -> Iterator[None]:
    """The next release's webhook in the place of ours, which is started again in the end, ready or not."""
    cluster = story.cluster
    cluster.stop_webhook()
    cluster.start_webhook(**story.next.env)
    try:
        yield
    finally:
        cluster.stop_webhook()
        local(cluster).launch("webhook")


def test_9_an_older_leader_leaves_newer_definitions_alone_and_says_what_it_cannot_read(story: Story) -> None:
    """What to do then: by the next release, take the field out (docs/upgrade.md)."""
    cluster, before = story.cluster, story.generations()
    local(cluster).launch("operator")
    unread = f"newer: spec.{NextRelease.FIELD}: there is no such field"
    until(lambda: unread in cluster.log("operator"), "the older operator was to say what it cannot read")
    time.sleep(3)
    assert f"is of a newer release ({1000 + REVISION}): left as it is" in cluster.log("operator")
    assert not is_leading(local(cluster)._base("operator")), "it is not ready"
    assert story.generations() == before
    with next_webhook(story):
        cluster.api.patch(path("protectedenvironments", "newer"), WITHOUT)
    until(lambda: is_leading(local(cluster)._base("operator")), "the older operator was to go on")
    until(lambda: is_ready(local(cluster)._base("webhook")), "the older webhook was to go on")
    cluster.wait_in_force()
    assert story.generations() == before


def test_10_helm_rollback_keeps_all_that_was_signed(story: Story, names: dict[str, str]) -> None:
    """Also one that changes nothing, and one with the webhook down: that is when people roll back."""
    cluster = story.cluster
    before = story.generations()
    assert sign_off(cluster, story.requests["back"]).ok
    cluster.stop_webhook()
    for target in ("1", "3"):
        done = _life.release(cluster, "alice", "rollback", target)
        assert done.returncode == 0, done.stderr
    cluster.start_webhook()
    done = _life.release(cluster, "alice", "upgrade", CHART, "--reset-then-reuse-values")
    assert done.returncode == 0, done.stderr
    assert story.generations() == before
    assert story.statement_now("back", "v1alpha1") == story.statements["back"]
    allowed(delete_namespace(cluster, "kiro", names["back"]))
