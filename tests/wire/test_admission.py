"""What the API server sends, and what it gets back. A case is a folder: request.json is the body, expected.json what is made of it."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from countersign.domain.answer import Answer, Reason
from countersign.domain.document import canonical, items, mapping, parse, strings, text
from countersign.domain.request import Request
from countersign.wire.admission import API_VERSION, KIND, MAX_WARNING, MAX_WARNINGS, ReviewRefused, decode, encode

CASES = sorted(path.name for path in (Path(__file__).parent / "cases").iterdir())


def read(case: str) -> tuple[bytes, dict[str, Any]]:
    folder = Path(__file__).parent / "cases" / case
    return (folder / "request.json").read_bytes(), json.loads((folder / "expected.json").read_text())


def described(request: Request) -> dict[str, Any]:
    return {
        "uid": request.uid,
        "operation": request.operation.value,
        "group": request.group,
        "version": request.version,
        "resource": request.resource,
        "subresource": request.subresource,
        "namespace": request.namespace,
        "name": request.name,
        "user": {
            "username": request.user.username,
            "uid": request.user.uid,
            "groups": sorted(request.user.groups),
            "extra": {key: list(values) for key, values in request.user.extra.items()},
        },
        "dry_run": request.dry_run,
        "target_name": request.target_name,
        "target_uid": request.target_uid,
    }


def test_there_are_cases_of_both_kinds() -> None:
    outcomes = [next(iter(read(case)[1])) for case in CASES]
    assert outcomes.count("read") >= 10
    assert outcomes.count("refused") >= 20


@pytest.mark.parametrize("case", CASES)
def test_case(case: str) -> None:
    body, expected = read(case)
    if "refused" in expected:
        with pytest.raises(ReviewRefused) as caught:
            decode(body)
        assert caught.value.status == expected["refused"]["status"]
        for words in expected["refused"]["says"]:
            assert words in str(caught.value)
        return
    request = decode(body)
    assert described(request) == expected["read"]
    sent = parse(body)["request"]
    for field, got in (("object", request.object), ("oldObject", request.old_object)):
        if sent.get(field) is None:
            assert got is None
        else:
            assert canonical(got) == canonical(sent[field])


def body_with(document: str, *, group: str = "") -> bytes:
    resource = {"group": group, "version": "v1", "resource": "things"}
    review = {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "request": {"uid": "u", "resource": resource, "operation": "UPDATE", "userInfo": {"username": "alice"}, "object": "HERE"},
    }
    return json.dumps(review).replace('"HERE"', document).encode()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=8), inner, max_size=4),
    max_leaves=20,
)
KEYS = st.sampled_from(["metadata", "spec", "status", "data"])


@given(st.dictionaries(KEYS, JSON | st.dictionaries(st.sampled_from(["labels", "name", "uid", "managedFields"]), JSON)), st.booleans())
def test_objects_are_read_as_the_core_reads_json(document: dict[str, Any], ours: bool) -> None:
    written = json.dumps(document)
    got = decode(body_with(written, group="kube-countersign.dev" if ours else "apps")).object
    assert got is not None
    assert canonical(got) == canonical(parse(written))
    assert set(got) == set(document)
    assert all(key in got for key in document)
    assert "absent" not in got


def test_foreign_objects_answer_the_helpers_of_the_core() -> None:
    document = '{"metadata":{"name":"n","labels":{"a":"b","c":null},"ownerReferences":[{"uid":"o"}]},"spec":null}'
    got = decode(body_with(document)).object
    assert text(got, "metadata", "name") == "n"
    assert strings(got, "metadata", "labels") == {"a": "b"}
    assert items(got, "metadata", "ownerReferences") == [{"uid": "o"}]
    assert mapping(got, "spec") == {}
    assert text(got, "metadata", "missing", "deeper") == ""


def test_our_own_objects_are_plain_dicts() -> None:
    assert type(decode(body_with('{"metadata":{"name":"n"}}', group="kube-countersign.dev")).object) is dict


@pytest.mark.parametrize("document", ["{", '{"a":}', '{"metadata":{"name":"\x01"}}', '{"a":' + "[" * 100_000 + "]" * 100_000 + "}"])
def test_malformed_objects_never_pass_for_something(document: str) -> None:
    """At once, or when the member is read: never a value that is not there."""
    with pytest.raises((ReviewRefused, ValueError)):
        canonical(decode(body_with(document)).object)


def test_our_own_malformed_objects_are_refused_at_once() -> None:
    deep = '{"a":' + "[" * 100_000 + "]" * 100_000 + "}"
    with pytest.raises(ReviewRefused):
        decode(body_with(deep, group="kube-countersign.dev"))


def test_invalid_utf8_in_a_name_is_no_name() -> None:
    with pytest.raises(ReviewRefused):
        decode(body_with("{}").replace(b"alice", b"al\xffce"))


# --- the way back


def response(answer: Answer) -> dict[str, Any]:
    tree: dict[str, Any] = json.loads(encode("the-uid", answer))
    assert (tree["apiVersion"], tree["kind"]) == ("admission.k8s.io/v1", "AdmissionReview")
    assert set(tree) == {"apiVersion", "kind", "response"}
    inner: dict[str, Any] = tree["response"]
    assert inner["uid"] == "the-uid"
    assert "patch" not in inner
    return inner


def test_a_refusal_carries_code_reason_message_and_causes() -> None:
    answer = Answer(
        allowed=False,
        reason=Reason.PENDING,
        message="WAITING\nfor two",
        causes=(("outcome", "Pending"), ("changeRequest", "delete-x")),
        audit={"decision": "Refuse"},
    )
    assert response(answer) == {
        "uid": "the-uid",
        "allowed": False,
        "status": {
            "status": "Failure",
            "code": 403,
            "reason": "Forbidden",
            "message": "WAITING\nfor two",
            "details": {"causes": [{"reason": "outcome", "message": "Pending"}, {"reason": "changeRequest", "message": "delete-x"}]},
        },
        "auditAnnotations": {"decision": "Refuse"},
    }


def test_an_allow_has_no_status() -> None:
    assert response(Answer(allowed=True, reason=Reason.APPROVED, message="not shown", warnings=("seen",))) == {
        "uid": "the-uid",
        "allowed": True,
        "warnings": ["seen"],
    }


@pytest.mark.parametrize(
    ("code", "reason"), [(400, "BadRequest"), (403, "Forbidden"), (422, "Invalid"), (500, "InternalError"), (503, "ServiceUnavailable")]
)
def test_the_reason_is_the_one_that_clients_know(code: int, reason: str) -> None:
    status = response(Answer(allowed=False, reason=Reason.UNABLE, message="m", code=code))["status"]
    assert (status["code"], status["reason"]) == (code, reason)


def test_what_is_invalid_says_its_message_where_kubectl_looks() -> None:
    status = response(Answer(allowed=False, reason=Reason.INVALID, message="the reason", code=422, causes=(("outcome", "Invalid"),)))[
        "status"
    ]
    assert status["details"]["causes"] == [{"reason": "message", "message": "the reason"}, {"reason": "outcome", "message": "Invalid"}]


@pytest.mark.parametrize("key", ["kube-countersign.dev/reason", "", "a" * 64, "with space", "ключ", "-a"])
def test_an_audit_key_that_would_be_dropped_is_an_error(key: str) -> None:
    with pytest.raises(ValueError, match="audit annotation"):
        encode("u", Answer(allowed=True, reason=Reason.ACCEPTED, audit={key: "v"}))


def test_warnings_are_single_lines_each_once_and_cut_as_the_server_cuts() -> None:
    given_warnings = ("one\nline\x7f", "again", "again", "", "é" * 300)
    got = response(Answer(allowed=True, reason=Reason.ACCEPTED, warnings=given_warnings))["warnings"]
    assert got == ["one line", "again", "é" * (MAX_WARNING - 1) + "…"]


@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=400), max_size=60))
def test_warnings_stay_within_what_the_server_passes_on(warnings: list[str]) -> None:
    got = response(Answer(allowed=True, reason=Reason.ACCEPTED, warnings=tuple(warnings))).get("warnings", [])
    assert sum(map(len, got)) <= MAX_WARNINGS
    assert len(set(got)) == len(got)
    assert all(0 < len(warning) <= MAX_WARNING and "\n" not in warning for warning in got)


@given(st.text(st.characters(codec="utf-8"), min_size=1), st.text(st.characters(codec="utf-8")))
def test_any_uid_and_message_come_back_as_they_were(uid: str, message: str) -> None:
    tree = json.loads(encode(uid, Answer(allowed=False, reason=Reason.FORBIDDEN, message=message)))
    assert tree["response"]["uid"] == uid
    assert tree["response"]["status"]["message"] == message
    assert tree["response"]["allowed"] is False


@pytest.mark.parametrize(
    ("field", "longest"),
    [(("uid",), 256), (("name",), 4096), (("namespace",), 4096), (("userInfo", "username"), 4096), (("resource", "group"), 4096)],
)
def test_what_is_written_down_is_bounded(field: tuple[str, ...], longest: int) -> None:
    """A forged review could else fill the decision log."""
    tree = json.loads(read("a-namespace-is-deleted")[0])
    *way, last = field
    part = tree["request"]
    for step in way:
        part = part[step]
    part[last] = "x" * longest
    assert decode(json.dumps(tree).encode()).uid
    part[last] = "x" * (longest + 1)
    with pytest.raises(ReviewRefused, match=f"Expected `str` of length <= {longest}"):
        decode(json.dumps(tree).encode())


def test_whichever_version_of_our_kinds_a_client_speaks_it_is_read_as_one() -> None:
    """All versions have one schema, and the API server asks in the client's (rules name no version); other people's stay as they are."""
    body = json.loads(read("an-approval-is-created")[0])
    plain = decode(json.dumps(body).encode())
    body["request"]["resource"]["version"] = "v1beta1"
    body["request"]["object"]["apiVersion"] = "kube-countersign.dev/v1beta1"
    assert decode(json.dumps(body).encode()) == plain
    assert plain.version == "v1alpha1"
    body["request"]["resource"]["group"] = "example.com"
    other = decode(json.dumps(body).encode())
    assert other.version == "v1beta1"
    assert text(other.object, "apiVersion") == "kube-countersign.dev/v1beta1"
