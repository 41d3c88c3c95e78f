"""A look at a team's cluster before anything is made there: what is installed, what it holds back, and whether all could be taken away again."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from tests.controlplane.api import OURS, Api, path
from tests.controlplane.errors import HarnessError
from tests.jailbreak._attack import Profile
from tests.jailbreak._ground import CHARTS

LABELS, ROLE, SIGN = "JAILBREAK_LABELS", "JAILBREAK_ROLE", "JAILBREAK_SIGN"
_NEEDED: Final = (
    ("create", "", "namespaces"),
    ("delete", "", "namespaces"),
    ("create", "", "serviceaccounts"),
    ("create", "", "serviceaccounts/token"),
    ("create", "", "persistentvolumes"),
    ("delete", "", "persistentvolumes"),
    ("create", "", "persistentvolumeclaims"),
    ("create", "apiextensions.k8s.io", "customresourcedefinitions"),
    ("delete", "apiextensions.k8s.io", "customresourcedefinitions"),
    ("create", "rbac.authorization.k8s.io", "clusterrolebindings"),
    ("delete", "rbac.authorization.k8s.io", "clusterrolebindings"),
    ("create", OURS, "agentidentities"),
    ("delete", OURS, "agentidentities"),
    ("list", OURS, "changerequests"),
    ("get", "admissionregistration.k8s.io", "validatingwebhookconfigurations"),
    ("list", "admissionregistration.k8s.io", "validatingadmissionpolicies"),
)


@dataclass(frozen=True, slots=True)
class Survey:
    """`role`: one to be used as it is, "" for one of the run's own. `missing`: profiles that are not installed, and why."""

    username: str
    namespace: str
    labels: Mapping[str, str]
    role: str
    signed: bool
    missing: Mapping[Profile, str] = field(default_factory=dict)


def survey(admin: Api, context: str) -> Survey:
    """
    Raises:
        HarnessError: Countersign is not there, the user may not set the attacks up, or could not take them away again
    """
    username = _username(admin)
    _demand_api(admin, context)
    _demand_rights(admin, username)
    _demand_configuration(admin, context)
    environments = [(each["metadata"]["name"], each["spec"]) for each in admin.list(path("protectedenvironments"))]
    _demand_enforcement(environments)
    signed = _demand_clean_up(environments, username)
    widened = any(spec.get("whenAgentsCanImpersonate") == "Widen" for _, spec in environments)
    role = os.environ.get(ROLE, "") or (CHARTS if widened else "")
    return Survey(username, _namespace(admin), _labels(), role, signed, _missing(admin))


def _username(admin: Api) -> str:
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    answer = admin.request("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", body)
    if not answer.ok:
        raise HarnessError(f"the cluster does not say who we are: {answer.status} {answer.body.get('message')}")
    return str(answer.body["status"]["userInfo"]["username"])


def _demand_api(admin: Api, context: str) -> None:
    if not admin.request("GET", f"/apis/{OURS}/v1alpha1").ok:
        raise HarnessError(
            f"Countersign is not installed in {context}: it serves no API {OURS}/v1alpha1. Install the chart first (README)."
        )


def _demand_configuration(admin: Api, context: str) -> None:
    configured = admin.request("GET", path("validatingwebhookconfigurations", "countersign"))
    if not configured.ok:
        said = configured.body.get("message")
        raise HarnessError(
            f"Countersign does not stand in {context}: no ValidatingWebhookConfiguration countersign ({said}). See its operator's log."
        )


def _demand_rights(admin: Api, username: str) -> None:
    lacking = [
        f"{verb} {resource}{'.' if group else ''}{group}" for verb, group, resource in _NEEDED if not _may(admin, verb, group, resource)
    ]
    if lacking:
        listed = "\n    ".join(lacking)
        raise HarnessError(f"{username} may not set the attacks up. Name a cluster administrator's kubeconfig. It lacks:\n    {listed}")


def _may(admin: Api, verb: str, group: str, resource: str) -> bool:
    plural, _, subresource = resource.partition("/")
    attributes = {"verb": verb, "group": group, "resource": plural, "subresource": subresource}
    body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": {"resourceAttributes": attributes}}
    answer = admin.request("POST", path("selfsubjectaccessreviews"), body)
    return bool(answer.ok and answer.body["status"]["allowed"])


def _demand_enforcement(environments: list[tuple[str, dict[str, Any]]]) -> None:
    if not any(spec.get("mode") == "Enforce" for _, spec in environments):
        raise HarnessError("no ProtectedEnvironment has mode: Enforce, so nothing is held back: every attack would succeed, as Audit says.")


def _demand_clean_up(environments: list[tuple[str, dict[str, Any]]], username: str) -> bool:
    """Whether people have to sign before what the run makes can go."""
    levels = {"Everyone"} if username.startswith("system:") else {"People", "Everyone"}
    holding = [name for name, spec in environments if spec.get("protectFrom") in levels]
    if not holding:
        return False
    if os.environ.get(SIGN) == "yes":
        return True
    raise HarnessError(
        f"{', '.join(holding)} protect(s) from {username} too: the AgentIdentities and namespaces that this run makes could be removed only with "
        f"signatures. If people are at hand to sign for that, run it with {SIGN}=yes: it waits for them at the end, and names what they sign."
    )


def _labels() -> Mapping[str, str]:
    given = os.environ.get(LABELS, "")
    pairs = [pair.partition("=") for pair in given.split(",") if pair]
    return {key: value for key, _, value in pairs}


def _namespace(admin: Api) -> str:
    answer = admin.request("GET", path("clusterrolebindings", "countersign-operator"))
    return str(answer.body["subjects"][0]["namespace"]) if answer.ok else "countersign"


def _missing(admin: Api) -> Mapping[Profile, str]:
    missing = {}
    policies = [each["metadata"]["name"] for each in admin.list(path("validatingadmissionpolicies"))]
    if not any(name.startswith("countersign-hardened-") for name in policies):
        missing[Profile.HARDENED] = "this installation has the standard profile (helm upgrade --set profile=hardened)"
    if not admin.request("GET", path("configmaps", "countersign-authorizer", namespace=_namespace(admin))).ok:
        missing[Profile.AUTHORIZER] = "this installation has no authorizer (docs/authorizer.md)"
    return missing
