"""The same deletion with every option that the API server takes: orphans, foreground, grace, preconditions, other groups' DeleteOptions, YAML, options in the query.

Source: k8s.io/apiserver pkg/endpoints/handlers/delete.go (a body shuts the query out; DeleteOptions of every group are taken).
"""

import json
from typing import Any

import pytest

from tests.controlplane.api import path
from tests.jailbreak._attack import WEBHOOK, Attack, away
from tests.jailbreak._stage import Stage

ATTACK = Attack(number=73, title="DeleteOptions of every kind, in body and query", guards=away(WEBHOOK))
V1: dict[str, Any] = {"apiVersion": "v1", "kind": "DeleteOptions"}
BODIES: dict[str, dict[str, Any]] = {
    "orphan": V1 | {"propagationPolicy": "Orphan"},
    "foreground": V1 | {"propagationPolicy": "Foreground"},
    "orphanDependents": V1 | {"orphanDependents": True},
    "no grace": V1 | {"gracePeriodSeconds": 0},
    "of policy/v1": {"apiVersion": "policy/v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0},
    "of meta.k8s.io": {"apiVersion": "meta.k8s.io/v1", "kind": "DeleteOptions"},
    "of our group": {"apiVersion": "kube-countersign.dev/v1alpha1", "kind": "DeleteOptions"},
    "of apps/v1": {"apiVersion": "apps/v1", "kind": "DeleteOptions"},
    "no dry run": V1 | {"dryRun": []},
    "nothing": {},
}
QUERIES = ("pretty=true", "gracePeriodSeconds=0", "propagationPolicy=Orphan", "orphanDependents=true", "timeout=1s", "fieldManager=kubectl")


@pytest.mark.parametrize("what", BODIES)
def test_in_the_body(stage: Stage, what: str) -> None:
    url = path("namespaces", stage.namespace())
    # Where there is a body the query is not looked at: this is no dry run.
    stage.judge(stage.raw("DELETE", f"{url}?dryRun=All", json.dumps(BODIES[what]).encode()), harm=stage.is_gone(url))


@pytest.mark.parametrize("query", QUERIES)
def test_in_the_query(stage: Stage, query: str) -> None:
    url = path("namespaces", stage.namespace())
    stage.judge(stage.raw("DELETE", f"{url}?{query}"), harm=stage.is_gone(url))


def test_as_yaml(stage: Stage) -> None:
    url = path("namespaces", stage.namespace())
    body = b"apiVersion: v1\nkind: DeleteOptions\npropagationPolicy: Background\n"
    stage.judge(stage.raw("DELETE", url, body, {"Content-Type": "application/yaml"}), harm=stage.is_gone(url))


def test_as_protobuf(stage: Stage) -> None:
    """The envelope of the API server: a magic number, then runtime.Unknown with the type and no content."""
    url = path("namespaces", stage.namespace())
    kind = b"\x0a\x02v1\x12\rDeleteOptions"
    body = b"k8s\x00" + b"\x0a" + bytes([len(kind)]) + kind + b"\x12\x00"
    stage.judge(stage.raw("DELETE", url, body, {"Content-Type": "application/vnd.kubernetes.protobuf"}), harm=stage.is_gone(url))


@pytest.mark.parametrize("right", [True, False])
def test_with_preconditions(stage: Stage, right: bool) -> None:
    """Of the object as it is; and of another, which ends without a deletion whatever admission says."""
    url = path("namespaces", stage.namespace())
    uid = stage.admin.get(url)["metadata"]["uid"] if right else "00000000-0000-4000-8000-000000000000"
    reply = stage.strike("DELETE", url, V1 | {"preconditions": {"uid": uid}})
    if right:
        stage.judge(reply, harm=stage.is_gone(url))
    else:
        assert not reply.ok
        stage.done(lambda: stage.control or stage.is_gone(url)(), "a wrong precondition deletes nothing", evidence=f"{reply.answer.status}")
