"""The ProtectedEnvironment that is there from the first minute."""

from typing import Any

import pytest

from countersign.domain.resources import ApprovalRules, Mode, ProtectFrom, Registration
from countersign.wire.resources import parse_environment
from tests.chart.rendering import NAMED, Chart, Refused


def default(chart: Chart, **values: Any) -> dict[str, Any]:
    return chart.find("ProtectedEnvironment", "default", {**NAMED, "default": values})


def test_what_the_chart_installs_is_what_the_rules_say(chart: Chart) -> None:
    environment = parse_environment(default(chart))
    assert environment.mode is Mode.ENFORCE
    assert environment.protect_from is ProtectFrom.AGENTS
    assert environment.approvals == ApprovalRules()
    assert environment.own_work is not None
    assert environment.own_work.total_seconds() == 24 * 3600
    assert environment.covers("payments", {})
    assert [name for name in ("kube-system", "kube-public", "kube-node-lease") if environment.covers(name, {})] == []
    assert environment.covers("default", {})
    assert environment.covers("countersign", {})


def test_registration_is_the_operators_unless_the_installer_closes_it(chart: Chart) -> None:
    """Helm applies what it renders: were the field there, the next upgrade would try to open what the operator has closed."""
    assert "registration" not in default(chart)["spec"]
    assert parse_environment(default(chart, registration="Closed")).registration is Registration.CLOSED


def test_it_only_reports_who_could_be_somebody_else_unless_told_to_widen(chart: Chart) -> None:
    """Left out where it is the default: the CRD of the release before does not know the field."""
    assert "whenAgentsCanImpersonate" not in default(chart)["spec"]
    assert not parse_environment(default(chart)).widens
    assert parse_environment(default(chart, whenAgentsCanImpersonate="Widen")).widens
    with pytest.raises(Refused, match="whenAgentsCanImpersonate"):
        default(chart, whenAgentsCanImpersonate="Maybe")


def test_own_work_can_be_left_out(chart: Chart) -> None:
    assert parse_environment(default(chart, ownWork="")).own_work is None


@pytest.mark.parametrize(
    ("values", "spec"),
    [
        (
            {"selector": {"matchLabels": {"a": "b"}}},
            {"namespaces": {"selector": {"matchLabels": {"a": "b"}}, "exclude": ["kube-system", "kube-public", "kube-node-lease"]}},
        ),
        ({"except": [{"kind": "User", "name": "x"}]}, {"except": [{"kind": "User", "name": "x"}]}),
        ({"mode": "Audit", "protectFrom": "People"}, {"mode": "Audit", "protectFrom": "People"}),
        ({"resources": [{"group": "", "resource": "configmaps"}]}, {"resources": [{"group": "", "resource": "configmaps"}]}),
        (
            {"approvals": {"required": 3, "teams": ["a"], "hardwareKeysOnly": True, "useWithin": "10s"}},
            {"approvals": {"required": 3, "teams": ["a"], "hardwareKeysOnly": True, "useWithin": "10s"}},
        ),
    ],
)
def test_values_reach_the_environment(chart: Chart, values: dict[str, Any], spec: dict[str, Any]) -> None:
    obj = default(chart, **values)
    assert {name: obj["spec"][name] for name in spec} == spec
    assert parse_environment(obj).meta.name == "default"
