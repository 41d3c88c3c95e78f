"""That the list is whole: a number without a file, or a file without its source, would be a way round that nobody tried."""

from __future__ import annotations

import importlib.util
import re
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

from tests.jailbreak._attack import Attack

HERE = Path(__file__).parent
FILES = sorted(file for file in HERE.glob("test_[0-9]*.py"))
LISTED = range(1, 41)
MORE_BY_OURSELVES = 20


def _module(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"jailbreak_{file.stem}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _attack(file: Path) -> Attack:
    attack = getattr(_module(file), "ATTACK", None)
    assert isinstance(attack, Attack), f"{file.name} declares no ATTACK"
    return attack


NUMBERS = Counter(_attack(file).number for file in FILES)


@pytest.mark.parametrize("number", LISTED)
def test_every_attack_of_the_list_has_a_file(number: int) -> None:
    assert NUMBERS[number] == 1, f"attack {number}: {NUMBERS[number]} files"


def test_no_number_is_given_twice() -> None:
    assert [number for number, count in NUMBERS.items() if count > 1] == []


def test_there_are_attacks_that_nobody_had_listed() -> None:
    assert len([number for number in NUMBERS if number not in LISTED]) >= MORE_BY_OURSELVES


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_file_says_what_it_tries_and_who_thought_of_it(file: Path) -> None:
    text = _module(file).__doc__ or ""
    attack, _, source = text.partition("\n\nSource: ")
    assert len(attack.split()) > 8, f"{file.name}: the docstring tells the attack in two sentences"
    assert source.strip(), f"{file.name}: the docstring's second paragraph begins with `Source: `"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_file_is_named_by_its_number(file: Path) -> None:
    found = re.fullmatch(r"test_(\d{2,3})_[a-z0-9_]+\.py", file.name)
    assert found is not None
    assert int(found[1]) == _attack(file).number
