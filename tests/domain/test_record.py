"""The decision log's chain: whatever single thing is done to a log afterwards, `verify` finds it and names the line."""

import contextlib
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from countersign.domain.answer import Answer, Reason
from countersign.domain.record import Link, decision, rfc3339, start, verify
from countersign.domain.request import Operation, Request, UserInfo

NOW = datetime(2026, 11, 22, 1, 2, 3, 4567, tzinfo=UTC)
AGENT = UserInfo(
    username="system:serviceaccount:agents:kiro",
    groups=frozenset({"system:authenticated"}),
    extra={
        "authentication.kubernetes.io/pod-name": ("kiro-0",),
        "authentication.kubernetes.io/node-name": ("node-7",),
        "authentication.kubernetes.io/credential-id": ("JTI=1",),
    },
)


def request(user: UserInfo = AGENT, **changes: Any) -> Request:
    parts: dict[str, Any] = {
        "uid": "r1",
        "operation": Operation.DELETE,
        "group": "",
        "version": "v1",
        "resource": "namespaces",
        "subresource": "",
        "namespace": "payments",
        "name": "payments",
        "user": user,
        "object": None,
        "old_object": {"metadata": {"name": "payments", "uid": "6b1f"}},
        "dry_run": False,
    }
    return Request(**{**parts, **changes})


REFUSAL = Answer(
    allowed=False,
    reason=Reason.PENDING,
    chain={
        "agents": ["kiro"],
        "sponsors": ["alice"],
        "reviewers": [],
        "environments": ["default"],
        "changeRequest": "delete-x",
        "approvals": [],
    },
)


def test_a_record_has_the_whole_chain_of_who() -> None:
    assert decision(request(), REFUSAL, now=NOW, milliseconds=1.23456) == {
        "time": "2026-11-22T01:02:03.004567Z",
        "uid": "r1",
        "user": "system:serviceaccount:agents:kiro",
        "serviceAccount": "agents/kiro",
        "pod": "kiro-0",
        "node": "node-7",
        "credential": "JTI=1",
        "agents": ["kiro"],
        "sponsors": ["alice"],
        "reviewers": [],
        "operation": "DELETE",
        "target": {"group": "", "version": "v1", "resource": "namespaces", "namespace": "payments", "name": "payments", "uid": "6b1f"},
        "decision": "Refuse",
        "reason": "Pending",
        "environments": ["default"],
        "changeRequest": "delete-x",
        "approvals": [],
        "dryRun": False,
        "milliseconds": 1.235,
    }


def test_a_person_has_no_account_and_an_object_of_a_collection_its_own_name() -> None:
    record = decision(
        request(UserInfo("alice"), name="", subresource="status"), Answer(allowed=True, reason=Reason.NOT_HELD), now=NOW, milliseconds=0
    )
    assert "serviceAccount" not in record
    assert "pod" not in record
    assert record["decision"] == "Allow"
    assert record["target"] == {
        "group": "",
        "version": "v1",
        "resource": "namespaces/status",
        "namespace": "payments",
        "name": "payments",
        "uid": "6b1f",
    }


def test_what_the_chain_adds_cannot_overwrite_who_asked_and_what_was_answered() -> None:
    answer = Answer(allowed=False, reason=Reason.PENDING, chain={"user": "somebody", "decision": "Allow"})
    record = decision(request(), answer, now=NOW, milliseconds=0)
    assert (record["user"], record["decision"]) == (AGENT.username, "Refuse")


def test_times_are_utc() -> None:
    assert rfc3339(datetime(2026, 1, 1, 1, tzinfo=timezone(timedelta(hours=1)))) == "2026-01-01T00:00:00.000000Z"


def log(count: int, *, replica: str = "webhook-a", process: str = "p1") -> list[str]:
    """The lines of one process: its start, then `count` decisions."""
    line, link = Link(replica, process).append(start(now=NOW, version="0.1.0"))
    lines = [line]
    for number in range(count):
        line, link = link.append(decision(request(uid=f"r{number}"), REFUSAL, now=NOW, milliseconds=number / 7))
        lines.append(line)
    return lines


def faults(lines: list[str], *, whole: bool = True) -> list[int]:
    return [fault.line for fault in verify(lines, whole=whole).faults]


def test_a_log_begins_with_the_start_of_its_process() -> None:
    first = json.loads(log(0)[0])
    assert (first["seq"], first["prev"], first["replica"], first["process"]) == (0, "", "webhook-a", "p1")
    assert first["start"] == {"version": "0.1.0"}


def test_an_untouched_log_has_no_fault() -> None:
    result = verify(log(5))
    assert result.faults == ()
    assert result.records == 6
    assert list(result.chains) == ["webhook-a/p1"]
    assert result.chains["webhook-a/p1"].expected == 6


def test_an_empty_log_has_no_records() -> None:
    assert verify(["", "  \n"]).records == 0


def test_collectors_may_write_lines_anew() -> None:
    lines = [json.dumps(dict(reversed(json.loads(line).items())), indent=None, separators=(" , ", " : ")) for line in log(4)]
    assert faults(lines) == []


def change(line: str, **members: Any) -> str:
    return json.dumps({**json.loads(line), **members})


def rehashed(line: str, **members: Any) -> str:
    record = {**json.loads(line), **members}
    link = Link(record.pop("replica"), record.pop("process"), record.pop("seq"), record.pop("prev"))
    record.pop("hash")
    return link.append(record)[0]


FAR = "f" * 64
TABLE: dict[str, tuple[Callable[[list[str]], list[str]], list[tuple[int, str]]]] = {
    "changed": (lambda x: [x[0], x[1], change(x[2], decision="Allow"), x[3]], [(3, "was changed")]),
    "changed and hashed again": (lambda x: [x[0], x[1], rehashed(x[2], decision="Allow"), x[3]], [(4, "does not follow from line 3")]),
    "a member added": (lambda x: [x[0], change(x[1], note="ok"), *x[2:]], [(2, "was changed")]),
    "a member twice": (lambda x: [x[0], '{"decision":"Allow",' + x[1][1:], *x[2:]], [(2, "names a member twice"), (3, "number 2")]),
    "its hash changed": (lambda x: [x[0], change(x[1], hash=FAR), *x[2:]], [(2, "was changed"), (3, "does not follow from line 2")]),
    "its number changed": (lambda x: [x[0], x[1], change(x[2], seq=9), x[3]], [(3, "was changed")]),
    "moved to another replica": (lambda x: [x[0], change(x[1], replica="b"), *x[2:]], [(2, "was changed"), (3, "is number 2")]),
    "first missing": (lambda x: x[1:], [(1, "the first of it here")]),
    "one missing": (lambda x: [x[0], x[2], x[3]], [(2, "what was between is missing")]),
    "two missing": (lambda x: [x[0], x[3]], [(2, "line 1 is number 0")]),
    "one twice": (lambda x: [x[0], x[1], x[1], *x[2:]], [(3, "repeats line 2")]),
    "one again at the end": (lambda x: [*x, x[1]], [(5, "repeats line 2")]),
    "two swapped": (lambda x: [x[0], x[2], x[1], x[3]], [(2, "between is missing"), (3, "out of its order"), (4, "")]),
    "all reversed": (lambda x: x[::-1], [(1, "the first of it here"), (2, "out of its order"), (3, "out"), (4, "out")]),
    "another begins": (lambda x: [*x, rehashed(x[0], time="later")], [(5, "out of its order")]),
    "foreign text": (lambda x: [x[0], "Traceback (most recent call last):", *x[1:]], [(2, "is not a decision record")]),
    "foreign JSON": (lambda x: [x[0], '{"level":"info"}', *x[1:]], [(2, "lacks 'replica'")]),
    "a boolean for a number": (lambda x: [change(x[0], seq=False), *x[1:]], [(1, "lacks 'seq'"), (2, "the first of it here")]),
    "deep nonsense": (lambda x: [*x, "[" * 100_000], [(5, "is not a decision record")]),
}


@pytest.mark.parametrize("what", TABLE)
def test_a_fault_is_found_and_its_line_is_named(what: str) -> None:
    tamper, expected = TABLE[what]
    found = verify(tamper(log(3))).faults
    for line, words in expected:
        if words:
            assert any(fault.line == line and words in fault.sentence and f"line {line} " in fault.sentence for fault in found), found
    assert {fault.line for fault in found} <= {line for line, _ in expected}
    assert found


def test_a_rotated_log_may_begin_in_the_middle_but_has_no_gap() -> None:
    lines = log(5)
    assert faults(lines[2:], whole=False) == []
    assert faults([*lines[2:3], *lines[4:]], whole=False) == [2]


def test_interleaved_replicas_and_a_restart_of_one_are_chains_of_their_own() -> None:
    a, b, again = log(3), log(3, replica="webhook-b", process="p2"), log(2, process="p3")
    mixed = [a[0], b[0], b[1], a[1], a[2], b[2], a[3], again[0], b[3], again[1], again[2]]
    assert faults(mixed) == []
    assert set(verify(mixed).chains) == {"webhook-a/p1", "webhook-b/p2", "webhook-a/p3"}
    del mixed[3]
    assert faults(mixed) == [4]


LOGS = st.integers(1, 6).map(log)


@given(LOGS, st.data())
def test_any_changed_value_is_found(lines: list[str], data: st.DataObject) -> None:
    number = data.draw(st.integers(0, len(lines) - 1))
    record = json.loads(lines[number])
    name = data.draw(st.sampled_from(sorted(record)))
    value = data.draw(st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.lists(st.text(max_size=3), max_size=2))
    assume(value != record[name] or type(value) is not type(record[name]))
    lines[number] = json.dumps({**record, name: value})
    assert number + 1 in faults(lines)


@given(LOGS, st.data())
def test_any_changed_character_is_found(lines: list[str], data: st.DataObject) -> None:
    """Unless it changes nothing of what the JSON says."""
    number = data.draw(st.integers(0, len(lines) - 1))
    line = lines[number]
    position = data.draw(st.integers(0, len(line) - 1))
    changed = line[:position] + data.draw(st.characters(min_codepoint=32, max_codepoint=126)) + line[position + 1 :]
    with contextlib.suppress(ValueError):
        assume(json.loads(changed) != json.loads(line))
    lines[number] = changed
    assert number + 1 in faults(lines)


@given(LOGS, st.data())
def test_any_missing_line_is_found_but_the_last(lines: list[str], data: st.DataObject) -> None:
    number = data.draw(st.integers(0, len(lines) - 2))
    del lines[number]
    assert faults(lines) == [number + 1]


def test_an_end_that_was_cut_off_shows_only_by_its_head() -> None:
    """The bound of what a chain can show by itself, so that nobody promises more."""
    lines = log(3)
    whole, cut = verify(lines), verify(lines[:-1])
    assert cut.faults == ()
    assert cut.chains["webhook-a/p1"].head != whole.chains["webhook-a/p1"].head


@given(LOGS, st.data())
def test_any_two_swapped_lines_are_found(lines: list[str], data: st.DataObject) -> None:
    first = data.draw(st.integers(0, len(lines) - 1))
    second = data.draw(st.integers(0, len(lines) - 1).filter(lambda x: x != first))
    lines[first], lines[second] = lines[second], lines[first]
    assert set(faults(lines)) & {first + 1, second + 1}


@given(LOGS, st.data())
def test_any_duplicated_line_is_found(lines: list[str], data: st.DataObject) -> None:
    copy = data.draw(st.sampled_from(lines))
    lines.insert(data.draw(st.integers(0, len(lines))), copy)
    assert faults(lines)


@given(st.data())
def test_any_interleaving_of_replicas_is_sound(data: st.DataObject) -> None:
    rest = [log(3, replica=name, process="p") for name in "abc"]
    mixed: list[str] = []
    while any(rest):
        mixed.append(data.draw(st.sampled_from([lines for lines in rest if lines])).pop(0))
    assert faults(mixed) == []
