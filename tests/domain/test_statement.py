"""The act, its name and the text to sign. The vectors are for good: signatures cannot be migrated."""

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass, replace
from datetime import UTC, datetime, timedelta, timezone
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from countersign.domain.document import parse
from countersign.domain.resources import Change, ChangeRequest, Cluster, Losses, Meta, Requester, Target
from countersign.domain.statement import act_of, change_lines, digest_deleted, digest_written, names, names_of, render, timestamp
from countersign.wire.resources import parse_change_request, render_change_request
from tests.support.objects import change_request

VECTORS = Path(__file__).parent / "vectors"
WHOLE_SECONDS = st.datetimes(min_value=datetime(2000, 1, 1), max_value=datetime(2100, 1, 1), timezones=st.just(UTC)).map(  # noqa: DTZ001  # hypothesis wants naive bounds beside `timezones`
    lambda moment: moment.replace(microsecond=0)
)
# Alphabets that hold what could end a line, close a string, or pass for another line.
spiteful = st.text(st.sampled_from('a"\\\n\r\t\x00\x1b\x7f\x85\u2028\u00e4\U0001f600: []0,') | st.characters(codec="utf-8"), max_size=8)
lists = st.lists(spiteful, max_size=3).map(tuple)
counts = st.none() | st.integers(0, 20)
requests = st.builds(
    ChangeRequest,
    meta=st.just(Meta("any")),
    cluster=st.builds(Cluster, spiteful, spiteful),
    operation=spiteful,
    target=st.builds(Target, spiteful, spiteful, spiteful, spiteful, spiteful, spiteful),
    change=st.builds(Change, spiteful, spiteful, lists),
    losses=st.builds(Losses, counts, counts),
    requester=st.builds(Requester, spiteful, spiteful, lists, lists),
    environments=lists,
    required=st.integers(1, 21),
    round=st.integers(1, 10),
    expires_at=WHOLE_SECONDS,
    statement=st.just(""),
)


@given(requests, requests)
def test_two_change_requests_never_have_the_same_text(one: ChangeRequest, other: ChangeRequest) -> None:
    assert (render(one) == render(other)) == (one == other)


@given(requests, st.data())
def test_no_single_field_can_change_without_the_text(request: ChangeRequest, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(list(_leaves(request))))
    other = _with_leaf(request, path, data.draw(requests))
    assume(other != request)
    assert render(other) != render(request)


@given(requests)
def test_every_line_is_printable_ascii_and_one_newline_ends_it(request: ChangeRequest) -> None:
    text = render(request)
    assert text.endswith("\n")
    assert not text.endswith("\n\n")
    first, *lines = text.removesuffix("\n").split("\n")
    assert first == "kube-countersign.dev/v1alpha1"
    for line in lines:
        assert re.fullmatch(r"[A-Za-z]+(\.[A-Za-z]+)?(\[\d+\])?: [ -~]+", line), line
        json.loads(line.partition(": ")[2])


@given(requests)
def test_a_reader_finds_each_value_again(request: ChangeRequest) -> None:
    values = {path: json.loads(value) for path, _, value in (line.partition(": ") for line in render(request).split("\n")[1:-1])}
    assert values["requester.username"] == request.requester.username
    assert values["target.group"] == request.target.group
    assert values["target.namespace"] == (request.target.namespace or None)
    found = tuple(values[f"environments[{index}]"] for index in range(len(request.environments)))
    assert found == request.environments
    assert ("environments" in values) == (not request.environments)


@pytest.mark.parametrize("bad", ["a\nenvironments: null", "\r", "\x7f", "\u2028", "\u00e4", "\x00", "\U0001f600", '"', "\\"])
@pytest.mark.parametrize("field", ["name", "username", "line", "environment"])
def test_no_value_can_write_a_line_of_its_own(field: str, bad: str) -> None:
    plain = change_request(change=Change(old="o", lines=("x",)))
    request = {
        "name": replace(plain, target=replace(plain.target, name=bad)),
        "username": replace(plain, requester=replace(plain.requester, username=bad)),
        "line": replace(plain, change=replace(plain.change, lines=(bad,))),
        "environment": replace(plain, environments=(bad,)),
    }[field]
    text = render(request)
    assert text.isascii()
    assert all(char.isprintable() or char == "\n" for char in text)
    assert text.count("\n") == render(plain).count("\n")


def test_absent_and_empty_are_null() -> None:
    request = change_request(
        change=Change(), losses=Losses(), environments=(), requester=Requester("u", "k"), target=Target("", "v1", "reviewers", "bob")
    )
    lines = render(request).splitlines()
    for path in ("target.namespace", "target.uid", "change.old", "change.new", "change.lines", "losses.volumes", "losses.loadBalancers"):
        assert f"{path}: null" in lines
    for path in ("requester.agents", "requester.sponsors", "environments"):
        assert f"{path}: null" in lines
    assert 'target.group: ""' in lines


def test_the_text_survives_the_way_through_the_api() -> None:
    request = change_request(change=Change(old=f"sha256:{'a' * 64}", lines=('spec.x: "\x7f\\n" -> absent', "and 3 more lines")))
    stored = parse(json.dumps(render_change_request(request)))
    assert render(parse_change_request(stored)) == request.statement


def test_times_are_whole_seconds_in_utc() -> None:
    assert timestamp(datetime(2026, 11, 22, 23, 30, 15, 999_999, tzinfo=timezone(timedelta(hours=2)))) == "2026-11-22T21:30:15Z"


# ── vectors ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def vectors(kind: str) -> list[Any]:
    found = sorted(VECTORS.glob(f"{kind}-*.json"))
    assert found, f"no vectors {kind}-*.json in {VECTORS}"
    return [pytest.param(path, id=path.stem) for path in found]


@pytest.mark.parametrize("path", vectors("request"))
def test_vectors_of_acts_names_and_statements(path: Path) -> None:
    vector = parse(path.read_text())
    statement = path.with_suffix(".statement.txt").read_bytes()
    request = parse_change_request({**vector["changeRequest"], "spec": {**vector["changeRequest"]["spec"], "statement": "any"}})
    assert act_of(request) == vector["act"]
    assert list(names_of(request)) == vector["names"]
    assert render(request).encode("ascii") == statement


@pytest.mark.parametrize("path", vectors("digest"))
def test_vectors_of_digests(path: Path) -> None:
    vector = parse(path.read_text())
    assert digest_deleted(vector["object"]) == vector["deleted"]
    assert digest_deleted(vector["object"], generation=True) == vector["deletedWithGeneration"]
    assert digest_written(vector["object"]) == vector["written"]
    assert digest_written(vector["object"], generation=True) == vector["writtenWithGeneration"]


# ── the act and its names ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_act_is_the_hash_of_its_ten_parts_in_order() -> None:
    request = change_request()
    parts = [
        request.cluster.uid, "DELETE", "", "namespaces", "", "payments", request.target.uid, request.change.old, "", request.requester.key,
    ]  # fmt: skip
    assert act_of(request) == hashlib.sha256(json.dumps(parts, separators=(",", ":")).encode()).hexdigest()


_PLAIN = change_request()


@pytest.mark.parametrize(
    ("other", "same"),
    [
        pytest.param(replace(_PLAIN, cluster=Cluster("prod-eu-1", "another")), False, id="another cluster"),
        pytest.param(replace(_PLAIN, cluster=Cluster("renamed", _PLAIN.cluster.uid)), True, id="the cluster's name is for people"),
        pytest.param(replace(_PLAIN, operation="UPDATE"), False, id="another operation"),
        pytest.param(replace(_PLAIN, target=replace(_PLAIN.target, group="x")), False, id="another group"),
        pytest.param(replace(_PLAIN, target=replace(_PLAIN.target, version="v2")), True, id="another version of the API"),
        pytest.param(replace(_PLAIN, target=replace(_PLAIN.target, resource="nodes")), False, id="another kind"),
        pytest.param(replace(_PLAIN, target=replace(_PLAIN.target, namespace="n")), False, id="another namespace"),
        pytest.param(replace(_PLAIN, target=replace(_PLAIN.target, name="n")), False, id="another name"),
        pytest.param(replace(_PLAIN, target=replace(_PLAIN.target, uid="n")), False, id="another object of that name"),
        pytest.param(replace(_PLAIN, change=Change(old="x")), False, id="another old content"),
        pytest.param(replace(_PLAIN, change=replace(_PLAIN.change, new="x")), False, id="another new content"),
        pytest.param(replace(_PLAIN, change=replace(_PLAIN.change, lines=("x",))), True, id="lines are for people"),
        pytest.param(replace(_PLAIN, requester=replace(_PLAIN.requester, key="x")), False, id="another requester"),
        pytest.param(replace(_PLAIN, requester=replace(_PLAIN.requester, username="x")), True, id="another session of that key"),
        pytest.param(replace(_PLAIN, losses=Losses(9, 9)), True, id="losses"),
        pytest.param(replace(_PLAIN, environments=("x",)), True, id="environments"),
        pytest.param(replace(_PLAIN, expires_at=_PLAIN.expires_at + timedelta(1)), True, id="time"),
        pytest.param(replace(_PLAIN, round=2), True, id="round"),
    ],
)
def test_what_makes_another_act(other: ChangeRequest, same: bool) -> None:
    assert (act_of(other) == act_of(_PLAIN)) is same


@given(requests)
def test_names_are_those_of_objects_and_grow_longer(request: ChangeRequest) -> None:
    found = list(names_of(request))
    lengths = [len(name.rpartition("-")[2]) for name in found]
    assert lengths == [8, 16, 32, 64]
    for name in found:
        assert len(name) <= 253
        assert re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", name) or not re.search("[a-z0-9]", request.operation.lower()), name


def test_a_name_says_what_it_is_about_and_differs_by_round() -> None:
    first = next(names_of(_PLAIN))
    assert re.fullmatch(r"delete-namespace-payments-[0-9a-f]{8}", first)
    assert next(names_of(replace(_PLAIN, round=2))) != first
    claim = list(
        names(operation="DELETE", resource="persistentvolumeclaims", namespace="shop", name="data.db", act=act_of(_PLAIN), round_=1)
    )
    assert claim[0].startswith("delete-persistentvolumeclaim-shop-data-db-")
    digest = hashlib.sha256(json.dumps([act_of(_PLAIN), 1], separators=(",", ":")).encode()).hexdigest()
    assert [name.rpartition("-")[2] for name in claim] == [digest[:8], digest[:16], digest[:32], digest]
    endless = next(names(operation="DELETE", resource="namespaces", namespace="", name="x" * 250, act="a", round_=1))
    assert len(endless) == 150 + 1 + 8


# ── digests ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

OBJECT: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Namespace",
    "metadata": {
        "name": "payments",
        "uid": "u",
        "resourceVersion": "7",
        "generation": 3,
        "creationTimestamp": "2026-01-01T00:00:00Z",
        "labels": {"team": "payments", "kube-countersign.dev/protected": "Agents"},
        "annotations": {"note": "x", "kube-countersign.dev/created-by": "kiro"},
        "finalizers": ["example.com/hold"],
        "managedFields": [{"manager": "kubectl"}],
    },
    "spec": {"finalizers": ["kubernetes"]},
    "status": {"phase": "Active"},
}


def changed(*path: str, value: Any = "other") -> dict[str, Any]:
    tree: dict[str, Any] = json.loads(json.dumps(OBJECT))
    inner = tree
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    return tree


@pytest.mark.parametrize(
    ("path", "deleted", "written"),
    [
        (("spec", "finalizers"), True, True),
        (("metadata", "finalizers"), True, True),
        (("metadata", "ownerReferences"), True, True),
        (("metadata", "labels", "team"), False, True),
        (("metadata", "annotations", "note"), False, True),
        (("metadata", "labels", "kube-countersign.dev/protected"), False, False),
        (("metadata", "annotations", "kube-countersign.dev/created-by"), False, False),
        (("metadata", "labels", "kube-countersign.dev"), False, False),
        (("metadata", "labels", "kube-countersign.dev.evil/x"), False, True),
        (("metadata", "labels", "evil/kube-countersign.dev"), False, True),
        (("metadata", "name"), False, True),
        (("metadata", "uid"), False, False),
        (("metadata", "resourceVersion"), False, False),
        (("metadata", "generation"), False, False),
        (("metadata", "creationTimestamp"), False, False),
        (("metadata", "managedFields"), False, False),
        (("metadata", "deletionTimestamp"), False, False),
        (("status",), False, False),
        (("data",), False, True),
        (("kind",), False, True),
    ],
)
def test_what_a_digest_binds(path: tuple[str, ...], deleted: bool, written: bool) -> None:
    other = changed(*path)
    assert (digest_deleted(other) != digest_deleted(OBJECT)) is deleted
    assert (digest_written(other) != digest_written(OBJECT)) is written


def test_the_generation_is_bound_where_it_is_asked_for() -> None:
    other = changed("metadata", "generation", value=4)
    assert digest_deleted(other, generation=True) != digest_deleted(OBJECT, generation=True)
    assert digest_written(other, generation=True) != digest_written(OBJECT, generation=True)


def test_labels_of_ours_alone_are_as_no_labels() -> None:
    bare = changed("metadata", "labels", value={})
    ours = changed("metadata", "labels", value={"kube-countersign.dev/agent": "kiro"})
    none = json.loads(json.dumps(bare))
    del none["metadata"]["labels"]
    assert digest_written(bare) == digest_written(ours) == digest_written(none)


# ── lines ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_lines_say_what_differs() -> None:
    old = {
        "spec": {"approvals": {"required": 3}, "mode": "Enforce"},
        "metadata": {"labels": {"a/b": "x", "c": "d"}, "resourceVersion": "1"},
    }
    new = {
        "spec": {"approvals": {"required": 2}, "mode": "Enforce"},
        "metadata": {"labels": {"c": "d"}, "resourceVersion": "2"},
        "status": {},
    }
    assert change_lines(old, new) == (
        'metadata.labels."a/b": "x" -> absent',
        "spec.approvals.required: 3 -> 2",
    )
    assert change_lines(old, old) == ()


def test_lines_are_few_and_short_and_what_was_cut_can_be_told_apart() -> None:
    many = change_lines({}, {"spec": {f"field{index:02}": index for index in range(30)}})
    assert len(many) == 21
    assert many[-1] == "and 10 more lines"
    one, other = (change_lines({}, {"spec": {"text": "x" * 500 + end}}) for end in "ab")
    assert all(len(line) <= 200 for line in one + other)
    assert one != other


@given(st.dictionaries(spiteful, spiteful, max_size=3), st.dictionaries(spiteful, spiteful, max_size=3))
def test_lines_tell_any_change_of_the_spec(old: dict[str, str], new: dict[str, str]) -> None:
    assert bool(change_lines({"spec": old}, {"spec": new})) == (old != new)


def _leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for member in fields(value):
        inner = getattr(value, member.name)
        if member.name in ("meta", "statement"):
            continue
        if is_dataclass(inner):
            yield from _leaves(inner, (*path, member.name))
        else:
            yield (*path, member.name)


def _with_leaf(value: Any, path: tuple[str, ...], source: Any) -> Any:
    step, *rest = path
    inner: Callable[[], Any] = lambda: getattr(source, step)  # noqa: E731  # two sources of one shape, side by side
    return replace(value, **{step: _with_leaf(getattr(value, step), tuple(rest), inner()) if rest else inner()})


def test_the_helper_sees_every_field() -> None:
    assert len(list(_leaves(_PLAIN))) == len(render(change_request(
        change=Change("o", "n", ("l",)), requester=Requester("u", "k", ("a",), ("s",)), environments=("e",)
    )).splitlines()) - 1  # fmt: skip


def test_first_names_are_taken_lazily() -> None:
    assert len(list(islice(names_of(_PLAIN), 1))) == 1


@pytest.mark.parametrize("version", ["v1alpha1", "v1alpha2", "v1"])
def test_what_is_signed_does_not_depend_on_the_api_version(version: str) -> None:
    """All versions of our kinds have one schema; of other people's kinds each version may say it otherwise."""
    ours = {"apiVersion": "kube-countersign.dev/v1alpha1", "kind": "Reviewer", "metadata": {"name": "bob"}, "spec": {"usernames": ["bob"]}}
    assert digest_written({**ours, "apiVersion": f"kube-countersign.dev/{version}"}) == digest_written(ours)
    assert digest_written({**ours, "apiVersion": "example.com/v1"}) != digest_written({**ours, "apiVersion": "example.com/v2"})
