"""Every attack stands in the threat model with the answer that its test proves, and the threat model names nothing that is not there."""

from __future__ import annotations

import importlib
import re
from functools import cache

import pytest

from tests.controlplane.paths import ROOT
from tests.docs.pages import page
from tests.jailbreak._attack import Attack, Profile

FILES = sorted(file.stem for file in (ROOT / "tests/jailbreak").glob("test_[0-9]*.py"))
_ROW = re.compile(r"^\| (?P<number>\d+) \| (?P<title>.+?) \| (?P<answer>.+?) \| (?P<how>.+?) \| \[test\]\(\.\./(?P<path>\S+)\) \|$")


@cache
def rows() -> dict[str, re.Match[str]]:
    """By the file that a row names."""
    found = [match for line in page("docs/threat-model.md").text.splitlines() if (match := _ROW.match(line))]
    return {match["path"]: match for match in found}


def attack(stem: str) -> Attack:
    declared: Attack = importlib.import_module(f"tests.jailbreak.{stem}").ATTACK
    return declared


def row_of(stem: str) -> str:
    declared = attack(stem)
    profile = "" if declared.profile is Profile.STANDARD else f", {declared.profile}"
    return f"| {declared.number} | {declared.title} | {declared.answer}{profile} | HOW | [test](../tests/jailbreak/{stem}.py) |"


def test_there_are_attacks() -> None:
    assert len(FILES) > 40
    assert len(rows()) > 40


@pytest.mark.parametrize("stem", FILES)
def test_an_attack_stands_in_the_threat_model_with_its_answer(stem: str) -> None:
    row = rows().get(f"tests/jailbreak/{stem}.py")
    assert row is not None, f"docs/threat-model.md lacks this row; say in place of HOW why the answer is what it is:\n{row_of(stem)}"
    shown = f"| {row['number']} | {row['title']} | {row['answer']} | HOW | [test](../{row['path']}) |"
    assert shown == row_of(stem)
    assert len(row["how"].split()) > 3, "it says how"


def test_the_threat_model_names_no_test_that_is_not_there() -> None:
    assert {path for path in rows() if not (ROOT / path).exists()} == set()


def test_the_rows_are_in_order() -> None:
    numbers = [int(row["number"]) for row in rows().values()]
    assert numbers == sorted(set(numbers))


def test_what_is_told_exists() -> None:
    """Metrics and reasons of Events that the pages on security name."""
    code = "".join(file.read_text() for file in (ROOT / "controller/countersign").rglob("*.py"))
    for name in ("SECURITY.md", "docs/breaking-glass.md", "docs/threat-model.md", "docs/limits.md"):
        named = {text for text in page(name).inline_code() if re.fullmatch(r"countersign_[a-z_]+|Glass[A-Z][a-z]+", text)}
        assert {text for text in named if f'"{text}"' not in code} == set(), name
