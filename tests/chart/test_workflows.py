"""The workflows run what there is: make targets, test files, node images that are pinned, each supported Kubernetes."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart.schemas import VERSIONS
from tests.controlplane.paths import ROOT

FILES = sorted((ROOT / ".github/workflows").glob("*.yaml"))
EACH = pytest.mark.parametrize("file", FILES, ids=[file.stem for file in FILES])
TARGETS = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
SUITES = {file.stem for file in (ROOT / "tests/e2e").glob("test_*.py")}
PINNED = re.compile(r"kindest/node:v(1\.[0-9]+)\.[0-9]+@sha256:[0-9a-f]{64}")


def jobs(file: Path) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load(file.read_text())["jobs"]
    return found


def matrix() -> list[dict[str, str]]:
    rows: list[dict[str, str]] = jobs(ROOT / ".github/workflows/kubernetes.yaml")["kind"]["strategy"]["matrix"]["include"]
    return rows


def test_they_are_found() -> None:
    assert {file.stem for file in FILES} >= {"test", "nightly", "kubernetes"}


@EACH
def test_make_has_the_targets_that_are_called(file: Path) -> None:
    called = [
        target for job in jobs(file).values() for step in job["steps"] for target in re.findall(r"\bmake ([a-z0-9-]+)", step.get("run", ""))
    ]
    assert set(called) <= TARGETS


@EACH
def test_a_job_has_an_end_and_an_action_a_version(file: Path) -> None:
    for name, job in jobs(file).items():
        assert job["timeout-minutes"] <= 180, name
        for step in job["steps"]:
            assert ("uses" in step) != ("run" in step), step
            if "uses" in step:
                assert re.fullmatch(r"[\w./-]+@(v\d+|[0-9a-f]{40})", step["uses"]), step["uses"]


@EACH
def test_a_workflow_may_read_and_no_more_unless_a_job_says_so(file: Path) -> None:
    assert yaml.safe_load(file.read_text())["permissions"] in ({}, {"contents": "read"})


@EACH
def test_what_is_chosen_of_the_suites_is_there(file: Path) -> None:
    chosen = [name for job in jobs(file).values() for step in job["steps"] for name in step.get("env", {}).get("E2E_ONLY", "").split()]
    assert set(chosen) <= SUITES
    if file.stem == "kubernetes":
        assert "test_contract" in chosen, "the main job"


def test_each_supported_kubernetes_is_run_by_an_image_that_nobody_can_change() -> None:
    for row in matrix():
        pinned = PINNED.fullmatch(row["node"])
        assert pinned, row["node"]
        assert pinned[1] == row["version"]
    versions = [row["version"] for row in matrix()]
    assert set(VERSIONS) <= set(versions)
    assert len(versions) == len(set(versions)) == len({row["node"] for row in matrix()})


def test_values_of_the_matrix_reach_the_tests() -> None:
    environments = [step["env"] for step in jobs(ROOT / ".github/workflows/kubernetes.yaml")["kind"]["steps"] if "env" in step]
    assert [each["KIND_NODE_IMAGE"] for each in environments] == ["${{ matrix.node }}"]
