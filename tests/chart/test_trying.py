"""Trying it first, by the chart: Audit, the environment `trial`, and the presets of accounts that are let through."""

from typing import Any

import pytest
import yaml

from countersign.domain.identify import matches
from countersign.domain.request import UserInfo
from countersign.domain.resources import Mode, ProtectedEnvironment, ProtectFrom, SubjectKind
from countersign.wire.resources import parse_environment
from tests.chart.rendering import CHART, NAMED, Chart, Refused
from tests.docs.pages import page

PRESETS: dict[str, list[dict[str, str]]] = yaml.safe_load((CHART / "files" / "presets.yaml").read_text())
ARGO = "system:serviceaccount:argocd:argocd-application-controller"
OWN = {"kind": "User", "name": "deployer@example.com"}


def environment(chart: Chart, name: str, **values: Any) -> ProtectedEnvironment:
    return parse_environment(chart.find("ProtectedEnvironment", name, {**NAMED, **values}))


def excepts(environment: ProtectedEnvironment, username: str) -> bool:
    return any(matches(subject, UserInfo(username)) for subject in environment.exceptions)


def test_audit_is_one_value(chart: Chart) -> None:
    assert environment(chart, "default", default={"mode": "Audit"}).mode is Mode.AUDIT


def test_without_a_value_there_is_no_trial(chart: Chart) -> None:
    assert ("ProtectedEnvironment", "trial") not in chart.names()


@pytest.mark.parametrize("level", ["People", "Everyone"])
def test_a_trial_covers_what_default_covers_and_only_audits(chart: Chart, level: str) -> None:
    wide = {"exclude": ["kube-system", "sandbox"], "selector": {"matchLabels": {"tier": "prod"}}, "except": [OWN], "presets": ["argo-cd"]}
    default = environment(chart, "default", default=wide, trial={"protectFrom": level})
    trial = environment(chart, "trial", default=wide, trial={"protectFrom": level})
    assert (default.mode, default.protect_from) == (Mode.ENFORCE, ProtectFrom.AGENTS), "agents are held meanwhile"
    assert (trial.mode, trial.protect_from) == (Mode.AUDIT, ProtectFrom(level))
    assert (trial.selector, trial.exclude, trial.resources) == (default.selector, default.exclude, default.resources)
    assert excepts(trial, ARGO)
    assert excepts(trial, "deployer@example.com")


def test_a_preset_excepts_nobody_while_only_agents_are_held(chart: Chart) -> None:
    """Whoever stands in default.spec.except may register people."""
    assert environment(chart, "default", default={"presets": ["argo-cd"]}).exceptions == ()
    assert excepts(environment(chart, "default", default={"presets": ["argo-cd"], "protectFrom": "Everyone"}), ARGO)


@pytest.mark.parametrize("preset", PRESETS)
def test_each_preset_names_single_accounts(chart: Chart, preset: str) -> None:
    found = environment(chart, "default", default={"presets": [preset], "protectFrom": "Everyone"}).exceptions
    assert len(found) == len(PRESETS[preset]) > 0
    assert all(each.kind is SubjectKind.SERVICE_ACCOUNT and each.namespace and "*" not in each.name for each in found)


@pytest.mark.parametrize(
    "values", [{"default": {"presets": ["argocd"]}}, {"trial": {"protectFrom": "Agents"}}, {"trial": {"mode": "Enforce"}}]
)
def test_what_there_is_none_of_is_refused(chart: Chart, values: dict[str, Any]) -> None:
    with pytest.raises(Refused):
        chart.objects({**NAMED, **values})


def test_the_page_names_every_account_of_every_preset() -> None:
    rows = [line for line in page("docs/trying.md").text.splitlines() if line.startswith("| `")]
    listed = {row.split("`")[1]: set(row.split("|")[2].replace("`", "").replace(" ", "").split(",")) for row in rows}
    assert listed == {preset: {f"{each['namespace']}/{each['name']}" for each in accounts} for preset, accounts in PRESETS.items()}
