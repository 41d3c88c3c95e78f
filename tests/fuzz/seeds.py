"""`python -m tests.fuzz.seeds`: writes the inputs of `corpus/` that are made by hand, so that nobody edits signatures in a hex editor."""

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from tests.fuzz.readers import keys
from tests.fuzz.readers.review import REQUEST, SIGNED, STORY
from tests.support.authenticator import Sshsig, dearmor, ssh_mpint, ssh_string, take_apart
from tests.support.objects import KIRO
from tests.support.world import GROUP, Json

CORPUS: Final = Path(__file__).parent / "corpus"
WIRE_CASES: Final = Path(__file__).parents[1] / "wire" / "cases"
_KIRO: Final = {"username": KIRO, "groups": ["system:serviceaccounts", "system:authenticated"]}
_BOB: Final = {"username": "bob@example.com", "groups": ["system:authenticated"]}
_CONTROLLER: Final = {"username": "system:serviceaccount:kube-system:namespace-controller"}


def _review(user: Json, operation: str, kind: tuple[str, str], old: Json | None = None, new: Json | None = None, **more: Any) -> bytes:
    request: Json = {
        "uid": "u",
        "resource": {"group": kind[0], "version": "v1", "resource": kind[1]},
        "operation": operation,
        "userInfo": user,
        **({"name": (old or new or {})["metadata"]["name"]} if old or new else {}),
        **more,
        **({"oldObject": old} if old else {}),
        **({"object": new} if new else {}),
    }
    return json.dumps({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}, separators=(",", ":")).encode()


def _stored(plural: str, name: str, namespace: str = "") -> Json:
    found = STORY.world.get(plural, name, namespace=namespace)
    assert found is not None
    return found


def _approval(**spec: Any) -> Json:
    full = {"changeRequest": REQUEST, "reviewer": "bob", "decision": "Approve", "signature": SIGNED["Approve"], **spec}
    return {"apiVersion": f"{GROUP}/v1alpha1", "kind": "Approval", "metadata": {"name": "a"}, "spec": full}


def reviews() -> Iterator[tuple[str, bytes]]:
    for case in sorted(WIRE_CASES.iterdir()):
        yield case.name, (case / "request.json").read_bytes()
    payments, orders = _stored("namespaces", "payments"), _stored("namespaces", "orders")
    spaces = ("", "namespaces")
    yield "an-agent-deletes-a-namespace", _review(_KIRO, "DELETE", spaces, payments, namespace="payments")
    yield "a-controller-deletes-a-namespace", _review(_CONTROLLER, "DELETE", spaces, payments, namespace="payments")
    claim = _stored("persistentvolumeclaims", "data-0", "orders")
    yield "an-agent-deletes-a-claim", _review(_KIRO, "DELETE", ("", "persistentvolumeclaims"), claim, namespace="orders")
    volume: Json = {"metadata": {"name": "v", "uid": "v"}, "spec": {"claimRef": {"namespace": "orders"}}}
    yield "an-agent-deletes-a-volume", _review(_KIRO, "DELETE", ("", "persistentvolumes"), volume)
    definition: Json = {"metadata": {"name": "things.example.com", "uid": "d"}, "spec": {}}
    yield "an-agent-deletes-a-definition", _review(_KIRO, "DELETE", ("apiextensions.k8s.io", "customresourcedefinitions"), definition)
    thing: Json = {"metadata": {"name": "t", "uid": "t"}, "spec": {"size": 1.50}}
    yield "an-agent-deletes-a-listed-thing", _review(_KIRO, "DELETE", ("example.com", "things"), thing, namespace="orders")
    out = {**orders, "metadata": {**orders["metadata"], "labels": {"team": "none"}}}
    yield "a-namespace-leaves-its-environment", _review(_KIRO, "UPDATE", spaces, orders, out, namespace="orders")
    yield "a-namespace-is-labelled-in", _review(_KIRO, "UPDATE", spaces, out, orders, namespace="orders")
    yield "a-namespace-with-the-same-labels", _review(_KIRO, "UPDATE", spaces, orders, orders, namespace="orders")
    sound = _review(_KIRO, "DELETE", spaces, payments, namespace="payments")
    yield "refused-bytes-that-are-no-text", sound.replace(b"2026-11-22", b"2026-\xfc1-22")
    yield "a-lone-surrogate", sound.replace(b"2026-11-22", b"\\ud800")
    for plural, name in (("agentidentities", "kiro"), ("reviewers", "bob"), ("protectedenvironments", "orders")):
        kept, weaker = _stored(plural, name), _stored(plural, name)
        weaker["spec"] |= {
            "agentidentities": {"sponsors": ["bob"]},
            "reviewers": {"usernames": ["x"]},
            "protectedenvironments": {"mode": "Audit"},
        }[plural]
        for word, user in (("an-agent", _KIRO), ("bob", _BOB)):
            yield f"{word}-changes-{plural}", _review(user, "UPDATE", (GROUP, plural), kept, weaker)
            yield f"{word}-deletes-{plural}", _review(user, "DELETE", (GROUP, plural), kept)
        yield f"bob-creates-{plural}", _review(_BOB, "CREATE", (GROUP, plural), None, {**kept, "metadata": {"name": "new"}})
    approvals = (GROUP, "approvals")
    yield "an-approval-that-counts", _review(_BOB, "CREATE", approvals, None, _approval())
    yield "a-rejection-that-counts", _review(_BOB, "CREATE", approvals, None, _approval(decision="Reject", signature=SIGNED["Reject"]))
    yield "an-approval-with-the-signature-of-a-rejection", _review(_BOB, "CREATE", approvals, None, _approval(signature=SIGNED["Reject"]))
    yield "an-approval-for-another-request", _review(_BOB, "CREATE", approvals, None, _approval(changeRequest="other"))
    yield "an-approval-brought-by-the-agent", _review(_KIRO, "CREATE", approvals, None, _approval())


def accesses() -> Iterator[tuple[str, bytes]]:
    def access(user: str, groups: list[str] | None = None, path: Json | None = None, **resource: Any) -> bytes:
        asked: Json = {"nonResourceAttributes": path} if path else {"resourceAttributes": resource}
        spec = {"user": user, **({"groups": groups} if groups else {}), **asked}
        return json.dumps({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}).encode()

    for word, verb in (("impersonates", "impersonate"), ("impersonates-by-the-new-verb", "impersonate-on:user-info:delete")):
        yield f"an-agent-{word}", access(KIRO, verb=verb, resource="users", name="alice")
    yield "a-human-impersonates", access("alice", verb="impersonate", resource="users", name="x")
    group = "admissionregistration.k8s.io"
    yield "an-agent-writes-a-policy", access(KIRO, verb="create", group=group, resource="validatingadmissionpolicies")
    yield "an-agent-reads-a-policy", access(KIRO, verb="get", group=group, resource="validatingadmissionpolicies")
    yield "an-agent-by-glob-binds", access("bot-7", verb="bind", group="rbac.authorization.k8s.io", resource="clusterroles")
    yield "an-agent-by-group-approves", access("x", ["bots"], verb="approve", group="certificates.k8s.io", resource="signers")
    yield "an-agent-proxies-to-a-node", access(KIRO, verb="get", resource="nodes", subresource="proxy", name="n")
    yield "an-agent-lists-all-secrets", access(KIRO, verb="list", resource="secrets")
    helm = {"requirements": [{"key": "owner", "operator": "In", "values": ["helm"]}]}
    yield "an-agent-lists-helm-releases", access(KIRO, verb="list", resource="secrets", namespace="kube-system", labelSelector=helm)
    yield "an-agent-makes-a-token", access(KIRO, verb="create", resource="serviceaccounts", subresource="token", namespace="kube-system")
    yield "an-agent-ignores-read-errors", access(KIRO, verb="unsafe-delete-ignore-read-errors", resource="secrets")
    yield "an-agent-asks-for-a-path", access(KIRO, path={"verb": "get", "path": "/metrics"})
    yield "no-user", access("", verb="get", resource="pods")
    both = json.loads(access(KIRO, verb="get"))
    both["spec"]["nonResourceAttributes"] = {"verb": "get", "path": "/"}
    yield "two-questions-at-once", json.dumps(both).encode()
    yield "refused-bytes-that-are-no-text", access("x", ["bots"], verb="bind").replace(b"groups", b"gro\x9cps")
    yield "another-kind", b'{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","spec":{"user":"x"}}'
    yield "nested-too-deeply", b'{"apiVersion":"authorization.k8s.io/v1","spec":' + b"[" * 2000


def signatures() -> Iterator[tuple[str, bytes]]:
    for name in keys.KNOWN.values():
        text = keys.armored(name)
        yield f"good-{name}", text.encode()
        yield f"inside-{name}", dearmor(text)
    sound = take_apart(keys.armored("ed25519"))
    flaws: Mapping[str, Mapping[str, Any]] = {
        "another-purpose": {"namespace": f"reject@{GROUP}"},
        "no-purpose": {"namespace": b""},
        "reserved-data": {"reserved": b"x"},
        "an-unknown-hash": {"hash_algorithm": "md5"},
        "another-version": {"version": 2},
        "another-magic": {"magic": b"SSHSIH"},
        "something-after-the-end": {"tail": b"\0"},
        "a-signature-too-short": {"inner": ssh_string("ssh-ed25519") + ssh_string(b"\1" * 63)},
        "another-algorithm": {"inner": ssh_string("ssh-rsa") + ssh_string(b"\1" * 64)},
        "a-key-of-low-order": {"key": ssh_string("ssh-ed25519") + ssh_string(b"\1" + b"\0" * 31)},
        "a-key-off-the-curve": {"key": ssh_string("ssh-ed25519") + ssh_string(b"\2" + b"\0" * 31)},
        "a-certificate": {"key": ssh_string("ssh-ed25519-cert-v01@openssh.com")},
    }
    for word, changed in flaws.items():
        parts = {name: getattr(sound, name) for name in ("key", "inner", "namespace", "hash_algorithm", "reserved")}
        yield word, Sshsig(**{**parts, **changed}).blob()
    rsa = ssh_string("ssh-rsa") + ssh_mpint(65537) + ssh_mpint((1 << 3071) | 1)
    yield "rsa-that-signs-nothing", Sshsig(rsa, ssh_string("rsa-sha2-512") + ssh_string(b"\1" * 384), keys.PURPOSE).blob()
    yield "rsa-with-sha1", Sshsig(rsa, ssh_string("ssh-rsa") + ssh_string(b"\1" * 384), keys.PURPOSE).blob()
    yield "untouched", dearmor(keys.HARDWARE["ed25519"].sign(keys.MESSAGE, keys.PURPOSE, flags=0))
    yield "with-a-backup-flag", dearmor(keys.HARDWARE["ed25519"].sign(keys.MESSAGE, keys.PURPOSE, flags=0x19))
    yield "windows-line-ends", keys.armored("ed25519").replace("\n", "\r\n").encode()
    yield "loose-base64", keys.armored("nistp256").replace("AAAA", "AAA A", 1).encode()
    yield "an-empty-line", keys.armored("ed25519").replace("\n", "\n\n", 1).encode()


def public_keys() -> Iterator[tuple[str, bytes]]:
    for name in keys.KNOWN.values():
        yield f"good-{name}", keys.line(name).encode()
        yield f"inside-{name}", b"\0" + next(blob for blob, known in keys.KNOWN.items() if known == name)
    rsa = ssh_string("ssh-rsa") + ssh_mpint(65537) + ssh_mpint((1 << 3071) | 1)
    yield "inside-rsa", b"\0" + rsa
    yield "inside-rsa-of-2048", b"\0" + ssh_string("ssh-rsa") + ssh_mpint(65537) + ssh_mpint((1 << 2047) | 1)
    yield "inside-rsa-with-a-huge-exponent", b"\0" + ssh_string("ssh-rsa") + ssh_mpint((1 << 65) | 1) + ssh_mpint((1 << 3071) | 1)
    yield "a-dsa-key", b"ssh-dss AAAA"
    yield "a-private-key", b"-----BEGIN OPENSSH PRIVATE KEY-----"
    yield "with-options", b'no-pty,command="x" ' + keys.line("ed25519").encode()
    yield "with-a-comment", keys.line("ed25519").encode() + b" somebody@somewhere"
    yield "two-lines", keys.line("ed25519").encode() + b"\n" + keys.line("nistp256").encode()
    yield "a-unicode-space", keys.line("ed25519").replace(" ", "\u2003").encode()


MADE: Final = {"review": reviews, "access": accesses, "signature": signatures, "key": public_keys}


def main() -> int:
    for target, make in MADE.items():
        folder = CORPUS / target
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in make():
            (folder / name).write_bytes(data)
        print(f"{target}: {len(list(folder.iterdir()))} inputs")
    return 0


if __name__ == "__main__":
    sys.exit(main())
