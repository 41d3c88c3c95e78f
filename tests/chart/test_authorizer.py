"""The authorizer is off unless chosen; chosen, it costs the operator one ConfigMap and a look at our own Service."""

from typing import Any

import pytest

from tests.chart.rendering import NAMED, OUT_OF_CLUSTER, Chart, Refused
from tests.chart.test_processes import container
from tests.chart.test_rbac import granted, grants

CHOSEN: dict[str, Any] = {"authorizer": {"enabled": True}}


def operators(chart: Chart, values: dict[str, Any]) -> set[Any]:
    return set(grants(chart.find("Role", "countersign-operator", {**NAMED, **values})))


def environment(chart: Chart, process: str, values: dict[str, Any]) -> dict[str, str]:
    return {each["name"]: each.get("value", "") for each in container(chart, process, values)["env"]}


def test_nothing_of_it_is_there_unless_chosen(chart: Chart) -> None:
    assert ("ConfigMap", "countersign-authorizer") not in chart.names()
    assert not [grant for grant in granted(chart, "countersign-operator", "Role") if grant[1] == "services" or "authorizer" in grant[3]]
    for process in ("webhook", "operator"):
        assert environment(chart, process, {})["COUNTERSIGN_AUTHORIZER"] == "false"


def test_chosen_it_adds_an_empty_config_map_and_two_grants(chart: Chart) -> None:
    assert chart.names({**NAMED, **CHOSEN}) - chart.names() == {("ConfigMap", "countersign-authorizer")}
    made = chart.find("ConfigMap", "countersign-authorizer", {**NAMED, **CHOSEN})
    assert "data" not in made, "the operator fills it in: an upgrade would fight over what stands here"
    assert operators(chart, CHOSEN) - operators(chart, {}) == {
        ("", "configmaps", "get", "countersign-authorizer"),
        ("", "configmaps", "patch", "countersign-authorizer"),
        ("", "services", "get", "countersign-webhook"),
    }


@pytest.mark.parametrize("process", ["webhook", "operator"])
def test_both_processes_are_told(chart: Chart, process: str) -> None:
    told = environment(chart, process, {"authorizer": {"enabled": True, "folder": "/var/lib/countersign"}})
    assert (told["COUNTERSIGN_AUTHORIZER"], told["COUNTERSIGN_AUTHORIZER_FOLDER"]) == ("true", "/var/lib/countersign")


def test_the_service_keeps_its_address_where_one_is_given(chart: Chart) -> None:
    assert "clusterIP" not in chart.find("Service", "countersign-webhook")["spec"]
    given = {**NAMED, "authorizer": {"enabled": True, "clusterIP": "10.96.7.7"}}
    assert chart.find("Service", "countersign-webhook", given)["spec"]["clusterIP"] == "10.96.7.7"


def test_out_of_the_cluster_the_config_map_is_there_too(chart: Chart) -> None:
    assert ("ConfigMap", "countersign-authorizer") in chart.names({**OUT_OF_CLUSTER, **CHOSEN})


@pytest.mark.parametrize("address", ["", "10.96.7.7", "fd00::7", "fd00:10:96::7"])
def test_addresses(chart: Chart, address: str) -> None:
    assert chart.objects({**NAMED, "authorizer": {"enabled": True, "clusterIP": address}})


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"enabled": "yes"}, "/authorizer/enabled"),
        ({"clusterIP": "None"}, "/authorizer/clusterIP"),
        ({"clusterIP": "countersign-webhook.countersign.svc"}, "/authorizer/clusterIP"),
        ({"folder": "etc/kubernetes"}, "/authorizer/folder"),
        ({"folder": "/etc/ku bernetes"}, "/authorizer/folder"),
        ({"folder": "/"}, "/authorizer/folder"),
        ({"failurePolicy": "NoOpinion"}, "failurePolicy"),
    ],
)
def test_values_that_are_refused(chart: Chart, values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(Refused, match=sentence):
        chart.objects({**NAMED, "authorizer": values})
