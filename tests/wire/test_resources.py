import json
from collections.abc import Callable, Mapping
from dataclasses import FrozenInstanceError
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from countersign.domain.document import parse
from countersign.domain.errors import CountersignError
from countersign.domain.request import GroupResource
from countersign.domain.resources import (
    ApprovalRules,
    Losses,
    Meta,
    Mode,
    ProtectFrom,
    Requirement,
    ReviewerKey,
    Selector,
    Subject,
    SubjectKind,
    Verdict,
)
from countersign.wire.resources import (
    WireError,
    parse_agent_identity,
    parse_approval,
    parse_change_request,
    parse_environment,
    parse_meta,
    parse_namespace,
    parse_reviewer,
)
from tests.support.resource_cases import CASES, MINIMAL, SPECS, Case

PARSERS: Mapping[str, Callable[[Any], Any]] = {
    "AgentIdentity": parse_agent_identity,
    "Reviewer": parse_reviewer,
    "ProtectedEnvironment": parse_environment,
    "ChangeRequest": parse_change_request,
    "Approval": parse_approval,
}
PLURALS = {
    "AgentIdentity": "agentidentities",
    "Reviewer": "reviewers",
    "ProtectedEnvironment": "protectedenvironments",
    "ChangeRequest": "changerequests",
    "Approval": "approvals",
}


def as_received(obj: Any) -> Any:
    """As it arrives: bytes of JSON, read by our own reader, which keeps numbers as they were written."""
    return parse(json.dumps(obj).encode())


def whole(kind: str, spec: object, **metadata: object) -> Any:
    return as_received({"kind": kind, "metadata": {"name": "it", **metadata}, "spec": spec})


@pytest.mark.parametrize("case", [case for case in CASES if not case.field or case.only_api], ids=str)
def test_accepts(case: Case) -> None:
    assert PARSERS[case.kind](as_received(case.object)).meta.name == "case"


@pytest.mark.parametrize("case", [case for case in CASES if case.field and not case.only_api], ids=str)
def test_refuses_and_names_the_field_and_the_way_out(case: Case) -> None:
    with pytest.raises(WireError) as caught:
        PARSERS[case.kind](as_received(case.object))
    plural = PLURALS[case.kind]
    assert str(caught.value).startswith(f"{plural}.kube-countersign.dev/case: {case.field}")
    assert str(caught.value).endswith(f"; correct it (kubectl explain {plural}.spec)")
    assert isinstance(caught.value, CountersignError)


def test_an_agent_identity_in_full() -> None:
    identity = parse_agent_identity(whole("AgentIdentity", SPECS["AgentIdentity"]))
    assert identity.sponsors == ("alice",)
    assert not identity.sponsor_from_username
    assert identity.subjects == (
        Subject(SubjectKind.SERVICE_ACCOUNT, "kiro", "agents"),
        Subject(SubjectKind.SERVICE_ACCOUNT, "*", "ai-sandbox"),
        Subject(SubjectKind.GROUP, "ai-agents"),
        Subject(SubjectKind.USER, "arn:aws:sts::1:assumed-role/kiro/*", groups=("g",), extra={"example.com/session": ("a*",)}),
    )


def test_a_sponsor_taken_from_the_username() -> None:
    assert parse_agent_identity(whole("AgentIdentity", MINIMAL["AgentIdentity"])).sponsor_from_username


def test_a_reviewer_in_full() -> None:
    reviewer = parse_reviewer(whole("Reviewer", SPECS["Reviewer"]))
    assert reviewer.usernames == ("bob@example.com", "oidc:bob")
    assert reviewer.teams == ("payments-sre",)
    assert reviewer.keys == (ReviewerKey("yubikey", "sk-ssh-ed25519@openssh.com AAAA bob", datetime(2027, 11, 1, tzinfo=UTC)),)


def test_an_environment_in_full() -> None:
    environment = parse_environment(whole("ProtectedEnvironment", SPECS["ProtectedEnvironment"]))
    assert environment.protect_from is ProtectFrom.AGENTS
    assert environment.selector == Selector(
        {"team": "payments"}, (Requirement("example.com/tier", "In", ("prod", "")), Requirement("x", "Exists"))
    )
    assert environment.exclude == ("payments-scratch",)
    assert environment.exceptions == (Subject(SubjectKind.SERVICE_ACCOUNT, "kustomize-controller", "flux-system"),)
    assert environment.own_work == timedelta(hours=24)
    assert environment.approvals == ApprovalRules(2, ("payments-sre",), hardware_keys_only=True, use_within=timedelta(hours=1))
    assert environment.resources == (GroupResource("", "configmaps"), GroupResource("argoproj.io", "applications"))


def test_what_an_environment_leaves_out_is_strict() -> None:
    environment = parse_environment(whole("ProtectedEnvironment", MINIMAL["ProtectedEnvironment"]))
    assert environment.mode is Mode.ENFORCE
    assert environment.selector.matches({})
    assert environment.own_work is None
    assert environment.approvals == ApprovalRules(required=1, use_within=timedelta(hours=1))
    assert environment.registration is None


def test_a_change_request_in_full() -> None:
    request = parse_change_request(whole("ChangeRequest", SPECS["ChangeRequest"]))
    assert request.target.name == "payments"
    assert request.target.namespace == ""
    assert request.target.uid == SPECS["ChangeRequest"]["target"]["uid"]
    assert request.change.old == "sha256:" + "0" * 64
    assert request.change.new == ""
    assert request.losses == Losses(volumes=6, load_balancers=2)
    assert request.requester.agents == ("kiro",)
    assert (request.required, request.round) == (2, 1)
    assert request.expires_at == datetime(2026, 11, 22, 21, tzinfo=UTC)


def test_losses_that_were_not_counted_are_not_zero() -> None:
    assert parse_change_request(whole("ChangeRequest", MINIMAL["ChangeRequest"])).losses == Losses(None, None)


def test_an_approval_in_full() -> None:
    approval = parse_approval(whole("Approval", SPECS["Approval"] | {"decision": "Reject"}))
    assert approval.verdict is Verdict.REJECT
    assert (approval.change_request, approval.reviewer) == ("delete-namespace-payments-3f9a1c2e", "bob")
    assert approval.comment == "replaced by payments-v2"


def test_metadata() -> None:
    metadata = {
        "name": "bob",
        "uid": "u",
        "resourceVersion": "7",
        "generation": 3,
        "creationTimestamp": "2026-11-22T21:00:00Z",
        "deletionTimestamp": "2026-11-22T22:00:00Z",
        "managedFields": [{"manager": "x"}],
        "labels": {"a": "b"},
    }
    assert parse_meta(as_received({"kind": "PartialObjectMetadata", "metadata": metadata})) == Meta(
        "bob", "u", "7", 3, datetime(2026, 11, 22, 21, tzinfo=UTC), deleting=True
    )


def test_an_object_that_was_never_stored_has_its_name_only() -> None:
    assert parse_meta({"metadata": {"name": "bob", "creationTimestamp": None}}) == Meta("bob")


@pytest.mark.parametrize("metadata", [None, {}, {"name": ""}, {"name": None}, {"name": 7}, {"name": "x", "generation": "3"}, [], "x"])
def test_metadata_without_an_identity_is_refused(metadata: object) -> None:
    with pytest.raises(WireError, match="metadata"):
        parse_meta({"metadata": metadata})


@pytest.mark.parametrize("kind", PARSERS)
def test_another_kind_or_version_is_refused(kind: str) -> None:
    obj = whole(kind, SPECS[kind])
    with pytest.raises(WireError, match=f"write kind {kind} of kube-countersign.dev/v1alpha1"):
        PARSERS[kind]({**obj, "kind": "Secret"})
    with pytest.raises(WireError, match=f"write kind {kind} of kube-countersign.dev/v1alpha1"):
        PARSERS[kind]({**obj, "apiVersion": "kube-countersign.dev/v9"})


@pytest.mark.parametrize("kind", PARSERS)
@pytest.mark.parametrize("spec", [None, [], "x", 7, {}])
def test_no_spec_is_refused(kind: str, spec: object) -> None:
    with pytest.raises(WireError, match="spec"):
        PARSERS[kind]({"metadata": {"name": "it"}, "spec": spec})


@pytest.mark.parametrize("kind", PARSERS)
def test_nothing_is_read_from_the_status(kind: str) -> None:
    obj = whole(kind, SPECS[kind])
    assert PARSERS[kind]({**obj, "status": {"outcome": "Approved", "conditions": 7}}) == PARSERS[kind](obj)


@pytest.mark.parametrize("kind", PARSERS)
def test_what_was_parsed_cannot_be_changed(kind: str) -> None:
    with pytest.raises(FrozenInstanceError):
        PARSERS[kind](whole(kind, SPECS[kind])).meta = Meta("other")


def test_a_namespace_keeps_its_document_but_for_managed_fields() -> None:
    namespace = parse_namespace(
        {
            "metadata": {"name": "payments", "uid": "u", "labels": {"a": "b"}, "annotations": {"c": "d"}, "managedFields": [{}]},
            "spec": {"finalizers": ["kubernetes"]},
        }
    )
    assert (namespace.meta.uid, namespace.labels, namespace.annotations) == ("u", {"a": "b"}, {"c": "d"})
    assert namespace.document == {
        "metadata": {"name": "payments", "uid": "u", "labels": {"a": "b"}, "annotations": {"c": "d"}},
        "spec": {"finalizers": ["kubernetes"]},
    }


def test_a_namespace_without_labels() -> None:
    assert parse_namespace({"metadata": {"name": "payments"}}).labels == {}
