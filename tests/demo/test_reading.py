from __future__ import annotations

from typing import Any

import pytest

from tests.demo.reading import change_request_in, missing_from_refusal, short
from tests.demo.stage import Surprise

REFUSAL = """\
Error from server (Forbidden): admission webhook "agents-0.kube-countersign.dev" denied the request: WAITING FOR HUMAN SIGNATURES, \
nothing was deleted: namespace "payments" on local needs 1 person to sign delete-namespace-payments-42506f34 (0 of 1, until 2026-11-23T03:09Z).
This is not a permission problem: changing RBAC or identity does not help, and signatures by agents or their sponsors do not count.
Next step: give this name to the person you work for and end this task here.
State: kubectl get changerequests.kube-countersign.dev delete-namespace-payments-42506f34 -o jsonpath='{.status.outcome}'   (at most once a minute)
Pending: come back later. Approved: send this same request again.
"""


def test_the_name_of_the_change_request_is_read() -> None:
    assert change_request_in(REFUSAL) == "delete-namespace-payments-42506f34"
    assert change_request_in("see changerequests.kube-countersign.dev/a-1.") == "a-1"


def test_a_refusal_without_a_name_is_a_surprise() -> None:
    with pytest.raises(Surprise, match="names no change request"):
        change_request_in("Error from server (Forbidden): namespaces is forbidden")


def test_a_whole_refusal_lacks_nothing() -> None:
    assert missing_from_refusal(REFUSAL) == []


def test_what_a_refusal_lacks_is_named() -> None:
    assert missing_from_refusal(REFUSAL.replace("Next step", "Step")) == [
        "it does not say: Next step: give this name to the person you work for and end this task here."
    ]


@pytest.mark.parametrize("word", ["ssh-keygen", "kubectl create", "approve@"])
def test_a_refusal_hands_the_agent_no_way_to_sign(word: str) -> None:
    assert missing_from_refusal(f"{REFUSAL}{word}") == [f"it hands the agent a way to sign: {word}"]


def _record(**more: Any) -> dict[str, Any]:
    target = {"resource": "namespaces", "namespace": "payments", "name": "payments"}
    base = {"time": "2026-11-22T03:10:00.123456Z", "decision": "Allow", "reason": "Approved", "operation": "DELETE", "user": "bob"}
    return {**base, "target": target, **more}


@pytest.mark.parametrize(
    ("record", "line"),
    [
        (_record(), "03:10:00  Allow  Approved   bob                      DELETE namespaces payments"),
        (
            _record(agents=["kiro"], sponsors=["alice"], reviewers=["bob"]),
            "03:10:00  Allow  Approved   kiro (run by alice)      DELETE namespaces payments  signed by bob",
        ),
        (
            _record(decision="Refuse", reason="DryRun", dryRun=True, reviewers=["bob"]),
            "03:10:00  Refuse DryRun     bob                      DELETE namespaces payments (dry run)",
        ),
        (
            _record(target={"resource": "persistentvolumeclaims", "namespace": "payments", "name": "data"}),
            "03:10:00  Allow  Approved   bob                      DELETE persistentvolumeclaims payments/data",
        ),
        (
            _record(decision="Refuse", reason="Invalid", fault="IsASponsor"),
            "03:10:00  Refuse IsASponsor bob                      DELETE namespaces payments",
        ),
        ({"time": "2026-11-22T03:10:00Z", "start": {"version": "0.1.0"}}, "03:10:00  (a webhook process starts, version 0.1.0)"),
    ],
)
def test_a_decision_is_one_line(record: dict[str, Any], line: str) -> None:
    assert short(record) == line
