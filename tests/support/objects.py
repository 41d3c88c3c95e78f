"""Objects of the core for tests: the story of kiro, who is run by alice, and of bob and carol, who may sign."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from countersign.domain.request import UserInfo
from countersign.domain.resources import (
    AgentIdentity,
    Approval,
    ApprovalRules,
    Change,
    ChangeRequest,
    Cluster,
    Losses,
    Meta,
    Namespace,
    ProtectedEnvironment,
    ProtectFrom,
    Requester,
    Reviewer,
    ReviewerKey,
    Subject,
    SubjectKind,
    Target,
    Verdict,
)
from countersign.domain.snapshot import Snapshot
from countersign.domain.sshsig import APPROVE, REJECT
from countersign.domain.statement import act_of, render
from tests.support.signing import Key, SoftwareKey

NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
CLUSTER = Cluster("prod-eu-1", "0c5b6b5e-0000-4000-8000-00000000000c")
KIRO = "system:serviceaccount:agents:kiro"


@cache
def key_of(name: str) -> SoftwareKey:
    return SoftwareKey.of(name)


def user(username: str, *groups: str, **extra: tuple[str, ...]) -> UserInfo:
    return UserInfo(username, groups=frozenset(groups), extra=extra)


def account(namespace: str, name: str) -> Subject:
    return Subject(SubjectKind.SERVICE_ACCOUNT, name, namespace)


def identity(name: str = "kiro", *subjects: Subject, sponsors: tuple[str, ...] = ("alice",), **fields: Any) -> AgentIdentity:
    return AgentIdentity(Meta(name), subjects or (account("agents", name),), sponsors, **fields)


def person(name: str, *, teams: tuple[str, ...] = (), usernames: tuple[str, ...] = (), keys: tuple[Key, ...] | None = None) -> Reviewer:
    """A reviewer with the key of that name, if not told otherwise."""
    held = (key_of(name),) if keys is None else keys
    return Reviewer(
        Meta(name),
        usernames or (f"{name}@example.com",),
        teams,
        tuple(ReviewerKey(f"key-{index}", key.public_key) for index, key in enumerate(held)),
    )


def environment(name: str = "default", protect_from: ProtectFrom = ProtectFrom.AGENTS, **fields: Any) -> ProtectedEnvironment:
    """`required`, `teams`, `hardware_keys_only` and `use_within` go into its approval rules."""
    rules = {rule: fields.pop(rule) for rule in ("required", "teams", "hardware_keys_only", "use_within") if rule in fields}
    return ProtectedEnvironment(Meta(name), protect_from, approvals=ApprovalRules(**rules), **fields)


def change_request(**fields: Any) -> ChangeRequest:
    """The deletion of the namespace payments by kiro, round 1, opened at NOW; the statement and the name are made to fit."""
    draft = ChangeRequest(
        meta=Meta("delete-namespace-payments-00000000", created=NOW),
        cluster=CLUSTER,
        operation="DELETE",
        target=Target(group="", version="v1", resource="namespaces", name="payments", uid="6b1f0000-0000-4000-8000-000000000001"),
        change=Change(old=f"sha256:{'0' * 64}"),
        losses=Losses(volumes=2, load_balancers=1),
        requester=Requester(KIRO, KIRO, ("kiro",), ("alice",)),
        environments=("default",),
        required=1,
        round=1,
        expires_at=NOW + 24 * HOUR,
    )
    draft = replace(draft, **fields)
    return draft if "statement" in fields else replace(draft, statement=render(draft))


def approval(
    request: ChangeRequest,
    by: str = "bob",
    *,
    at: datetime = NOW + MINUTE,
    verdict: Verdict = Verdict.APPROVE,
    key: Key | None = None,
    name: str = "",
    text: str | None = None,
    namespace: str | None = None,
) -> Approval:
    """A signature by a person's own key, if not told otherwise. `text` and `namespace` are what is signed in place of what should be."""
    signed_as = namespace or (APPROVE if verdict is Verdict.APPROVE else REJECT)
    message = (render(request) if text is None else text).encode()
    return Approval(
        Meta(name or f"{request.meta.name}-{by}", created=at),
        request.meta.name,
        by,
        verdict,
        "",
        (key or key_of(by)).sign(message, signed_as),
    )


def namespace(name: str, labels: dict[str, str] | None = None, *, uid: str = "") -> Namespace:
    document = {"metadata": {"name": name, "uid": uid or f"uid-of-{name}", "labels": labels or {}}, "spec": {"finalizers": ["kubernetes"]}}
    return Namespace(Meta(name, uid=uid or f"uid-of-{name}"), labels or {}, {}, document)


def snapshot(*objects: object, cluster: Cluster = CLUSTER) -> Snapshot:
    """A snapshot of these objects, indexed. Without people, identities or environments of their own: kiro, alice, bob, carol, dave and `default`."""
    kinds: dict[type, dict[str, Any]] = {
        kind: {} for kind in (AgentIdentity, Reviewer, ProtectedEnvironment, ChangeRequest, Approval, Namespace)
    }
    for each in objects:
        kinds[type(each)][each.meta.name] = each  # type: ignore[attr-defined]  # all six have it
    if not kinds[AgentIdentity]:
        kinds[AgentIdentity] = {"kiro": identity()}
    if not kinds[Reviewer]:
        kinds[Reviewer] = {name: person(name) for name in ("alice", "bob", "carol", "dave")}
    if not kinds[ProtectedEnvironment]:
        kinds[ProtectedEnvironment] = {"default": environment()}
    rounds: dict[str, list[ChangeRequest]] = {}
    for request in kinds[ChangeRequest].values():
        rounds.setdefault(act_of(request), []).append(request)
    signed: dict[str, list[Approval]] = {}
    for each in kinds[Approval].values():
        signed.setdefault(each.change_request, []).append(each)
    return Snapshot(
        cluster=cluster,
        identities=kinds[AgentIdentity],
        reviewers=kinds[Reviewer],
        environments=kinds[ProtectedEnvironment],
        requests=kinds[ChangeRequest],
        rounds=rounds,
        approvals=signed,
        namespaces=kinds[Namespace],
    )
