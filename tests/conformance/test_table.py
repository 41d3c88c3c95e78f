"""The comparison can fail."""

from __future__ import annotations

from tests.conformance import table
from tests.conformance.specs import EXPECTED, Run, Spec, read_report

GREEN = tuple(Spec(f"spec {number}", passed=True, seconds=1) for number in range(EXPECTED))
RED = Spec("spec 0", passed=False, seconds=1, message="it\nbroke")


def test_all_green() -> None:
    assert table.complaints([Run("without", 1, GREEN), Run("standard/Agents", 1, GREEN)]) == []


def test_red_where_it_was_green() -> None:
    said = table.complaints([Run("without", 1, GREEN), Run("standard/Agents", 1, (RED, *GREEN[1:]))])
    assert said == ["standard/Agents: spec 0 is not green any more: it broke"]


def test_missing_where_it_was_green() -> None:
    said = table.complaints([Run("without", 1, GREEN), Run("standard/Agents", 1, GREEN[1:])])
    assert said == ["standard/Agents: spec 0 is not green any more: it did not run"]


def test_red_without_countersign() -> None:
    assert "fails without Countersign as well" in table.complaints([Run("without", 1, (RED, *GREEN[1:]))])[0]


def test_too_few() -> None:
    assert "say too little" in table.complaints([Run("without", 1, GREEN[1:])])[0]


def test_the_table_counts() -> None:
    assert "| without | 50 | 49 | 1 | 7 |" in table.markdown([Run("without", 7.2, (RED, *GREEN[1:]))])


def test_reads_a_report() -> None:
    it = {
        "LeafNodeType": "It",
        "LeafNodeText": "works [Conformance]",
        "ContainerHierarchyTexts": ["[sig] Things"],
        "RunTime": 2_000_000_000,
    }
    failed = {**it, "State": "failed", "Failure": {"Message": "no"}}
    others = [{**it, "State": "skipped"}, {**it, "LeafNodeType": "BeforeSuite", "State": "passed"}]
    assert read_report([{"SpecReports": [{**it, "State": "passed"}, failed, *others]}, {"SpecReports": None}]) == (
        Spec("[sig] Things works", passed=True, seconds=2.0),
        Spec("[sig] Things works", passed=False, seconds=2.0, message="no"),
    )
