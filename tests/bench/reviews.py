"""The reviews that are posted: what an API server sends, at two sizes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from tests.bench.world import AGENT, APPLICATION_UID, NAMESPACE, NAMESPACE_UID, TEAM

SMALL, LARGE = 2_000, 36_000


@dataclass(frozen=True, slots=True)
class Review:
    """`expect` must stand in the answer of Countersign, so that another decision than this one is no result."""

    name: str
    title: str
    body: bytes
    expect: str


def reviews() -> tuple[Review, ...]:
    return (
        Review("2k", "2 KB: a namespace is deleted, refused", _fitted(_deletion(_namespace()), SMALL), "WAITING FOR HUMAN SIGNATURES"),
        Review("36k", "36 KB: an Application is deleted, refused", _fitted(_application(), LARGE), "WAITING FOR HUMAN SIGNATURES"),
        Review("36k-allowed", "36 KB: a namespace is updated, let through", _fitted(_update(), LARGE), '"allowed":true'),
    )


def _fitted(tree: dict[str, Any], size: int) -> bytes:
    """Grown to a size in the way that real objects are: with managedFields, which no rule reads, and with a spec, of which there is less."""
    request = tree["request"]
    objects = [request[field] for field in ("object", "oldObject") if request[field]]
    number = 0
    while len(body := json.dumps(tree, separators=(",", ":")).encode()) < size:
        for each in objects:
            each["metadata"].setdefault("managedFields", []).append(_managed(number))
            if "source" in each["spec"] and number % 3 == 0:
                each["spec"]["source"]["helm"]["parameters"].append({"name": f"settings.value{number}", "value": f"{number}" * 8})
        number += 1
    return body


def _managed(number: int) -> dict[str, Any]:
    fields: dict[str, Any] = {f"f:field{each}": {"f:value": {}, ".": {}} for each in range(4)}
    return {
        "manager": f"controller-{number}",
        "operation": "Update",
        "apiVersion": "v1",
        "time": "2026-11-22T00:00:00Z",
        "fieldsType": "FieldsV1",
        "fieldsV1": {"f:metadata": {"f:labels": fields}},
    }


def _review(operation: str, group: str, version: str, resource: str, kind: str, **fields: Any) -> dict[str, Any]:
    named = {"group": group, "version": version}
    return {
        "kind": "AdmissionReview",
        "apiVersion": "admission.k8s.io/v1",
        "request": {
            "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
            "kind": {**named, "kind": kind},
            "resource": {**named, "resource": resource},
            "requestKind": {**named, "kind": kind},
            "requestResource": {**named, "resource": resource},
            "operation": operation,
            "userInfo": {
                "username": f"system:serviceaccount:agents:{AGENT}",
                "uid": "5f1d0000-0000-4000-8000-000000000500",
                "groups": ["system:serviceaccounts", "system:serviceaccounts:agents", "system:authenticated"],
                "extra": {
                    "authentication.kubernetes.io/credential-id": ["JTI=705ab4f5-6393-11e8-b7cc-42010a800002"],
                    "authentication.kubernetes.io/pod-name": [f"{AGENT}-0"],
                    "authentication.kubernetes.io/pod-uid": ["77aa0000-0000-4000-8000-000000000500"],
                },
            },
            "object": None,
            "oldObject": None,
            "dryRun": False,
            "options": {"kind": "DeleteOptions", "apiVersion": "meta.k8s.io/v1", "propagationPolicy": "Background"},
            **fields,
        },
    }


def _namespace() -> dict[str, Any]:
    return {
        "kind": "Namespace",
        "apiVersion": "v1",
        "metadata": {
            "name": NAMESPACE,
            "uid": NAMESPACE_UID,
            "resourceVersion": "4711",
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": {"kubernetes.io/metadata.name": NAMESPACE, **TEAM},
        },
        "spec": {"finalizers": ["kubernetes"]},
        "status": {"phase": "Active"},
    }


def _deletion(namespace: dict[str, Any]) -> dict[str, Any]:
    return _review("DELETE", "", "v1", "namespaces", "Namespace", name=NAMESPACE, namespace=NAMESPACE, oldObject=namespace)


def _update() -> dict[str, Any]:
    return _review(
        "UPDATE", "", "v1", "namespaces", "Namespace", name=NAMESPACE, namespace=NAMESPACE, object=_namespace(), oldObject=_namespace()
    )


def _application() -> dict[str, Any]:
    application = {
        "kind": "Application",
        "apiVersion": "argoproj.io/v1alpha1",
        "metadata": {
            "name": "payments",
            "namespace": NAMESPACE,
            "uid": APPLICATION_UID,
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "finalizers": ["resources-finalizer.argocd.argoproj.io"],
        },
        "spec": {"project": "payments", "source": {"repoURL": "https://git.example.com/payments", "helm": {"parameters": []}}},
        "status": {"sync": {"status": "Synced"}, "health": {"status": "Healthy"}},
    }
    return _review(
        "DELETE", "argoproj.io", "v1alpha1", "applications", "Application", name="payments", namespace=NAMESPACE, oldObject=application
    )
