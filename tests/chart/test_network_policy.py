"""NetworkPolicies: as shipped they shut nobody out of what is served; what a team names narrows them."""

from typing import Any

import pytest

from tests.chart.rendering import NAMED, OUT_OF_CLUSTER, Chart

PORTS = {"webhook": 8443, "operator": 8080}


def policy(chart: Chart, process: str, **values: Any) -> dict[str, Any]:
    found: dict[str, Any] = chart.find("NetworkPolicy", f"countersign-{process}", {**NAMED, "networkPolicy": values})["spec"]
    return found


@pytest.mark.parametrize("process", PORTS)
def test_as_shipped_everybody_reaches_the_port_and_the_way_out_is_open(chart: Chart, process: str) -> None:
    spec = policy(chart, process)
    assert spec["policyTypes"] == ["Ingress"]
    assert spec["ingress"] == [{"ports": [{"port": PORTS[process], "protocol": "TCP"}]}], "no `from`: every source"
    assert "egress" not in spec
    selected = spec["podSelector"]["matchLabels"]
    assert selected == chart.find("Deployment", f"countersign-{process}")["spec"]["selector"]["matchLabels"]
    (listening,) = chart.find("Deployment", f"countersign-{process}")["spec"]["template"]["spec"]["containers"][0]["ports"]
    assert listening["containerPort"] == PORTS[process]


def test_from_where_the_api_server_calls(chart: Chart) -> None:
    values: dict[str, Any] = {"from": ["10.0.0.1/32", "fd00::1/128"]}
    blocks = [{"ipBlock": {"cidr": cidr}} for cidr in values["from"]]
    assert policy(chart, "webhook", **values)["ingress"][0]["from"] == blocks
    assert "from" not in policy(chart, "operator", **values)["ingress"][0], "the API server never calls the operator"


def test_who_reads_metrics_reaches_both(chart: Chart) -> None:
    peer = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
    narrow: dict[str, Any] = {"from": ["10.0.0.1/32"], "metricsFrom": [peer]}
    assert policy(chart, "webhook", **narrow)["ingress"][0]["from"] == [{"ipBlock": {"cidr": "10.0.0.1/32"}}, peer]
    assert policy(chart, "operator", **narrow)["ingress"][0]["from"] == [peer]
    assert "from" not in policy(chart, "webhook", metricsFrom=[peer])["ingress"][0], "or the API server would be shut out"


@pytest.mark.parametrize("process", PORTS)
def test_the_way_out(chart: Chart, process: str) -> None:
    spec = policy(chart, process, apiServer=["10.96.0.1/32"])
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    to_api_server, to_dns = spec["egress"]
    assert to_api_server == {"to": [{"ipBlock": {"cidr": "10.96.0.1/32"}}]}
    assert {port["port"] for port in to_dns["ports"]} == {53}


def test_none_where_none_is_wanted(chart: Chart) -> None:
    for values in ({**NAMED, "networkPolicy": {"enabled": False}}, OUT_OF_CLUSTER):
        assert not [name for kind, name in chart.names(values) if kind == "NetworkPolicy"]
