"""What README and docs name is there: links, files, make targets, values of the chart, our kinds; and what they quote is what the code says."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import tomllib
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from countersign.domain import refusal
from countersign.domain.identify import Agent
from countersign.domain.resources import Change, ChangeRequest, Cluster, Losses, Meta, Requester, Target
from countersign.settings import read
from countersign.wire import resources as wire
from tests.controlplane.paths import ROOT
from tests.docs.comparing import difference, plain
from tests.docs.pages import Block, Page, commands_in, page, pages

_PAGES = pages()
_EACH_PAGE = pytest.mark.parametrize("each", _PAGES, ids=lambda page: page.name)
_PARSERS = {
    "AgentIdentity": wire.parse_agent_identity,
    "Reviewer": wire.parse_reviewer,
    "ProtectedEnvironment": wire.parse_environment,
}
_VALUES: Mapping[str, Any] = yaml.safe_load((ROOT / "charts/countersign/values.yaml").read_text())
_TARGETS = set(re.findall(r"^([a-z0-9]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
_PATHS = re.compile(r"\A(?:charts|controller|deploy|docs|tests|\.ci|\.github)/[\w./-]*\Z")


def test_the_pages_are_found() -> None:
    assert {each.name for each in _PAGES} >= {"README.md", "CHANGELOG.md", "CONTRIBUTING.md", "docs/rules.md", "docs/limits.md"}


def test_the_readme_is_short() -> None:
    assert len(page("README.md").text.splitlines()) < 150


@_EACH_PAGE
def test_links_lead_somewhere(each: Page) -> None:
    broken = [link for link in each.links() if not link.startswith("https://") and not _resolves(each, link)]
    assert not broken


@_EACH_PAGE
def test_commands_are_written_as_a_shell_reads_them(each: Page) -> None:
    scripts = [(block.line, block.text) for block in each.blocks("sh")]
    scripts += [(command.line, command.text) for block in each.blocks("console") for command in commands_in(block)]
    wrong = {line: fault for line, script in scripts if (fault := _syntax_fault(script))}
    assert not wrong


@_EACH_PAGE
def test_every_block_is_of_a_known_language(each: Page) -> None:
    """sh is checked, console is run, yaml is read; what has no language is a picture."""
    assert {block.language for block in each.blocks()} <= {"sh", "console", "yaml", ""}


@_EACH_PAGE
def test_make_targets_exist(each: Page) -> None:
    code = [*each.inline_code(), *(line for block in each.blocks("sh") for line in block.lines)]
    named = {target for text in code for target in re.findall(r"(?:^|[\s=]\S*\s|^\S+=\S+ )make ([a-z0-9]+)", text)}
    assert named <= _TARGETS


@_EACH_PAGE
def test_files_and_modules_exist(each: Page) -> None:
    words = [word for text in each.inline_code() for word in text.split()]
    words += [word for block in each.blocks("sh") for line in block.lines for word in line.split()]
    missing = [word for word in words if _PATHS.match(word) and not (ROOT / word).exists()]
    short = [word for word in words if re.fullmatch(r"(?:domain|service|adapters|wire|entrypoints)/\w+\.py", word)]
    missing += [word for word in short if not (ROOT / "controller/countersign" / word).exists()]
    code = [*each.inline_code(), *(line for block in each.blocks() for line in block.lines)]
    modules = {name for text in code for name in re.findall(r"python -m ([\w.]+)", text)}
    missing += [name for name in modules if importlib.util.find_spec(name) is None]
    assert not missing


@_EACH_PAGE
def test_chart_values_exist(each: Page) -> None:
    named = [key for block in each.blocks("sh") for key in re.findall(r"--set (\S+?)=", block.text)]
    named += [key for text in each.inline_code() for key in re.findall(r"--set (\S+?)=", text)]
    assert not [key for key in named if not _is_value(key)]


@_EACH_PAGE
def test_our_kinds_and_roles_exist(each: Page) -> None:
    kinds = set(re.findall(r"\b([a-z]+)\.kube-countersign\.dev\b", each.text)) - {"0"}
    names = [yaml.safe_load(file.read_text())["spec"]["names"] for file in (ROOT / "charts/countersign/crds").glob("*.yaml")]
    assert kinds <= {name[number] for name in names for number in ("plural", "singular")}
    made = (ROOT / "charts/countersign/templates").glob("*.yaml")
    there = set(re.findall(r"^\s*name: (countersign-[a-z-]+)$", "".join(file.read_text() for file in made), re.MULTILINE))
    guards = [*(ROOT / "controller/countersign/wire/guards").glob("*.py"), ROOT / "controller/countersign/service/rollover.py"]
    guards.append(ROOT / "controller/countersign/wire/notes.py")
    there |= set(re.findall(r'"(countersign-[a-z-]+)"', "".join(file.read_text() for file in guards)))
    assert {text for text in each.inline_code() if re.fullmatch(r"countersign-[a-z-]+", text)} <= there


@_EACH_PAGE
def test_manifests_are_accepted(each: Page) -> None:
    for block in each.blocks("yaml"):
        for manifest in _manifests(block):
            if "kind" not in manifest:  # values of the chart; tests/chart renders them
                assert set(manifest) <= set(_VALUES), f"line {block.line}: neither a manifest nor values of the chart"
                continue
            if manifest["kind"] not in _PARSERS:
                assert (manifest["kind"], each.name) == ("Application", "docs/gitops.md"), "tests/e2e/test_gitops.py goes by that one"
                continue
            parse = _PARSERS[manifest["kind"]]
            parse({**manifest, "metadata": {**manifest["metadata"], "uid": "u", "resourceVersion": "1"}})


@pytest.mark.parametrize("name", ["README.md", "docs/agents.md"])
def test_the_refusal_is_what_the_code_says(name: str) -> None:
    """The page's first refusal, built anew by the code from the names and the time that stand in it."""
    [(warning, *shown), *_] = [command.shown for command in page(name).commands() if command.text == "kubectl delete namespace payments"]
    assert warning == "Warning: countersign: recognised as agent kiro, run by alice"
    before, _, _ = shown[0].partition("WAITING")
    assert before == 'Error from server (Forbidden): admission webhook "agents-0.kube-countersign.dev" denied the request: '
    found = re.search(
        r'"(?P<namespace>[^"]+)" on (?P<cluster>\S+) needs 1 person to sign (?P<request>\S+) \(0 of 1, until (?P<until>\S+)\)', shown[0]
    )
    assert found
    assert shown == (before + _refusal(**found.groupdict())).splitlines()


def test_the_durations_in_the_rules_are_the_defaults() -> None:
    settings = read({"COUNTERSIGN_CLUSTER_NAME": "c", "COUNTERSIGN_API_SERVER": "https://a"}, listen="0.0.0.0:1")
    named = dict(re.findall(r"`(requestTTL|coolOff|keepEnded)` \((\w+)\)", page("docs/rules.md").text))
    assert named == {key: _VALUES[key] for key in ("requestTTL", "coolOff", "keepEnded")}
    hours = {key: duration.total_seconds() / 3600 for key, duration in (("24h", settings.request_ttl), ("1h", settings.cool_off))}
    assert hours == {"24h": 24, "1h": 1}
    assert settings.keep_ended.days == 7


def test_the_picture_of_the_layers_is_the_one_that_is_checked() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    [layers] = [contract["layers"] for contract in contracts if contract["type"] == "layers"]
    [picture] = [block.lines for block in page("docs/architecture.md").blocks("") if block.lines[0].startswith("countersign.__main__")]
    shown = [re.split(r"\s{2,}", line)[0] for line in picture if line.startswith("countersign.")]
    beside = {"countersign.bootstrap_operator"}
    checked = [" | ".join(name for name in layer.split(" | ") if name not in beside) for layer in layers]
    assert shown == [layer for layer in checked if layer]


def test_a_page_that_lies_is_found_out() -> None:
    """The comparison itself can fail."""
    assert not difference(["a", "...", "d 5s"], ["a", "b", "c", "d 17s"])
    assert not difference(["one, ..."], ["one, two"])
    assert difference(["a"], ["a", "b"])
    assert difference([], ["a"])
    assert difference(["a", "...", "e"], ["a", "b"])
    assert plain('x  on "y"') == 'x on "y"'
    with pytest.raises(ValueError, match="begins each command"):
        commands_in(Block("console", 1, ("kubectl get pods",)))


def _refusal(namespace: str, cluster: str, request: str, until: str) -> str:
    target = Target("", "v1", "namespaces", namespace, uid="u")
    record = ChangeRequest(
        meta=Meta(request),
        cluster=Cluster(cluster, "u"),
        operation="DELETE",
        target=target,
        change=Change(),
        losses=Losses(),
        requester=Requester("kiro", "kiro"),
        environments=("default",),
        required=1,
        round=1,
        expires_at=datetime.strptime(until, "%Y-%m-%dT%H:%MZ").replace(tzinfo=UTC),
    )
    case = refusal.Case(Agent("kiro", ("kiro",), ("alice",), "kiro"), "DELETE", target, cluster)
    return refusal.pending(case, record, None).message


def _resolves(each: Page, link: str) -> bool:
    file, _, anchor = link.partition("#")
    target = (each.path.parent / file).resolve() if file else each.path
    if not target.exists():
        return False
    return not anchor or anchor in Page(target, target.read_text()).anchors()


def _syntax_fault(script: str) -> str:
    return subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True, check=False).stderr


def _is_value(key: str) -> bool:
    value: Any = _VALUES
    for step in key.split("."):
        if not isinstance(value, Mapping) or step not in value:
            return False
        value = value[step]
    return True


def _manifests(block: Block) -> list[dict[str, Any]]:
    return [manifest for manifest in yaml.safe_load_all(block.text) if manifest]


def test_private_paths_are_nowhere() -> None:
    root = Path("/work")
    assert not [each.name for each in _PAGES if f"{root}/" in each.text]
