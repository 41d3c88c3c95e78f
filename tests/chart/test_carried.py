"""`helm upgrade --reuse-values` from the first chart: what its values lack has the default, what they say stays.

Helm then lays the values of the old chart in the place of this chart's defaults; a `null` takes a default away in the same manner.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import yaml

from tests.chart.carried import OLDER, added
from tests.chart.rendering import CHART, NAMED, Chart

DEFAULTS = yaml.safe_load((CHART / "values.yaml").read_text())
OLD = yaml.safe_load(OLDER.read_text())
NEWS = list(added(OLD, DEFAULTS))


def nothing(path: list[str]) -> dict[str, Any]:
    """Values that take away what is at a path."""
    tree: Any = None
    for step in reversed(path):
        tree = {step: tree}
    return dict(tree)


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    both = {key for key in base.keys() & over.keys() if isinstance(base[key], dict) and isinstance(over[key], dict)}
    return {**base, **over, **{key: merged(base[key], over[key]) for key in both}}


def older(values: Mapping[str, Any] = NAMED) -> dict[str, Any]:
    """As --reuse-values has them: nothing that is new."""
    bare: dict[str, Any] = dict(values)
    for new in NEWS:
        bare = merged(bare, nothing(new["path"]))
    return bare


def test_there_is_something_new() -> None:
    assert ["webhook", "hostNetwork"] in [new["path"] for new in NEWS]


@pytest.mark.parametrize("values", [{}, {"profile": "hardened"}, {"outOfCluster": {"url": "https://127.0.0.1:8443/validate"}}])
def test_the_values_of_the_older_chart_render_the_same(chart: Chart, values: Mapping[str, Any]) -> None:
    wanted = chart.objects({**NAMED, **values})
    assert chart.objects(older({**NAMED, **values})) == wanted


def test_what_somebody_has_set_or_emptied_stays(chart: Chart) -> None:
    values = {**NAMED, "webhook": {"podLabels": {"sidecar.istio.io/inject": None, "a": "b"}}}
    labels = chart.find("Deployment", "countersign-webhook", values)["spec"]["template"]["metadata"]["labels"]
    assert labels["a"] == "b"
    assert "sidecar.istio.io/inject" not in labels
