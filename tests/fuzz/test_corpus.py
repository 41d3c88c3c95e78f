"""Every input that is kept: read once more, with the answer that it had. What the fuzzer finds comes here, so that it stays mended."""

import json
from pathlib import Path

import pytest

from tests.fuzz import seeds
from tests.fuzz.readers import TARGETS, Finding, entry, review, trees

CORPUS = seeds.CORPUS
INPUTS = [file for target in TARGETS for file in sorted((CORPUS / target).iterdir())]


@pytest.mark.parametrize("file", INPUTS, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_is_read_without_harm(file: Path) -> None:
    answer = entry(file.parent.name)(file.read_bytes())
    if file.name.startswith("good-"):
        assert answer.startswith("good"), answer
    if file.parent.name == "review" and file.name.startswith("refused-"):
        assert answer.startswith("refused"), answer


@pytest.mark.parametrize("target", TARGETS)
def test_what_is_made_by_hand_is_as_it_is_made(target: str) -> None:
    """`python -m tests.fuzz.seeds` brings them up to date. Signatures of keys that sign with chance differ each time."""
    for name, data in seeds.MADE[target]():
        kept = CORPUS / target / name
        assert kept.exists(), f"{kept} is missing"
        if "ecdsa" not in name:
            assert kept.read_bytes() == data, f"{kept} is not what tests/fuzz/seeds.py makes"


def test_each_corpus_is_small() -> None:
    for target in TARGETS:
        sizes = [file.stat().st_size for file in (CORPUS / target).iterdir()]
        assert 10 < len(sizes) < 200, target
        assert sum(sizes) < 200_000, target


def test_an_allow_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reader can fail: what it lets through is held against what may be."""
    monkeypatch.setattr(review, "_may", lambda *_: False)
    with pytest.raises(Finding, match="allowed"):
        review.one((CORPUS / "review" / "a-controller-deletes-a-namespace").read_bytes())


def test_an_error_inside_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("countersign.service.review.classify", lambda *_: 1 / 0)
    with pytest.raises(Finding, match="an error inside"):
        review.one((CORPUS / "review" / "an-agent-deletes-a-namespace").read_bytes())


def test_trees_are_mutated_into_trees() -> None:
    data = (CORPUS / "review" / "an-agent-deletes-a-namespace").read_bytes()
    changed = {trees.mutate(data, 10_000, seed) for seed in range(50)}
    assert len(changed) > 40
    assert all(json.loads(each) is not data for each in changed if each)
    assert trees.mutate(b"no JSON", 100, 1) is None
    assert trees.mutate(data, 10, 1) is None
