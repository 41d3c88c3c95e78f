"""SubjectAccessReview v1 both ways, and the rule in CEL: what it lets through to us is what the domain may deny, and nothing else."""

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from countersign.domain.authorize import Access, Deny, Ground, NoOpinion, PathAccess, ResourceAccess, authorize
from countersign.domain.identify import Agent, matches
from countersign.domain.request import UserInfo
from countersign.wire.access import MAX_ACCESS_BYTES, decode, encode, is_asked_about
from countersign.wire.admission import ReviewRefused
from countersign.wire.cel import ACCESS
from countersign.wire.shards import deal
from tests.domain.test_authorize import DENIED, KIRO, ORDINARY, name_of
from tests.domain.test_identify import MATCHES
from tests.support.cel import evaluate
from tests.support.objects import identity

REVIEW: dict[str, Any] = {
    "kind": "SubjectAccessReview",
    "apiVersion": "authorization.k8s.io/v1",
    "metadata": {"creationTimestamp": None},
    "spec": {
        "resourceAttributes": {"namespace": "payments", "verb": "list", "group": "apps", "version": "v1", "resource": "deployments"},
        "user": "system:serviceaccount:agents:kiro",
        "groups": ["system:serviceaccounts", "system:authenticated"],
        "extra": {"authentication.kubernetes.io/pod-name": ["kiro-0"]},
        "uid": "the-uid",
    },
    "status": {"allowed": False},
}


def review(**spec: Any) -> bytes:
    """The review with other members of its spec; None takes one away."""
    changed = {**REVIEW["spec"], **spec}
    return json.dumps({**REVIEW, "spec": {key: value for key, value in changed.items() if value is not None}}).encode()


def test_a_review_as_the_api_server_sends_it() -> None:
    assert decode(review()) == (
        UserInfo(
            "system:serviceaccount:agents:kiro",
            "the-uid",
            frozenset({"system:serviceaccounts", "system:authenticated"}),
            {"authentication.kubernetes.io/pod-name": ("kiro-0",)},
        ),
        ResourceAccess("list", "apps", "deployments", "v1", "", "payments", ""),
    )


def test_what_the_api_server_leaves_out_is_empty() -> None:
    spec = {"user": "kiro", "resourceAttributes": {"verb": "impersonate", "resource": "users"}}
    assert decode(json.dumps({**REVIEW, "spec": spec}).encode()) == (UserInfo("kiro"), ResourceAccess("impersonate", "", "users"))


def test_a_path_is_no_resource() -> None:
    asked = review(resourceAttributes=None, nonResourceAttributes={"path": "/metrics", "verb": "get"})
    assert decode(asked)[1] == PathAccess("get", "/metrics")


def test_label_selectors() -> None:
    requirements = [
        {"key": "owner", "operator": "In", "values": ["helm"]},
        {"key": "owner", "operator": "In", "values": ["x"]},
        {"key": "tier", "operator": "NotIn", "values": ["helm"]},
        {"key": "app", "operator": "Exists"},
        {"key": "none", "operator": "In"},
    ]
    attributes = {"verb": "list", "resource": "secrets", "labelSelector": {"requirements": requirements}}
    access = decode(review(resourceAttributes=attributes))[1]
    assert isinstance(access, ResourceAccess)
    assert access.labels == {"owner": ("helm",)}


RAW_SELECTOR = {"verb": "list", "resource": "secrets", "labelSelector": {"rawSelector": "owner=helm"}}


def test_a_raw_selector_is_not_gone_by() -> None:
    """The API server sends parsed requirements alone; in a raw one somebody else may read something else than we."""
    access = decode(review(resourceAttributes=RAW_SELECTOR))[1]
    assert isinstance(access, ResourceAccess)
    assert access.labels == {}


BAD: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "truncated"),
    "no JSON": (b"impersonate", "malformed"),
    "half": (review()[:-30], "truncated"),
    "a list": (b"[]", "array"),
    "deep": (b"[" * 1_000_000, "array|nested"),
    "no spec": (json.dumps({**REVIEW, "spec": None}).encode(), "spec"),
    "no user": (review(user=None), "`user`"),
    "an empty user": (review(user=""), "user"),
    "a misspelt user": (review(user=None, username="kiro"), "`user`"),
    "a user that is a list": (review(user=["kiro"]), "user"),
    "groups that are a text": (review(groups="system:masters"), "groups"),
    "a group that is a number": (review(groups=[1]), "groups"),
    "extra that is a list": (review(extra=[]), "extra"),
    "extra with a text": (review(extra={"k": "v"}), "extra"),
    "no verb": (review(resourceAttributes={"resource": "users"}), "`verb`"),
    "an empty verb": (review(resourceAttributes={"verb": "", "resource": "users"}), "verb"),
    "a verb that is a number": (review(resourceAttributes={"verb": 1}), "verb"),
    "neither attributes": (review(resourceAttributes=None), "spec.resourceAttributes"),
    "both attributes": (review(nonResourceAttributes={"path": "/", "verb": "get"}), "not both"),
    "another version": (json.dumps({**REVIEW, "apiVersion": "authorization.k8s.io/v1beta1"}).encode(), "subjectAccessReviewVersion"),
    "an admission review": (json.dumps({**REVIEW, "kind": "AdmissionReview"}).encode(), "AdmissionReview"),
    "two reviews": (review() + review(), "trailing"),
    "half a character": (review(user="x").replace(b'"x"', b'"\xff"'), "utf-8|UTF-8"),
}


@pytest.mark.parametrize("what", BAD)
def test_what_is_no_review_is_an_error_with_a_sentence(what: str) -> None:
    body, words = BAD[what]
    with pytest.raises(ReviewRefused) as refused:
        decode(body)
    assert refused.value.status == 400
    assert re.search(words, str(refused.value))
    assert re.fullmatch(r"[A-Z][^\n]*\.", str(refused.value))


def test_the_largest_review_is_read() -> None:
    asked = review(extra={"k": ["v" * (MAX_ACCESS_BYTES - 2000)]})
    assert decode(asked)[0].extra["k"][0].startswith("vvv")


def test_a_denial() -> None:
    assert json.loads(encode(Deny(Ground.IMPERSONATION, 'it says "no"'))) == {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "status": {"allowed": False, "denied": True, "reason": 'it says "no"'},
    }


@pytest.mark.parametrize("ground", [Ground.ORDINARY, Ground.NO_AGENT])
def test_no_opinion(ground: Ground) -> None:
    assert json.loads(encode(NoOpinion(ground)))["status"] == {"allowed": False}


# --- the same in CEL ------------------------------------------------------------------------------

CONDITION = is_asked_about("countersign")


def asked_about(access: Access) -> dict[str, Any]:
    """`request` as the API server gives it to an expression: every text is there (apiserver pkg/authorization/cel/compile.go)."""
    if isinstance(access, PathAccess):
        return {"user": "x", "nonResourceAttributes": {"verb": access.verb, "path": access.path}}
    names = ("verb", "group", "version", "resource", "subresource", "namespace", "name")
    return {"user": "x", "resourceAttributes": {name: getattr(access, name) for name in names}}


@pytest.mark.parametrize("access", [access for _, access in DENIED], ids=name_of)
def test_what_may_be_denied_reaches_us(access: ResourceAccess) -> None:
    assert evaluate(CONDITION, request=asked_about(access)) is True


def is_about_secrets_of_helm(access: Access) -> bool:
    return isinstance(access, ResourceAccess) and access.resource == "secrets" and not access.group and access.namespace != "payments"


@pytest.mark.parametrize("access", [access for access in ORDINARY if not is_about_secrets_of_helm(access)], ids=name_of)
def test_ordinary_work_does_not(access: Access) -> None:
    assert evaluate(CONDITION, request=asked_about(access)) is False


some = st.sampled_from
accesses = st.builds(
    ResourceAccess,
    verb=some(
        ["get", "list", "watch", "create", "patch", "delete", "*", "impersonate", "impersonate:x", "bind", "sign", "approve", "escalate"]
    ),
    group=some(
        ["", "apps", "rbac.authorization.k8s.io", "certificates.k8s.io", "admissionregistration.k8s.io", "flowcontrol.apiserver.k8s.io"]
    ),
    resource=some(["secrets", "nodes", "serviceaccounts", "users", "roles", "*"]),
    subresource=some(["", "proxy", "token", "checkpoint", "status"]),
    namespace=some(["", "countersign", "kube-system", "payments"]),
    name=some(["", "x", "sh.helm.release.v1.x"]),
)


@given(accesses)
@settings(max_examples=1000, deadline=None)
def test_all_that_is_denied_reaches_us_and_little_else(access: ResourceAccess) -> None:
    opinion = authorize(access, KIRO, "countersign")
    reaches = evaluate(CONDITION, request=asked_about(access))
    helms = access.resource == "secrets" and access.name.startswith("sh.helm.release.v1.")
    assert reaches is isinstance(opinion, Deny) or (reaches and helms)


@pytest.mark.parametrize("where", ["countersign", "o'brien", 'a"b'])
def test_our_namespace_is_a_literal(where: str) -> None:
    access = ResourceAccess("get", "", "secrets", namespace=where, name="x")
    assert evaluate(is_asked_about(where), request=asked_about(access)) is True
    assert evaluate(is_asked_about("elsewhere"), request=asked_about(access)) is False


@pytest.mark.parametrize(("subject", "who", "expected"), [pytest.param(*row[1:], id=row[0]) for row in MATCHES])
def test_agents_are_known_in_a_subject_access_review(subject: Any, who: UserInfo, expected: bool) -> None:
    [shard] = deal([identity("kiro", subject)], ACCESS).shards
    request = {"user": who.username, "groups": sorted(who.groups), "extra": {key: list(values) for key, values in who.extra.items()}}
    assert evaluate(shard.matches, request=request) is expected is matches(subject, who)


def test_the_rows_are_of_an_agent() -> None:
    assert isinstance(KIRO, Agent)
