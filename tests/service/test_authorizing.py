"""An access, judged from memory: a denial is recorded before it is given, and what cannot be judged or recorded is an error."""

import json
from typing import Any

import pytest

from countersign.domain.authorize import Access, Deny, Ground, NoOpinion, PathAccess, ResourceAccess
from countersign.domain.errors import UnableError
from countersign.domain.rbac import Request
from countersign.domain.record import verify
from countersign.domain.snapshot import Snapshot
from countersign.service.authorizing import Authorizing
from countersign.wire.access import decode
from countersign.wire.accessreview import render_review
from tests.support.memory_log import MemoryDecisionLog
from tests.support.objects import CLUSTER, KIRO, identity, user
from tests.support.operator import HandClock

AS_ALICE = ResourceAccess("impersonate", "", "users", name="alice")
DEPLOY = ResourceAccess("create", "apps", "deployments", namespace="payments")


class OneState:
    def __init__(self, snapshot: Snapshot | None) -> None:
        self._snapshot = snapshot

    def snapshot(self) -> Snapshot:
        if self._snapshot is None:
            raise UnableError("agentidentities are not synced yet.")
        return self._snapshot


class Counted:
    def __init__(self) -> None:
        self.opinions: list[tuple[bool, str]] = []
        self.questions = 0

    def authorized(self, *, denied: bool, ground: str) -> None:
        self.opinions.append((denied, ground))

    def questioned(self) -> None:
        self.questions += 1


class Parts:
    def __init__(self, snapshot: Snapshot | None) -> None:
        self.log = MemoryDecisionLog(replica="webhook-0", clock=HandClock())
        self.counted = Counted()
        self.service = Authorizing(OneState(snapshot), HandClock(), self.log, self.counted, our_namespace="countersign")

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.lines]


def known() -> Snapshot:
    return Snapshot(CLUSTER, identities={"kiro": identity("kiro")})


def test_a_denial_is_recorded_with_who_and_what() -> None:
    parts = Parts(known())
    who = user(KIRO, "system:serviceaccounts", **{"authentication.kubernetes.io/pod-name": ("kiro-0",)})
    opinion = parts.service.authorize(who, AS_ALICE)
    assert isinstance(opinion, Deny)
    [record] = [line for line in parts.lines if "decision" in line]
    assert {key: record[key] for key in ("user", "agents", "sponsors", "decision", "reason", "serviceAccount", "pod")} == {
        "user": KIRO,
        "agents": ["kiro"],
        "sponsors": ["alice"],
        "decision": "Deny",
        "reason": "Impersonation",
        "serviceAccount": "agents/kiro",
        "pod": "kiro-0",
    }
    assert record["access"] == {"verb": "impersonate", "group": "", "version": "", "resource": "users", "namespace": "", "name": "alice"}
    assert parts.counted.opinions == [(True, "Impersonation")]


def test_the_log_still_verifies() -> None:
    parts = Parts(known())
    for _ in range(3):
        parts.service.authorize(user(KIRO), AS_ALICE)
    found = verify(parts.log.lines)
    assert not found.faults
    assert found.records == 4


def test_a_record_names_the_subresource() -> None:
    parts = Parts(known())
    parts.service.authorize(user(KIRO), ResourceAccess("get", "", "nodes", "v1", "proxy", name="node-1"))
    assert parts.lines[-1]["access"]["resource"] == "nodes/proxy"


@pytest.mark.parametrize("access", [DEPLOY, PathAccess("get", "/metrics")])
def test_no_opinion_is_counted_and_not_recorded(access: Access) -> None:
    parts = Parts(known())
    assert parts.service.authorize(user(KIRO), access) == NoOpinion(Ground.ORDINARY)
    assert parts.service.authorize(user("alice@example.com"), AS_ALICE) == NoOpinion(Ground.NO_AGENT)
    assert parts.counted.opinions == [(False, "Ordinary"), (False, "NoAgent")]
    assert not [line for line in parts.lines if "decision" in line]


def test_what_the_operator_wonders_is_answered_alike_and_is_nobodys_attempt() -> None:
    parts = Parts(known())
    review = render_review(user(KIRO), Request("impersonate", "", "users"))
    asked, access = decode(json.dumps(review).encode())
    assert isinstance(parts.service.authorize(asked, access), Deny)
    assert not [line for line in parts.lines if "decision" in line]
    assert (parts.counted.opinions, parts.counted.questions) == ([], 1)


@pytest.mark.parametrize("access", [AS_ALICE, DEPLOY])
def test_while_the_agents_are_not_known_there_is_no_opinion_but_an_error(access: Access) -> None:
    parts = Parts(None)
    with pytest.raises(UnableError, match="not synced yet"):
        parts.service.authorize(user(KIRO), access)
    assert not parts.counted.opinions


def test_what_cannot_be_recorded_is_an_error() -> None:
    parts = Parts(known())
    parts.log.broken = True
    with pytest.raises(UnableError, match="could not be recorded"):
        parts.service.authorize(user(KIRO), AS_ALICE)
    assert not parts.counted.opinions
    assert parts.service.authorize(user(KIRO), DEPLOY) == NoOpinion(Ground.ORDINARY)
