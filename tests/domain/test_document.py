import hashlib
import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from countersign.domain import document

scalars = st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.text()
trees = st.recursive(scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=20)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ('{"b": 1, "a": [true, null, "x"]}', '{"a":[true,null,"x"],"b":1}'),
        ('{"z": 1.50, "y": 1e3, "x": 1E+2, "w": -0.0}', '{"w":-0.0,"x":1E+2,"y":1e3,"z":1.50}'),
        ('{"n": 123456789012345678901234567890}', '{"n":123456789012345678901234567890}'),
        ('"ä\u2028\x7f/"', '"\\u00e4\\u2028\\u007f/"'),
        ('{"\\ud83d\\ude00": "\\u0000"}', '{"\\ud83d\\ude00":"\\u0000"}'),
        ("[]", "[]"),
        ("{}", "{}"),
    ],
)
def test_canonical_json_is_sorted_dense_ascii_with_numbers_as_received(raw: str, expected: str) -> None:
    assert document.canonical(document.parse(raw)) == expected
    assert document.sha256(document.parse(raw)) == hashlib.sha256(expected.encode()).hexdigest()


@given(trees)
def test_canonical_json_reads_back_as_the_same_value(tree: Any) -> None:
    text = document.canonical(tree)
    assert text.isascii()
    assert json.loads(text) == tree
    assert text == json.dumps(tree, sort_keys=True, separators=(",", ":"))


@given(trees, trees)
def test_two_values_of_one_text_are_the_same(one: Any, other: Any) -> None:
    if document.canonical(one) == document.canonical(other):
        assert json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


@given(st.dictionaries(st.text(), scalars, max_size=6))
def test_the_order_of_members_does_not_matter(members: dict[str, Any]) -> None:
    assert document.canonical(members) == document.canonical(dict(reversed(members.items())))


@pytest.mark.parametrize("raw", ["", "{", "NaN", '{"a": Infinity}', "[-Infinity]", "{'a': 1}", "[1,]", "[" * 100_000, b"\xff"])
def test_what_is_not_json_is_a_value_error(raw: str | bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # any kind of it: that is the contract
        document.parse(raw)


TREE: Mapping[str, Any] = {"metadata": {"name": "x", "labels": {"a": "b", "n": 1}, "list": [1, 2]}, "text": "y"}


def test_reading_a_tree_never_fails() -> None:
    assert document.text(TREE, "metadata", "name") == "x"
    assert document.text(TREE, "metadata", "labels") == ""
    assert document.text(TREE, "text", "deeper") == ""
    assert document.text(None, "a") == ""
    assert document.mapping(TREE, "metadata", "labels") == {"a": "b", "n": 1}
    assert document.mapping(TREE, "metadata", "name", "x") == {}
    assert document.strings(TREE, "metadata", "labels") == {"a": "b"}
    assert list(document.items(TREE, "metadata", "list")) == [1, 2]
    assert list(document.items(TREE, "metadata", "name")) == []
