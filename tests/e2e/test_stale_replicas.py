"""A replica whose cache is frozen, or that is out of touch, lets nothing through that it should not."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from tests.controlplane.api import path
from tests.controlplane.apiproxy import ApiProxy
from tests.controlplane.cluster import Cluster
from tests.controlplane.extra import ExtraWebhook
from tests.controlplane.people import REVIEWER_ROLE, service_account
from tests.e2e._faults import (
    TEAM,
    Json,
    allowed,
    approve,
    cause,
    delete_namespace,
    environment,
    held,
    kept,
    make_namespace,
    message,
    patch,
    reject,
    request_named_in,
    unique,
    until,
    wait_allowed,
    wait_refused,
)
from tests.e2e._out_of_order import approved_deletion
from tests.e2e.people import register
from tests.e2e.story import Story, review

KIRO = {
    "username": "system:serviceaccount:agents:kiro",
    "groups": ["system:serviceaccounts", "system:serviceaccounts:agents", "system:authenticated"],
}


needs_processes = pytest.mark.local_only(reason="a frozen watch needs a proxy before the API server and processes of its own")


# --- a frozen replica -------------------------------------------------------------------------


@dataclass(frozen=True)
class Replicas:
    """`frozen` is the one that the API server calls, behind `proxy`; `fresh` sees the cluster as it is, and is asked directly."""

    cluster: Cluster
    proxy: ApiProxy
    frozen: ExtraWebhook
    fresh: ExtraWebhook

    def ask_fresh(self, namespace: str) -> Json:
        """What the fresh replica answers to kiro's deletion of a namespace; its side effects are those of a real request."""
        old = self.cluster.api.get(path("namespaces", namespace))
        response: Json = self.fresh.review(review("DELETE", KIRO, old))["response"]
        return response

    def opened_by_fresh(self, namespace: str) -> str:
        response = self.ask_fresh(namespace)
        assert response["allowed"] is False
        causes = {each["reason"]: each["message"] for each in response["status"]["details"]["causes"]}
        assert causes["outcome"] == "Pending", response
        return str(causes["changeRequest"].partition("/")[2])


@pytest.fixture(scope="module")
def replicas(cluster: Cluster) -> Iterator[Replicas]:
    with cluster.api_proxy() as proxy:
        # No cool-off: a second round can be asked for at once.
        frozen = cluster.extra_webhook(COUNTERSIGN_API_SERVER=proxy.url, COUNTERSIGN_COOL_OFF="0s", COUNTERSIGN_REPLICA="frozen")
        with frozen, cluster.extra_webhook(COUNTERSIGN_COOL_OFF="0s", COUNTERSIGN_REPLICA="fresh") as fresh:
            cluster.point_webhook_at(frozen.url)
            cluster.wait_in_force()
            try:
                yield Replicas(cluster, proxy, frozen, fresh)
            finally:
                proxy.thaw()
                cluster.point_webhook_at(None)
                cluster.wait_in_force()


@pytest.fixture
def frozen(replicas: Replicas) -> Iterator[Callable[[], None]]:
    """Freezes the watches of the replica that the API server calls, until the end of the test."""
    yield replicas.proxy.freeze_watches
    replicas.proxy.thaw()


@pytest.fixture
def signer(cluster: Cluster, story: Story) -> str:
    """A reviewer of this test's own, whose keys it may take away."""
    user = cluster.new_human(f"{unique('signer')}@example.com", role=REVIEWER_ROLE)
    register(story, cluster.reviewer(user, [f"{user}@example.com"], {"main": cluster.new_key(user)}))
    return user


@needs_processes
class TestAReplicaWhoseCacheIsFrozen:
    def test_a_key_revoked_between_signing_and_use(self, cluster: Cluster, frozen: Callable[[], None], signer: str) -> None:
        name, request = approved_deletion(cluster, signer)
        frozen()
        allowed(delete_namespace(cluster, "kiro", name, dry_run=True))
        allowed(patch(cluster, "alice", path("reviewers", signer), {"spec": {"keys": []}}))
        answer = delete_namespace(cluster, "kiro", name)
        assert held(answer) == request
        assert "0 of 1" in message(answer)

    def test_a_reviewer_removed_between_signing_and_use(self, cluster: Cluster, frozen: Callable[[], None], signer: str) -> None:
        name, request = approved_deletion(cluster, signer)
        frozen()
        cluster.api_as("alice").delete(path("reviewers", signer))
        assert held(delete_namespace(cluster, "kiro", name)) == request

    def test_a_rejection_that_it_has_not_seen(self, cluster: Cluster, frozen: Callable[[], None]) -> None:
        name, request = approved_deletion(cluster, "bob")
        frozen()
        reject(cluster, request, "carol")
        answer = delete_namespace(cluster, "kiro", name)
        assert not answer.ok
        # Without a cool-off asking again opens the next round.
        assert held(answer) != request
        assert "carol rejected it" in message(answer)

    def test_a_rejection_and_a_second_round_that_it_has_not_seen(
        self, cluster: Cluster, replicas: Replicas, frozen: Callable[[], None]
    ) -> None:
        name, first = approved_deletion(cluster, "bob")
        frozen()
        reject(cluster, first, "carol")
        second = replicas.opened_by_fresh(name)
        assert cluster.api.get(path("changerequests", second))["spec"]["round"] == 2
        assert held(delete_namespace(cluster, "kiro", name)) == second
        approve(cluster, second, "bob")
        allowed(delete_namespace(cluster, "kiro", name))

    def test_two_rounds_that_it_has_not_seen(self, cluster: Cluster, replicas: Replicas, frozen: Callable[[], None]) -> None:
        """It knows the first, rejected; the second was rejected and the third opened behind its back."""
        name = make_namespace(cluster, "rounds")
        first = held(delete_namespace(cluster, "kiro", name))
        reject(cluster, first)
        frozen()
        second = replicas.opened_by_fresh(name)
        reject(cluster, second)
        until(lambda: replicas.opened_by_fresh(name) != second, "the fresh replica was to see the rejection")
        third = replicas.opened_by_fresh(name)
        assert cluster.api.get(path("changerequests", third))["spec"]["round"] == 3
        answer = delete_namespace(cluster, "kiro", name)
        assert not answer.ok
        assert cause(answer, "outcome") in ("Pending", "Unable"), message(answer)
        if cause(answer, "outcome") == "Pending":
            assert request_named_in(answer) == third

    def test_a_request_and_its_approval_that_it_has_not_seen(
        self, cluster: Cluster, replicas: Replicas, frozen: Callable[[], None]
    ) -> None:
        """A missed approval costs a retry at most: here not even that."""
        name = make_namespace(cluster, "unseen")
        wait_refused(lambda: delete_namespace(cluster, "kiro", name, dry_run=True), "the deletion")
        frozen()
        request = replicas.opened_by_fresh(name)
        assert held(delete_namespace(cluster, "kiro", name)) == request
        approve(cluster, request)
        allowed(delete_namespace(cluster, "kiro", name))

    def test_an_approval_that_it_has_not_seen(self, cluster: Cluster, frozen: Callable[[], None]) -> None:
        name = make_namespace(cluster, "unseen")
        request = held(delete_namespace(cluster, "kiro", name))
        frozen()
        approve(cluster, request)
        allowed(delete_namespace(cluster, "kiro", name))

    def test_an_environment_that_has_become_stricter(self, cluster: Cluster, frozen: Callable[[], None]) -> None:
        team = unique("stricter")
        with kept(cluster.api, path("protectedenvironments"), environment(team, team, "Agents")) as url:
            name = make_namespace(cluster, "signed", {TEAM: team})
            request = held(delete_namespace(cluster, "kiro", name))
            approve(cluster, request, "bob")
            wait_allowed(lambda: delete_namespace(cluster, "kiro", name, dry_run=True), "the approved deletion")
            frozen()
            allowed(patch(cluster, "alice", url, {"spec": {"approvals": {"required": 2}}}))
            answer = delete_namespace(cluster, "kiro", name)
            assert held(answer) == request
            assert "1 of 2" in message(answer)

    def test_an_environment_that_is_new(self, cluster: Cluster, frozen: Callable[[], None]) -> None:
        team = unique("new")
        name = make_namespace(cluster, "signed", {TEAM: team})
        request = held(delete_namespace(cluster, "kiro", name))
        approve(cluster, request, "bob")
        allowed(delete_namespace(cluster, "kiro", name, dry_run=True))
        frozen()
        body = environment(team, team, "Agents", approvals={"required": 2})
        with kept(cluster.api, path("protectedenvironments"), body):
            assert held(delete_namespace(cluster, "kiro", name)) == request

    def test_a_signer_who_has_become_a_sponsor(self, cluster: Cluster, frozen: Callable[[], None]) -> None:
        name, request = approved_deletion(cluster, "bob")
        frozen()
        second = cluster.identity(unique("second"), [service_account("agents", "kiro")], sponsors=("bob",))
        with kept(cluster.api, path("agentidentities"), second):
            assert held(delete_namespace(cluster, "kiro", name)) == request

    def test_audit_mode_that_is_over(self, cluster: Cluster, frozen: Callable[[], None]) -> None:
        default = path("protectedenvironments", "default")
        name = make_namespace(cluster, "audited")
        cluster.api.patch(default, {"spec": {"mode": "Audit"}})
        try:
            wait_allowed(lambda: delete_namespace(cluster, "kiro", name, dry_run=True), "a deletion under Audit")
            frozen()
        finally:
            cluster.api.patch(default, {"spec": {"mode": "Enforce"}})
        held(delete_namespace(cluster, "kiro", name))


# --- a watch that says nothing, a connection that is gone -------------------------------------


@pytest.fixture(scope="class")
def short_sighted(cluster: Cluster) -> Iterator[tuple[ApiProxy, ExtraWebhook]]:
    """A replica that may not have been out of touch for more than three seconds."""
    with (
        cluster.api_proxy() as proxy,
        cluster.extra_webhook(COUNTERSIGN_API_SERVER=proxy.url, COUNTERSIGN_STALE_AFTER="3s", COUNTERSIGN_REPLICA="short") as extra,
    ):
        yield proxy, extra
        proxy.thaw()


@needs_processes
class TestAReplicaThatIsOutOfTouch:
    def ask(self, cluster: Cluster, extra: ExtraWebhook, name: str) -> Json:
        response: Json = extra.review(review("DELETE", KIRO, cluster.api.get(path("namespaces", name))))["response"]
        return response

    def test_1_it_stays_in_touch_while_nothing_happens(self, short_sighted: tuple[ApiProxy, ExtraWebhook]) -> None:
        _, extra = short_sighted
        deadline = time.monotonic() + 7
        while time.monotonic() < deadline:
            assert extra.ready()
            time.sleep(0.2)

    def test_2_silent_watches_end_its_readiness_and_every_allow(
        self, cluster: Cluster, short_sighted: tuple[ApiProxy, ExtraWebhook]
    ) -> None:
        proxy, extra = short_sighted
        name, _ = approved_deletion(cluster)
        assert self.ask(cluster, extra, name)["allowed"] is True
        proxy.freeze_watches()
        until(lambda: not extra.ready(), "the replica was to notice that it hears nothing", timeout=6)
        response = self.ask(cluster, extra, name)
        assert response["allowed"] is False
        assert "nothing was heard" in response["status"]["message"], response
        assert response["status"]["code"] == 503
        proxy.thaw()
        until(extra.ready, "the replica was to be in touch again", timeout=10)
        assert self.ask(cluster, extra, name)["allowed"] is True

    def test_3_dropped_connections_are_made_again(self, cluster: Cluster, short_sighted: tuple[ApiProxy, ExtraWebhook]) -> None:
        proxy, extra = short_sighted
        name = make_namespace(cluster, "precious")
        for _ in range(3):
            proxy.cut()
            response = self.ask(cluster, extra, name)
            assert response["allowed"] is False
        until(extra.ready, "the replica was to be in touch again", timeout=10)
        later = make_namespace(cluster, "later")
        until(
            lambda: self.ask(cluster, extra, later)["status"]["details"]["causes"][0]["message"] == "Pending",
            "the replica was to see what is new",
        )

    def test_4_an_api_server_that_answers_nothing_is_a_refusal_in_time(
        self, cluster: Cluster, short_sighted: tuple[ApiProxy, ExtraWebhook]
    ) -> None:
        proxy, extra = short_sighted
        name, _ = approved_deletion(cluster)
        until(lambda: self.ask(cluster, extra, name)["allowed"] is True, "the approved deletion was to pass")
        proxy.freeze()
        begun = time.monotonic()
        response = self.ask(cluster, extra, name)
        assert response["allowed"] is False
        assert time.monotonic() - begun < 9, "the API server gives up after 10 s"
        proxy.thaw()
        until(extra.ready, "the replica was to be in touch again", timeout=20)
        until(lambda: self.ask(cluster, extra, name)["allowed"] is True, "the approved deletion was to pass again")
