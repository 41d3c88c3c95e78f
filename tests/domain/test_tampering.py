"""What is told of a guard that somebody changed."""

from typing import Any

import pytest

from countersign.domain.tampering import MOST_LINES, Repair, What, differences, lacking, last_writer

HOOK = {"name": "agents-0", "failurePolicy": "Fail", "rules": [{"resources": ["namespaces", "pods"]}], "timeoutSeconds": 10}


@pytest.mark.parametrize(
    ("wanted", "found", "lines"),
    [
        ({"a": 1}, {"a": 1}, ()),
        ({"a": {"b": "x"}}, {"a": {"b": "y"}}, ('a.b: "x" -> "y"',)),
        ({"a": {"b": "x"}}, {"a": {}}, ('a.b: "x" -> absent',)),
        ({}, {"c": True}, ("c: absent -> true",)),
        ({"l": ["x", "y"]}, {"l": ["x"]}, ('l[1]: "y" -> absent',)),
        ({"l": ["x"]}, {"l": ["x", "z"]}, ('l[1]: absent -> "z"',)),
        ({"l": []}, {"l": {}}, ("l: [] -> {}",)),
        ({"w": [HOOK]}, {"w": [{**HOOK, "timeoutSeconds": 1}]}, ("w[agents-0].timeoutSeconds: 10 -> 1",)),
        ({"w": [HOOK, {"name": "own"}]}, {"w": [{"name": "own"}, HOOK]}, ()),
        ({"n": 10}, {"n": "10"}, ('n: 10 -> "10"',)),
        (None, {"a": 1}, ('all of it: null -> {"a":1}',)),
    ],
)
def test_each_place_that_differs(wanted: Any, found: Any, lines: tuple[str, ...]) -> None:
    assert differences(wanted, found) == lines


def test_it_stays_readable() -> None:
    many = differences({str(number): 1 for number in range(100)}, {})
    assert len(many) == MOST_LINES + 1
    assert many[-1] == "and 80 more places"
    (long,) = differences({"expression": "x" * 5000}, {"expression": "y" * 5000})
    assert len(long) < 220
    assert "5002 letters" in long
    (other,) = differences({"expression": "x" * 4999 + "z"}, {"expression": "y" * 5000})
    assert other != long, "a difference far behind shows in the digest"


@pytest.mark.parametrize(
    ("wanted", "found", "lines"),
    [
        ({"a": 1}, {"a": 1, "default": "of the server"}, ()),
        ({"selector": {}}, {}, ()),
        ({"switch": False, "count": 0}, {}, ("switch: false -> absent", "count: 0 -> absent")),
        ({"w": [HOOK]}, {"w": [{**HOOK, "matchPolicy": "Equivalent"}]}, ()),
        ({"w": [HOOK]}, {"w": [{**HOOK, "failurePolicy": "Ignore"}]}, ('w[agents-0].failurePolicy: "Fail" -> "Ignore"',)),
        ({"l": ["x"]}, {"l": ["x", "y"]}, ('l[1]: absent -> "y"',)),
        ({"l": ["x", "y"]}, {"l": ["x"]}, ('l[1]: "y" -> absent',)),
    ],
)
def test_what_the_server_adds_is_not_lacking_and_all_else_is(wanted: Any, found: Any, lines: tuple[str, ...]) -> None:
    assert lacking(wanted, found) == lines


def test_the_last_writer_who_is_not_us() -> None:
    def entry(manager: str, second: int, **more: str) -> dict[str, str]:
        return {"manager": manager, "time": f"2026-11-22T12:00:{second:02}Z", **more}

    fields = [entry("kubectl", 1), entry("helm", 3), entry("countersign-operator", 9), entry("controller", 8, subresource="status")]
    assert last_writer({"metadata": {"managedFields": fields}}, "countersign-operator") == "helm"
    assert last_writer({"metadata": {"managedFields": fields[2:]}}, "countersign-operator") == ""
    assert last_writer({}, "countersign-operator") == ""


def test_a_sentence_says_what_and_by_whom() -> None:
    def repair(what: What, lines: tuple[str, ...] = (), by: str = "") -> str:
        return Repair(
            "ValidatingAdmissionPolicy", "countersign-guards", "validatingadmissionpolicies", what, lines, by, "", "", 0.021
        ).sentence

    changed = repair(What.CHANGED, ('spec.failurePolicy: "Fail" -> "Ignore"',), "kubectl-patch")
    assert changed.startswith(
        "Somebody changed the guard ValidatingAdmissionPolicy/countersign-guards by what calls itself 'kubectl-patch'"
    )
    assert "21 ms" in changed
    assert 'spec.failurePolicy: "Fail" -> "Ignore"' in changed
    assert repair(What.DELETED).startswith("Somebody deleted the guard")
    assert "rewritten whenever" in repair(What.REWRITTEN)
