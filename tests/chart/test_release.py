"""What a release is made by: workflows that run nobody's code but what is pinned, with no more rights than they use, and a chart around one digest."""

import os
import re
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart.rendering import NAMED, Chart
from tests.controlplane.paths import ROOT

DIGEST = f"sha256:{'5f' * 32}"
REPOSITORY = "ghcr.io/example/countersign"
RELEASE = ROOT / ".github/workflows/release.yaml"


def workflow() -> dict[str, Any]:
    tree: dict[str, Any] = yaml.safe_load(RELEASE.read_text())
    return tree


def steps() -> list[dict[str, Any]]:
    return [step for job in workflow()["jobs"].values() for step in job["steps"]]


def test_actions_are_pinned_by_commit() -> None:
    """A tag of somebody else's repository can be moved to other code, and this workflow may sign in our name."""
    used = [line.strip() for line in RELEASE.read_text().splitlines() if "uses:" in line]
    assert len(used) > 5
    assert not [line for line in used if not re.fullmatch(r"(- )?uses: [\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line)]


def test_no_job_may_do_more_than_it_does() -> None:
    tree = workflow()
    assert tree["permissions"] == {}
    publishing = {"contents": "read", "packages": "write", "id-token": "write", "attestations": "write"}
    assert {name: job["permissions"] for name, job in tree["jobs"].items()} == {
        "version": {"contents": "read"},
        "image": publishing,
        "chart": publishing,
    }


def test_no_text_of_others_becomes_a_command() -> None:
    assert not [step["run"] for step in steps() if "${{" in step.get("run", "")]


def test_only_tags_release() -> None:
    on: dict[str, Any] = yaml.load(RELEASE.read_text(), yaml.BaseLoader)["on"]  # the other loaders read `on` as true
    assert list(on) == ["push"]
    assert list(on["push"]) == ["tags"]


def test_what_is_pushed_is_signed_and_attested_by_its_digest() -> None:
    for name in ("image", "chart"):
        job = workflow()["jobs"][name]
        [signing] = [step for step in job["steps"] if "cosign sign" in step.get("run", "")]
        assert "@$DIGEST" in signing["run"]
        assert signing["env"]["DIGEST"] == "${{ steps.push.outputs.digest }}"
        [attesting] = [step for step in job["steps"] if "attest-build-provenance" in step.get("uses", "")]
        assert attesting["with"]["subject-digest"] == "${{ steps.push.outputs.digest }}"
    build = (ROOT / "deploy/build-image").read_text()
    assert "--sbom=true --provenance=mode=max" in build


def test_the_scripts_that_it_runs_are_there() -> None:
    named = {name for step in steps() for name in re.findall(r"deploy/[\w-]+", step.get("run", ""))}
    assert named == {"deploy/build-image", "deploy/compare-builds", "deploy/package-chart"}
    assert all(os.access(ROOT / name, os.X_OK) for name in named)


def pack(chart: Chart, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PATH": f"{chart.helm.parent}:{os.environ['PATH']}"}
    command = [str(ROOT / "deploy/package-chart"), str(folder), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_the_packed_chart_names_the_image_by_its_digest(chart: Chart, tmp_path: Path) -> None:
    packed = pack(chart, tmp_path, REPOSITORY, DIGEST)
    assert packed.returncode == 0, packed.stderr
    file = packed.stdout.strip()
    rendered = subprocess.run([chart.helm, "template", "x", file, "--set", "clusterName=c"], capture_output=True, text=True, check=True)
    images = {
        container["image"]
        for obj in yaml.safe_load_all(rendered.stdout)
        if obj and obj["kind"] == "Deployment"
        for container in obj["spec"]["template"]["spec"]["containers"]
    }
    assert images == {f"{REPOSITORY}@{DIGEST}"}
    with tarfile.open(file) as archive:
        here = {str(path.relative_to(ROOT / "charts")) for path in (ROOT / "charts/countersign").rglob("*") if path.is_file()}
        assert {member.name for member in archive.getmembers() if member.isfile()} >= here - {"countersign/.helmignore"}


@pytest.mark.parametrize("arguments", [(REPOSITORY, "latest"), ("no repository", DIGEST), (REPOSITORY,)])
def test_a_chart_around_nothing_is_not_packed(chart: Chart, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    packed = pack(chart, tmp_path / "packed", *arguments)
    assert packed.returncode == 2
    assert packed.stderr
    assert not (tmp_path / "packed").exists()


def test_the_chart_of_the_tree_names_no_digest(chart: Chart) -> None:
    """So that the test above shows what packing does."""
    container = chart.find("Deployment", "countersign-webhook", NAMED)["spec"]["template"]["spec"]["containers"][0]
    assert "@" not in container["image"]
