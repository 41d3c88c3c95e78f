"""values.yaml, its schema and docs/values.md say the same, and nothing is left out of any of them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.chart import reference
from tests.chart.reference import OF_HELM, PAGE, SCHEMA, VALUES, closed, comments, documented, resolved

TEXT = VALUES.read_text()
DEFAULTS = yaml.safe_load(TEXT)
READ = json.loads(SCHEMA.read_text())
KNOWN = list(documented(DEFAULTS, READ, comments(TEXT)))


def objects(node: Any, way: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every part of the schema that says what an object holds."""
    if isinstance(node, dict):
        if isinstance(node.get("properties"), dict) and "type" in node:
            yield way, node
        for key, part in node.items():
            yield from objects(part, f"{way}/{key}")
    elif isinstance(node, list):
        for number, part in enumerate(node):
            yield from objects(part, f"{way}/{number}")


def test_what_is_generated_is_up_to_date() -> None:
    assert reference.main(["--check"]) == 0, "run `make generate`"


def test_every_value_has_a_comment_a_description_and_a_line_in_the_docs() -> None:
    page = PAGE.read_text()
    assert len(KNOWN) > 50
    for value in KNOWN:
        assert re.search(r"\w", value.comment), f"{value.name} has no comment in values.yaml"
        assert value.schema.get("description"), value.name
        assert (f"| `{value.name}` |" if value.leaf else f"`{value.path[0]}`") in page, value.name


def test_the_schema_knows_no_value_that_values_yaml_does_not_show() -> None:
    def check(shown: dict[str, Any], node: dict[str, Any], way: str) -> None:
        assert set(node["properties"]) - {OF_HELM} == set(shown), way
        for name, default in shown.items():
            inner = resolved(node["properties"][name], READ)
            if isinstance(default, dict) and default and closed(inner):
                check(default, inner, f"{way}.{name}")

    check(DEFAULTS, READ, "values")


def test_every_object_is_closed() -> None:
    found = dict(objects(READ))
    assert len(found) > 10
    assert [way for way, node in found.items() if not closed(node)] == []


def test_a_form_is_said_in_words_wherever_one_is_demanded() -> None:
    """Helm prints a pattern as it is; the words stand beside it, as the branch of an `anyOf` that nothing meets."""

    def bare(node: Any, way: str, *, said: bool) -> Iterator[str]:
        if isinstance(node, dict):
            said = said or bool(reference.form(node))
            if isinstance(node.get("pattern"), str) and not said:
                yield way
            for key, part in node.items():
                yield from bare(part, f"{way}/{key}", said=said)
        elif isinstance(node, list):
            for number, part in enumerate(node):
                yield from bare(part, f"{way}/{number}", said=said)

    assert not list(bare(READ, "", said=False)), 'use {"anyOf": [{"pattern": P}, {"const": WORDS, "not": {"const": WORDS}}]}'


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("# a\n# b\nx: 1\n", {("x",): "a b"}),
        ("# g\ng:\n  # in\n  a: 1\n  b: {c: 1}\nh: 1\n", {("g",): "g", ("g", "a"): "in", ("g", "b"): "", ("h",): ""}),
        ("# of nobody\n\n# x's\nx: 1\n", {("x",): "x's"}),
    ],
)
def test_a_comment_belongs_to_the_key_below_it(text: str, found: dict[tuple[str, ...], str]) -> None:
    assert comments(text) == found
