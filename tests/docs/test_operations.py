"""docs/operations.md is what the code and the chart are: each metric, each alert and what to do at it."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from tests.controlplane.paths import ROOT
from tests.docs import metrics
from tests.docs.pages import page

RULES: list[dict[str, Any]] = [
    rule for group in yaml.safe_load((ROOT / "charts/countersign/files/alerts.yaml").read_text())["groups"] for rule in group["rules"]
]
HEADINGS = [line.removeprefix("### ") for line in page("docs/operations.md").prose().splitlines() if line.startswith("### ")]
_EACH_RULE = pytest.mark.parametrize("rule", RULES, ids=[rule["alert"] for rule in RULES])


def test_the_metrics_are_those_of_the_code() -> None:
    text = metrics.PAGE.read_text()
    assert metrics.BEGIN in text
    assert metrics.written(text) == text, "write the table anew: .venv/bin/python -m tests.docs.metrics"


@_EACH_RULE
def test_an_alert_names_metrics_that_there_are(rule: dict[str, Any]) -> None:
    assert re.search(r"\b(?:countersign_\w+|up\{)", rule["expr"])
    assert not metrics.unknown(rule["expr"], metrics.families())


@_EACH_RULE
def test_an_alert_sees_the_first_time(rule: dict[str, Any]) -> None:
    """increase() needs a value before: where a new process shows none, the series itself is the news."""
    rising = set(re.findall(r"increase\((\w+)\[", rule["expr"])) & metrics.silent_at_first()
    assert not [name for name in rising if f"({name} unless {name} offset" not in rule["expr"]]


@_EACH_RULE
def test_an_alert_has_its_runbook(rule: dict[str, Any]) -> None:
    file, _, anchor = rule["annotations"]["runbook"].partition("#")
    assert file == "docs/operations.md"
    assert anchor == rule["alert"].lower()
    assert anchor in page(file).anchors()


def test_a_runbook_is_of_an_alert() -> None:
    named = [heading for heading in HEADINGS if heading.startswith("Countersign")]
    assert sorted(named) == sorted(rule["alert"] for rule in RULES)


def test_a_runbook_says_what_to_look_at() -> None:
    parts = re.split(r"^### ", page("docs/operations.md").text, flags=re.MULTILINE)[1:]
    bare = [part.splitlines()[0] for part in parts if part.startswith("Countersign") and "`" not in part and "](" not in part]
    assert not bare


def test_what_is_not_there_is_noticed() -> None:
    there = {"countersign_a_total": ("webhook", "counter", "")}
    assert metrics.unknown("rate(countersign_a_total[5m]) + countersign_b", there) == {"countersign_b"}
    assert metrics.unknown("rate(countersign_a_seconds_bucket[5m])", {"countersign_a_seconds": ()}) == set()
