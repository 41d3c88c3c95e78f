"""Knows when the API server goes by what was just written to admissionregistration.k8s.io.

It takes policies and bindings up in ticks of about a second (apiserver's policy source) and webhooks a moment after their event. Each is read
through one watch in order: so once a sentinel that was written *afterwards* is in force, everything written before it is.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any, Final

from tests.controlplane import waiting
from tests.controlplane.api import Api, path

_PATIENCE: Final = 30.0
_PROBED: Final = path("configmaps", namespace="default")


def settle(admin: Api, name: str, *, mutating: bool = False) -> None:
    """Waits until everything that was written before is in force. `name` must be new. Raises StartFailed."""
    with ExitStack() as stack:
        probes = [_refusing_policy(admin, f"{name}-policy", stack), _refusing_webhook(admin, f"{name}-webhook", stack)]
        if mutating:
            probes.append(_mutation(admin, f"{name}-mutation", stack))
        for probe in probes:
            waiting.until(probe, "the API server was to take up its admission configuration", timeout=_PATIENCE, pause=0.05)


def _create(admin: Api, stack: ExitStack, plural: str, body: dict[str, Any]) -> None:
    admin.create(path(plural), {"apiVersion": "admissionregistration.k8s.io/v1", **body})
    stack.callback(admin.request, "DELETE", path(plural, body["metadata"]["name"]))


def _rule() -> dict[str, Any]:
    return {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}


def _only(name: str) -> list[dict[str, str]]:
    return [{"name": "the-sentinel", "expression": f'object.metadata.?name.orValue("") == "{name}"'}]


def _ask(admin: Api, name: str) -> Any:
    body = {"metadata": {"name": name}}
    return admin.request("POST", _PROBED, body, {"dryRun": "All"})


def _refusing_policy(admin: Api, name: str, stack: ExitStack) -> Any:
    spec = {
        "matchConstraints": {"resourceRules": [_rule()]},
        "matchConditions": _only(name),
        "validations": [{"expression": "false", "message": "the sentinel"}],
    }
    _create(admin, stack, "validatingadmissionpolicies", {"kind": "ValidatingAdmissionPolicy", "metadata": {"name": name}, "spec": spec})
    bound = {"policyName": name, "validationActions": ["Deny"]}
    kind = "ValidatingAdmissionPolicyBinding"
    _create(admin, stack, "validatingadmissionpolicybindings", {"kind": kind, "metadata": {"name": name}, "spec": bound})
    return lambda: not _ask(admin, name).ok


def _refusing_webhook(admin: Api, name: str, stack: ExitStack) -> Any:
    """Nobody listens on port 1: under `Fail` that refuses, at once."""
    webhook = {
        "name": f"{name}.example.com",
        "clientConfig": {"url": "https://127.0.0.1:1/"},
        "rules": [_rule()],
        "matchConditions": _only(name),
        "failurePolicy": "Fail",
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        "timeoutSeconds": 1,
    }
    kind = "ValidatingWebhookConfiguration"
    _create(admin, stack, "validatingwebhookconfigurations", {"kind": kind, "metadata": {"name": name}, "webhooks": [webhook]})
    return lambda: not _ask(admin, name).ok


def _mutation(admin: Api, name: str, stack: ExitStack) -> Any:
    expression = 'Object{metadata: Object.metadata{labels: {"sentinel": "yes"}}}'
    spec = {
        "matchConstraints": {"resourceRules": [_rule()]},
        "matchConditions": _only(name),
        "reinvocationPolicy": "Never",
        "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}}],
    }
    _create(admin, stack, "mutatingadmissionpolicies", {"kind": "MutatingAdmissionPolicy", "metadata": {"name": name}, "spec": spec})
    kind = "MutatingAdmissionPolicyBinding"
    _create(admin, stack, "mutatingadmissionpolicybindings", {"kind": kind, "metadata": {"name": name}, "spec": {"policyName": name}})
    return lambda: "sentinel" in _ask(admin, name).body.get("metadata", {}).get("labels", {})
