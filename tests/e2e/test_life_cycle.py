"""Upgrades from the first chart, with Helm's ways of keeping values; rollbacks; and uninstalling by whom it is refused to, whole or in part.

The first chart is this one with the values and the definitions that it had (tests/chart/older-values.yaml, tests/wire/released/0): what Helm
keeps of a chart for `--reuse-values` are its values. The cases are steps of one story, on a control plane of its own.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from countersign.domain.names import ANNOTATION_REVISION
from countersign.wire.crds import REVISION
from tests.chart.carried import OLDER
from tests.controlplane import chart, waiting
from tests.controlplane.api import path
from tests.controlplane.chart import CHART, NAMESPACE
from tests.controlplane.cluster import Cluster
from tests.controlplane.paths import ROOT
from tests.e2e import _life
from tests.e2e._faults import OURS, delete_namespace, guards, held, make_namespace, set_of, until, wait_refused
from tests.e2e._life import Inventory

pytestmark = pytest.mark.local_only(reason="installs, upgrades and uninstalls on a control plane of its own; test_uninstall does on kind")
DEFAULT = path("protectedenvironments", "default")
RELEASED = ROOT / "tests" / "wire" / "released" / "0"


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with _life.bare_cluster(tmp_path_factory.mktemp("life") / "cluster") as cluster:
        yield cluster


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("older") / "countersign"
    shutil.copytree(CHART, folder)
    shutil.copyfile(OLDER, folder / "values.yaml")
    shutil.rmtree(folder / "crds")
    shutil.copytree(RELEASED, folder / "crds")
    return folder


def revisions(cluster: Cluster) -> set[str]:
    definitions = [cluster.api.get(path("customresourcedefinitions", f"{plural}.{OURS}")) for plural in ("reviewers", "approvals")]
    return {each["metadata"].get("annotations", {}).get(ANNOTATION_REVISION, "none") for each in definitions}


def number(cluster: Cluster) -> int:
    done = _life.release(cluster, "alice", "history", "--output", "json")
    return int(json.loads(done.stdout)[-1]["revision"])


def in_force(cluster: Cluster) -> None:
    held(delete_namespace(cluster, "rogue", make_namespace(cluster, "guarded")))


def test_1_the_first_chart_is_installed_where_agents_are_at_work_already(own: Cluster, older: Path) -> None:
    make_namespace(own, "before", user="rogue")
    values = own.paths.state / "given.json"
    values.write_text(json.dumps({**_life.values_of(own), "default": {"ownWork": "3h"}}))
    done = _life.release(own, "alice", "install", older, "--create-namespace", "--values", values)
    assert done.returncode == 0, done.stderr
    assert revisions(own) == {"none"}
    _life.run_processes(own, json.loads(values.read_text()))
    _life.people_of(own).register()
    own.wait_in_force()
    until(lambda: revisions(own) == {str(REVISION)}, "the operator was to bring the definitions")


@pytest.mark.parametrize("flag", ["--reuse-values", "--reset-then-reuse-values"])
def test_2_an_upgrade_keeps_what_was_given_and_needs_no_value_that_is_new(own: Cluster, flag: str) -> None:
    done = _life.release(own, "alice", "upgrade", CHART, flag)
    assert done.returncode == 0, done.stderr
    assert own.api.get(DEFAULT)["spec"]["ownWork"] == "3h"
    in_force(own)


def test_3_rollbacks_work_also_with_everything_dead_and_one_that_changes_nothing(own: Cluster) -> None:
    _life.stop_processes(own)
    for target in ("1", str(number(own) + 1), str(number(own) + 2)):
        done = _life.release(own, "alice", "rollback", target)
        assert done.returncode == 0, done.stderr
    done = _life.release(own, "alice", "upgrade", CHART, "--reset-then-reuse-values")
    assert done.returncode == 0, done.stderr
    assert revisions(own) == {str(REVISION)}, "definitions only go forward"
    for process in chart.PROCESSES:
        (own.start_operator if process == "operator" else own.start_webhook)()
    in_force(own)


def test_3_the_page_on_upgrades_goes_through(own: Cluster) -> None:
    _, definitions, _ = _life.typed(own, "alice", "docs/upgrade.md")
    assert definitions.count(f" {REVISION}\n") == 5
    in_force(own)


def attempts(cluster: Cluster) -> dict[str, subprocess.CompletedProcess[str]]:
    return {
        "uninstall": _life.release(cluster, "rogue", "uninstall", "--debug"),
        "uninstall --no-hooks": _life.release(cluster, "rogue", "uninstall", "--debug", "--no-hooks", "--keep-history"),
        "rollback": _life.release(cluster, "rogue", "rollback", "1"),
        "upgrade": _life.release(cluster, "rogue", "upgrade", CHART, "--reuse-values", "--set", "default.mode=Audit"),
        "remove-records": subprocess.run(
            [ROOT / "deploy" / "remove-records"],
            capture_output=True,
            text=True,
            check=False,
            env={
                "PATH": f"{cluster.paths.bin}:/usr/bin:/bin",
                "HOME": str(cluster.paths.state),
                "KUBECONFIG": str(cluster.paths.user("rogue")),
            },
            timeout=60,
        ),
    }


@pytest.mark.parametrize("alive", [True, False], ids=["processes alive", "processes dead"])
@pytest.mark.parametrize("profile", ["standard", "hardened"])
def test_4_an_agent_uninstalls_nothing_not_even_a_part(own: Cluster, profile: str, alive: bool) -> None:
    """As cluster-admin, with Helm at hand."""
    if chart.values(own.paths).get("profile", "standard") != profile:
        own.reconfigure(profile=profile)
    standing, version = Inventory.of(own.api).lasting, number(own)
    assert any("secrets countersign/sh.helm.release" in each for each in Inventory.of(own.api).objects)
    if not alive:
        _life.stop_processes(own)
    for what, done in attempts(own).items():
        assert done.returncode != 0, f"{what} as an agent: {done.stdout}"
        if what.startswith("uninstall"):
            for policy in ("countersign-agents", "countersign-agents-inside"):
                assert f"ValidatingAdmissionPolicy '{policy}'" in done.stderr, f"{what}: {done.stderr}"
    assert standing - Inventory.of(own.api).lasting == set(), "the operator may still have been adding a profile's guards"
    assert number(own) == version
    if not alive:
        own.start_operator()
        own.start_webhook()
        own.wait_in_force()


def test_5_under_people_helm_is_told_no_about_default_and_finishes_the_second_time(own: Cluster) -> None:
    """docs/uninstall.md. Everything else is gone after the first, so nothing stands in anybody's way."""
    own.api.patch(DEFAULT, {"spec": {"protectFrom": "People"}})
    own.new_human("dana@example.com", role="cluster-admin")
    wait_refused(lambda: own.api_as("dana").request("DELETE", DEFAULT, params={"dryRun": "All"}), "the deletion of default by a human")
    _life.stop_processes(own)
    first = _life.release(own, "dana", "uninstall", "--debug")
    waiting.until(lambda: not guards(own.api), "the guards were to go", timeout=30)
    if first.returncode != 0:  # unless the garbage collector was quicker than Helm, which comes to `default` last
        assert re.search(r'failed calling webhook \\?"own\.kube-countersign\.dev', first.stderr), first.stderr
        assert own.api.exists(DEFAULT)
        until(lambda: _life.release(own, "dana", "uninstall").returncode == 0, "the second time it was to go through")
    assert not own.api.exists(DEFAULT)
    assert "bob" in set_of(own.api.list(path("reviewers")))
    rest = {each for each in Inventory.of(own.api).ours if not _life.is_record(each)}
    assert {each for each in rest if each.split()[0] != "namespaces" and f" {NAMESPACE}/" not in each} == set(), rest
