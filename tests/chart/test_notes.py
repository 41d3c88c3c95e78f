"""NOTES: what is in force, what to do next in three lines, and how to name the cluster where nobody has."""

from __future__ import annotations

import re

import pytest

from tests.chart.rendering import NAMED, Chart


def test_three_lines_say_what_to_do_next(chart: Chart) -> None:
    notes = chart.notes()
    first = notes.splitlines()[0]
    assert first.startswith("Countersign 0.1.0 is installed on prod-eu-1.")
    assert "until a second human has signed" in first
    steps = [line for line in notes.splitlines() if re.match(r"[0-9]\. ", line)]
    assert [step[0] for step in steps] == ["1", "2", "3"]
    assert "helm test countersign -n countersign" in steps[1]


@pytest.mark.parametrize(("values", "told"), [({}, True), (NAMED, False)])
def test_a_cluster_without_a_name_is_told_how_to_get_one(chart: Chart, values: dict[str, str], told: bool) -> None:
    assert ("--set clusterName=prod-eu-1" in chart.notes(values)) == told


def test_where_others_live_it_says_what_agents_lose(chart: Chart) -> None:
    assert "Agents write nothing in the namespace default from now on" in chart.notes(namespace="default")
    assert "Agents write nothing" not in chart.notes()


def test_audit_promises_no_refusal(chart: Chart) -> None:
    notes = chart.notes({**NAMED, "default": {"mode": "Audit"}})
    assert "until a second human" not in notes
    assert "recorded, not refused" in notes
    assert "default.mode=Enforce" in notes
