"""Objects of our five kinds that must be accepted or refused: the same table for `parse_*` and for a real API server with our CRDs."""

from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

API_VERSION = "kube-countersign.dev/v1alpha1"
GONE = object()
"""As a value in `case`: the field is taken out."""

AGENT_IDENTITY: dict[str, Any] = {
    "sponsors": ["alice"],
    "subjects": [
        {"kind": "ServiceAccount", "namespace": "agents", "name": "kiro"},
        {"kind": "ServiceAccount", "namespace": "ai-sandbox", "name": "*"},
        {"kind": "Group", "name": "ai-agents"},
        {"kind": "User", "name": "arn:aws:sts::1:assumed-role/kiro/*", "groups": ["g"], "extra": {"example.com/session": ["a*"]}},
    ],
}
REVIEWER: dict[str, Any] = {
    "usernames": ["bob@example.com", "oidc:bob"],
    "teams": ["payments-sre"],
    "keys": [{"name": "yubikey", "publicKey": "sk-ssh-ed25519@openssh.com AAAA bob", "notAfter": "2027-11-01T00:00:00Z"}],
}
ENVIRONMENT: dict[str, Any] = {
    "namespaces": {
        "selector": {
            "matchLabels": {"team": "payments"},
            "matchExpressions": [{"key": "example.com/tier", "operator": "In", "values": ["prod", ""]}, {"key": "x", "operator": "Exists"}],
        },
        "exclude": ["payments-scratch"],
    },
    "protectFrom": "Agents",
    "except": [{"kind": "ServiceAccount", "namespace": "flux-system", "name": "kustomize-controller"}],
    "ownWork": "24h",
    "mode": "Enforce",
    "approvals": {"required": 2, "teams": ["payments-sre"], "hardwareKeysOnly": True, "useWithin": "1h"},
    "resources": [{"group": "", "resource": "configmaps"}, {"group": "argoproj.io", "resource": "applications"}],
}
CHANGE_REQUEST: dict[str, Any] = {
    "cluster": {"name": "prod-eu-1", "uid": "0c5b6b5e-1111-2222-3333-444444444444"},
    "operation": "DELETE",
    "target": {"group": "", "version": "v1", "resource": "namespaces", "name": "payments", "uid": "6b1f0000-1111-2222-3333-444444444444"},
    "change": {"old": "sha256:" + "0" * 64, "lines": ["spec.finalizers: [] -> ['kubernetes']"]},
    "losses": {"volumes": 6, "loadBalancers": 2},
    "requester": {"username": "system:serviceaccount:agents:kiro", "key": "k", "agents": ["kiro"], "sponsors": ["alice"]},
    "environments": ["payments-prod"],
    "required": 2,
    "round": 1,
    "expiresAt": "2026-11-22T21:00:00Z",
    "statement": "kube-countersign.dev/v1alpha1\n",
}
APPROVAL: dict[str, Any] = {
    "changeRequest": "delete-namespace-payments-3f9a1c2e",
    "reviewer": "bob",
    "decision": "Approve",
    "comment": "replaced by payments-v2",
    "signature": "-----BEGIN SSH SIGNATURE-----\n",
}
SPECS: Mapping[str, dict[str, Any]] = {
    "AgentIdentity": AGENT_IDENTITY,
    "Reviewer": REVIEWER,
    "ProtectedEnvironment": ENVIRONMENT,
    "ChangeRequest": CHANGE_REQUEST,
    "Approval": APPROVAL,
}
MINIMAL: Mapping[str, dict[str, Any]] = {
    "AgentIdentity": {"sponsorFrom": "Username", "subjects": [{"kind": "Group", "name": "g"}]},
    "Reviewer": {"usernames": ["alice"]},
    "ProtectedEnvironment": {"protectFrom": "Everyone"},
    "ChangeRequest": {key: value for key, value in CHANGE_REQUEST.items() if key not in {"change", "losses", "environments"}},
    "Approval": {key: value for key, value in APPROVAL.items() if key != "comment"},
}


@dataclass(frozen=True, slots=True)
class Case:
    """`field` is where the refusal points; "" means it is accepted. `only_api`: a CEL rule or list type, which our parser leaves to it."""

    kind: str
    what: str
    spec: Any
    field: str = ""
    only_api: bool = False

    @property
    def object(self) -> dict[str, Any]:
        return {"apiVersion": API_VERSION, "kind": self.kind, "metadata": {"name": "case"}, "spec": self.spec}

    def __str__(self) -> str:
        return f"{self.kind}-{self.what}".replace(" ", "-")


def cases() -> Iterator[Case]:
    for kind, spec in SPECS.items():
        yield Case(kind, "in full", spec)
        yield Case(kind, "at its shortest", MINIMAL[kind])
        yield Case(kind, "an unknown field", {**spec, "unknown": 1}, "spec.unknown")
    yield from _identities()
    yield from _reviewers()
    yield from _environments()
    yield from _requests()
    yield from _approvals()


def _case(kind: str, what: str, path: str, value: Any, *, refused: bool = True, field: str = "", only_api: bool = False) -> Case:
    """The full spec with one field changed. Numbers in the path are indexes."""
    spec = deepcopy(SPECS[kind])
    keys: list[Any] = [int(step) if step.isdigit() else step for step in path.split(".")]
    *steps, last = keys
    place: Any = spec
    for step in steps:
        place = place[step]
    if value is GONE:
        del place[last]
    else:
        place[last] = value
    pointed = "spec" + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in [*steps, last])
    return Case(kind, what, spec, (field or pointed) if refused else "", only_api)


def _identities() -> Iterator[Case]:
    kind = "AgentIdentity"
    yield _case(kind, "no subject", "subjects", [])
    yield _case(kind, "subjects left out", "subjects", GONE)
    yield _case(kind, "a misspelt field in a subject", "subjects.0.username", "x")
    yield _case(kind, "a subject without a name", "subjects.2.name", GONE)
    yield _case(kind, "a subject without a kind", "subjects.2.kind", GONE)
    yield _case(kind, "an empty name", "subjects.2.name", "")
    yield _case(kind, "another kind of subject", "subjects.2.kind", "Human")
    yield _case(kind, "a kind in small letters", "subjects.2.kind", "group")
    yield _case(kind, "a namespace that is none", "subjects.0.namespace", "Agents!")
    yield _case(kind, "an account without its namespace", "subjects.0.namespace", GONE, field="spec.subjects[0]", only_api=True)
    yield _case(kind, "a user with a namespace", "subjects.3.namespace", "x", field="spec.subjects[3]", only_api=True)
    yield _case(kind, "a glob for accounts", "subjects.0.name", "ki*", field="spec.subjects[0]", only_api=True)
    yield _case(kind, "no sponsor at all", "sponsors", [], field="spec", only_api=True)
    yield _case(kind, "a sponsor twice", "sponsors", ["a", "a"], field="spec.sponsors[1]", only_api=True)
    yield _case(kind, "an empty sponsor", "sponsors", [""], field="spec.sponsors[0]")
    yield _case(kind, "sponsors in one string", "sponsors", "alice")
    yield _case(kind, "another source of sponsors", "sponsorFrom", "Group")
    yield _case(kind, "an extra key without a value", "subjects.3.extra", {"k": []}, field="spec.subjects[3].extra.k")
    yield _case(kind, "257 subjects", "subjects", [{"kind": "Group", "name": str(n)} for n in range(257)])
    yield _case(kind, "256 subjects", "subjects", [{"kind": "Group", "name": str(n)} for n in range(256)], refused=False)


def _reviewers() -> Iterator[Case]:
    kind = "Reviewer"
    yield _case(kind, "no username", "usernames", [])
    yield _case(kind, "a username twice", "usernames", ["a", "a"], field="spec.usernames[1]", only_api=True)
    yield _case(kind, "a username of 1025", "usernames.0", "x" * 1025)
    yield _case(kind, "a team with a space", "teams.0", "a b")
    yield _case(kind, "a key without a name", "keys.0.name", GONE)
    yield _case(kind, "a key of two lines", "keys.0.publicKey", "ssh-ed25519 AAAA\nssh-ed25519 BBBB")
    yield _case(kind, "a key of 5000", "keys.0.publicKey", "x" * 5000)
    yield _case(kind, "an expiry without a zone", "keys.0.notAfter", "2027-11-01T00:00:00")
    yield _case(kind, "an expiry on the 31st of February", "keys.0.notAfter", "2027-02-31T00:00:00Z")
    yield _case(kind, "an expiry as a number", "keys.0.notAfter", 1)
    yield _case(
        kind,
        "two keys of one name",
        "keys",
        [{"name": "a", "publicKey": "x"}, {"name": "a", "publicKey": "y"}],
        field="spec.keys[1]",
        only_api=True,
    )


def _environments() -> Iterator[Case]:
    kind = "ProtectedEnvironment"
    yield _case(kind, "from nobody said", "protectFrom", GONE)
    yield _case(kind, "from Nobody", "protectFrom", "Nobody")
    yield _case(kind, "mode Off", "mode", "Off")
    for value in (0, 21, -1):
        yield _case(kind, f"{value} signatures", "approvals.required", value)
    yield _case(kind, "twenty signatures", "approvals.required", 20, refused=False)
    yield _case(kind, "signatures as a string", "approvals.required", "2")
    yield _case(kind, "signatures as a truth", "approvals.required", True)
    yield _case(kind, "signatures with a fraction", "approvals.required", 1.5)
    yield _case(kind, "a truth as a string", "approvals.hardwareKeysOnly", "true")
    yield _case(kind, "a truth as a number", "approvals.hardwareKeysOnly", 1)
    yield _case(kind, "a misspelt rule", "approvals.requierd", 2)
    for duration in ("0s", "1.5h", "-1h", "", "1w", "forever", 60):
        yield _case(kind, f"own work for {duration}", "ownWork", duration)
    yield _case(kind, "use within no time", "approvals.useWithin", "0h0m")
    yield _case(kind, "own work left out", "ownWork", GONE, refused=False)
    yield _case(kind, "registration elsewhere", "registration", "Open", field="spec.registration", only_api=True)
    yield _case(kind, "an operator of selectors that is none", "namespaces.selector.matchExpressions.0.operator", "Equals")
    yield _case(
        kind,
        "In without values",
        "namespaces.selector.matchExpressions.0.values",
        [],
        field="spec.namespaces.selector.matchExpressions[0]",
        only_api=True,
    )
    yield _case(
        kind,
        "Exists with values",
        "namespaces.selector.matchExpressions.1.values",
        ["a"],
        field="spec.namespaces.selector.matchExpressions[1]",
        only_api=True,
    )
    yield _case(
        kind, "labels that are no strings", "namespaces.selector.matchLabels", {"a": 1}, field="spec.namespaces.selector.matchLabels.a"
    )
    yield _case(kind, "a selector of another shape", "namespaces.selector.team", "payments")
    yield _case(kind, "everything selected", "namespaces.selector", {}, refused=False)
    yield _case(kind, "excluded twice", "namespaces.exclude", ["a", "a"], field="spec.namespaces.exclude[1]", only_api=True)
    yield _case(kind, "a wildcard resource", "resources.0.resource", "*")
    yield _case(kind, "a subresource", "resources.0.resource", "pods/log")
    yield _case(kind, "a resource without a group", "resources.0.group", GONE)
    yield _case(kind, "an exception that is misspelt", "except.0.usr", "x")


def _requests() -> Iterator[Case]:
    kind = "ChangeRequest"
    for field in CHANGE_REQUEST:
        if field not in {"change", "losses", "environments"}:
            yield _case(kind, f"without {field}", field, GONE)
    for field in ("group", "version", "resource", "name"):
        yield _case(kind, f"a target without {field}", f"target.{field}", GONE)
    for field in ("username", "key"):
        yield _case(kind, f"a requester without {field}", f"requester.{field}", GONE)
        yield _case(kind, f"a requester with an empty {field}", f"requester.{field}", "")
    yield _case(kind, "a connection", "operation", "CONNECT")
    yield _case(kind, "a digest of another kind", "change.old", "md5:0")
    yield _case(kind, "a digest in capitals", "change.old", "sha256:" + "A" * 64)
    yield _case(kind, "no digest", "change.old", "", refused=False)
    yield _case(kind, "fewer than no volumes", "losses.volumes", -1)
    yield _case(kind, "a loss that is not counted", "losses.secrets", 1)
    yield _case(kind, "round 0", "round", 0)
    yield _case(kind, "an expiry that is a date only", "expiresAt", "2026-11-22")
    yield _case(kind, "a username of several lines", "requester.username", "a\nb", refused=False)


def _approvals() -> Iterator[Case]:
    kind = "Approval"
    for field in ("changeRequest", "reviewer", "decision", "signature"):
        yield _case(kind, f"without {field}", field, GONE)
        yield _case(kind, f"with an empty {field}", field, "")
    yield _case(kind, "another verdict", "decision", "Maybe")
    yield _case(kind, "a comment of 1001", "comment", "x" * 1001)
    yield _case(kind, "a comment of 1000 letters of two bytes", "comment", "é" * 1000, refused=False)
    yield _case(kind, "a change request that is no name", "changeRequest", "../x")


CASES = tuple(cases())
