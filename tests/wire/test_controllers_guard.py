"""Agents never act as one of the cluster's own controllers, which no guard holds back: wire/guards/controllers.py."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from tests.support.admission import Ask, refusals
from tests.wire._cluster import ALICE, ALL, DEPLOYER, KIRO, NAMESPACE_CONTROLLER, thing

CONTROLLER, ORDINARY = "namespace-controller", "coredns"


def asked(operation: str, resource: str, *, group: str = "", name: str = "x", new: Any = None, old: Any = None) -> Ask:
    home = {"kubernetes.io/metadata.name": "kube-system"}
    return Ask(KIRO, operation, resource, object=new, old=old, group=group, namespace="kube-system", name=name, home=home)


def secret(account: str, kind: str = "kubernetes.io/service-account-token") -> Mapping[str, Any]:
    return {**thing("token", annotations={"kubernetes.io/service-account.name": account}), "type": kind}


def pod(account: str) -> Mapping[str, Any]:
    return {"serviceAccountName": account, "containers": []}


def as_one(account: str) -> dict[str, Ask]:
    """What each way of acting as an account asks for."""
    return {
        "its token": asked("CREATE", "serviceaccounts/token", name=account, new=thing(account)),
        "a Secret that is filled with one": asked("CREATE", "secrets", new=secret(account)),
        "a Secret that is turned to it": asked("UPDATE", "secrets", new=secret(account), old=secret("other")),
        "a Secret of it that is there": asked("UPDATE", "secrets", new=secret("other"), old=secret(account)),
        "a pod under it": asked("CREATE", "pods", new=thing(spec=pod(account))),
        "a Deployment under it": asked("CREATE", "deployments", group="apps", new=thing(spec={"template": {"spec": pod(account)}})),
        "a CronJob turned to it": asked(
            "UPDATE",
            "cronjobs",
            group="batch",
            new=thing(spec={"jobTemplate": {"spec": {"template": {"spec": pod(account)}}}}),
            old=thing(spec={"jobTemplate": {"spec": {"template": {"spec": pod("other")}}}}),
        ),
    }


@pytest.mark.parametrize("way", as_one(CONTROLLER))
def test_no_agent_acts_as_one(way: str) -> None:
    [said] = refusals(ALL, as_one(CONTROLLER)[way])
    assert "never act as one of the cluster's own controllers" in said
    assert refusals(ALL, as_one(ORDINARY)[way]) == [], "another account of that namespace"
    elsewhere = replace(as_one(CONTROLLER)[way], namespace="shop", home={"kubernetes.io/metadata.name": "shop"})
    assert refusals(ALL, elsewhere) == [], "an account of that name elsewhere"
    for user in (ALICE, DEPLOYER, NAMESPACE_CONTROLLER):
        assert refusals(ALL, replace(as_one(CONTROLLER)[way], user=user)) == []


def test_a_secret_of_another_kind_is_filled_with_nothing() -> None:
    assert refusals(ALL, asked("CREATE", "secrets", new=secret(CONTROLLER, "Opaque"))) == []


@pytest.mark.parametrize("way", ["pods/exec", "pods/attach", "pods/portforward"])
def test_no_agent_enters_the_control_plane(way: str) -> None:
    for name in ("etcd-node-1", "kube-apiserver-node-1", "kube-controller-manager-node-1", "kube-scheduler-node-1"):
        [said] = refusals(ALL, asked("CONNECT", way, name=name, new={}))
        assert "pods of the control plane" in said
        assert refusals(ALL, replace(asked("CONNECT", way, name=name, new={}), user=ALICE)) == []
    assert refusals(ALL, asked("CONNECT", way, name="coredns-abc", new={})) == []
