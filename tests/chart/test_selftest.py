"""`helm test`: what its hook makes, what that may do, and that all of it goes again."""

from __future__ import annotations

from typing import Any

import pytest

from countersign.domain.selftest import AGENT_ACCOUNT, NAME
from tests.chart.rendering import NAMED, NAMESPACE, OUT_OF_CLUSTER, Chart
from tests.chart.test_rbac import grants

PARTS = {
    ("ServiceAccount", NAME),
    ("ClusterRole", NAME),
    ("ClusterRoleBinding", NAME),
    ("Role", NAME),
    ("RoleBinding", NAME),
}


def named(objects: list[dict[str, Any]]) -> dict[tuple[str, str], dict[str, Any]]:
    return {(obj["kind"], obj["metadata"]["name"]): obj for obj in objects}


@pytest.fixture(scope="module")
def hooks(chart: Chart) -> dict[tuple[str, str], dict[str, Any]]:
    return named(chart.hooks())


def test_out_of_the_cluster_there_is_all_but_the_pod(chart: Chart, hooks: dict[tuple[str, str], dict[str, Any]]) -> None:
    assert set(hooks) == PARTS | {("Pod", NAME)}
    assert set(named(chart.hooks(OUT_OF_CLUSTER))) == PARTS


def test_all_of_it_goes_also_where_the_test_failed(hooks: dict[tuple[str, str], dict[str, Any]]) -> None:
    for (kind, _), obj in hooks.items():
        annotations = obj["metadata"]["annotations"]
        policy = set(annotations["helm.sh/hook-delete-policy"].split(","))
        assert policy == {"before-hook-creation", "hook-succeeded", "hook-failed"}
        assert kind != "Pod" or annotations["helm.sh/hook-output-log-policy"] == "hook-succeeded,hook-failed", "its log is printed before"
        assert int(annotations["helm.sh/hook-weight"]) < 0 or kind == "Pod", "there before the pod"


def test_what_it_may_do_is_narrowed_to_its_own_names(hooks: dict[tuple[str, str], dict[str, Any]]) -> None:
    of_kind = {kind: set(grants(hooks[kind, NAME])) for kind in ("ClusterRole", "Role")}
    unnamed = {grant[:3] for grant in of_kind["ClusterRole"] if not grant[3]}
    assert unnamed == {("", "namespaces", "create"), ("kube-countersign.dev", "agentidentities", "create")}, "create is never narrowed"
    assert {grant[2] for grant in of_kind["ClusterRole"]} == {"create", "get", "delete"}
    assert {grant[3] for grant in of_kind["ClusterRole"] if grant[2] == "delete"} == {NAME}
    assert of_kind["Role"] == {
        ("", "serviceaccounts", "create", ""),
        ("", "serviceaccounts", "get", AGENT_ACCOUNT),
        ("", "serviceaccounts", "delete", AGENT_ACCOUNT),
        ("", "serviceaccounts/token", "create", AGENT_ACCOUNT),
    }


def test_the_pod_is_like_the_others(chart: Chart, hooks: dict[tuple[str, str], dict[str, Any]]) -> None:
    pod = hooks["Pod", NAME]
    spec = pod["spec"]
    deployed = chart.find("Deployment", "countersign-operator")["spec"]["template"]["spec"]
    (own,), (theirs,) = spec["containers"], deployed["containers"]
    assert (spec["securityContext"], own["securityContext"]) == (deployed["securityContext"], theirs["securityContext"])
    assert (own["image"], own["imagePullPolicy"], own["args"]) == (theirs["image"], theirs["imagePullPolicy"], ["selftest"])
    assert spec["restartPolicy"] == "Never"
    assert spec["activeDeadlineSeconds"] > 60
    for service in ("countersign-webhook", "countersign-operator"):
        selector = chart.find("Deployment", service)["spec"]["selector"]["matchLabels"]
        assert not selector.items() <= pod["metadata"]["labels"].items(), "no Service and no budget takes it for one of theirs"


def test_all_hooks_bear_one_name(hooks: dict[tuple[str, str], dict[str, Any]]) -> None:
    """`helm test --logs` asks for the pod of each hook's name, whatever kind that is, and fails where there is none."""
    assert {name for _, name in hooks} == {NAME}


def test_every_part_is_in_the_release_namespace(hooks: dict[tuple[str, str], dict[str, Any]]) -> None:
    assert {obj["metadata"].get("namespace", NAMESPACE) for obj in hooks.values()} == {NAMESPACE}


def test_placement_and_pull_secrets_reach_it(chart: Chart) -> None:
    values = {
        **NAMED,
        "imagePullSecrets": [{"name": "s"}],
        "operator": {"nodeSelector": {"a": "b"}, "tolerations": [{"operator": "Exists"}]},
    }
    spec = named(chart.hooks(values))["Pod", NAME]["spec"]
    assert (spec["imagePullSecrets"], spec["nodeSelector"], spec["tolerations"]) == ([{"name": "s"}], {"a": "b"}, [{"operator": "Exists"}])
