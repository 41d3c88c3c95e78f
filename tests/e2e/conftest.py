"""One cluster for all end-to-end suites, started before the first test and never skipped in silence."""

from __future__ import annotations

import os
import secrets
from collections import defaultdict
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest

from tests.controlplane.cluster import Cluster, running_cluster
from tests.controlplane.errors import HarnessError
from tests.e2e import sharing
from tests.e2e.people import People, register_everybody
from tests.e2e.story import Story

_CLUSTER = pytest.StashKey[Cluster]()
_NOT_RUN = pytest.StashKey[dict[str, str]]()
_LEFT_OUT = pytest.StashKey[dict[str, int]]()
_ASK_AGAIN: Final = (
    r"\bStartFailed: ",  # it waited in vain
    "COULD NOT DECIDE, so nothing was changed: The namespace '[^']+' is not known here yet",  # younger than the webhook's memory
    r"COULD NOT DECIDE, .*storage is \(re\)initializing",  # the API server reads a kind anew after its definition was changed
    "409 Conflict: Operation cannot be fulfilled",  # a controller wrote at the same moment
)
_TOOK: Final[dict[str, float]] = defaultdict(float)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    left_out = sharing.left_out(os.environ.get("E2E_ONLY", ""), [item.path.name for item in items])
    config.stash[_LEFT_OUT] = left_out
    config.hook.pytest_deselected(items=[item for item in items if item.path.name in left_out])
    items[:] = [item for item in items if item.path.name not in left_out]
    if share := os.environ.get("E2E_SHARE"):
        kept = sharing.of(share, [item.path.name for item in items], sharing.measured())
        config.hook.pytest_deselected(items=[item for item in items if item.path.name not in kept])
        items[:] = [item for item in items if item.path.name in kept]
    config.stash[_NOT_RUN] = {}
    elsewhere = "kind" if _kind_of_cluster() == "local" else "local"
    for item in items:
        if marker := item.get_closest_marker(f"{elsewhere}_only"):
            reason = str(marker.kwargs.get("reason") or marker.args[0])
            config.stash[_NOT_RUN][item.nodeid] = reason
            item.add_marker(pytest.mark.skip(reason=f"{elsewhere.upper()} ONLY: {reason}"))


@pytest.hookimpl(trylast=True)
def pytest_itemcollected(item: pytest.Item) -> None:
    """What says "ask again" is tried once more, and told: that may be the machine. What was answered wrongly never is."""
    item.add_marker(pytest.mark.flaky(reruns=1, only_rerun=list(_ASK_AGAIN)))


def _kind_of_cluster() -> str:
    return os.environ.get("CLUSTER") or "local"


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    _TOOK[Path(report.nodeid.partition("::")[0]).name] += report.duration


def pytest_sessionfinish() -> None:
    if os.environ.get("E2E_MEASURE"):
        sharing.keep(_TOOK)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    not_run = config.stash.get(_NOT_RUN, {})
    if not_run:
        other = "kind" if _kind_of_cluster() == "local" else "local"
        title = f"NOT RUN on {_kind_of_cluster()}: {len(not_run)} cases, which CLUSTER={other} runs"
        terminalreporter.section(title, red=True, bold=True)
        for case, reason in not_run.items():
            terminalreporter.line(f"{case}: {reason}", red=True)
    if again := terminalreporter.stats.get("rerun"):
        terminalreporter.section(f"TRIED AGAIN: {len(again)} cases that waited in vain, or were told to ask again", red=True, bold=True)
        for report in again:
            terminalreporter.line(f"{report.nodeid}: {str(report.longrepr).strip().splitlines()[-1]}", red=True)
    left_out = config.stash.get(_LEFT_OUT, {})
    if left_out:
        terminalreporter.section(f"LEFT OUT of this run by E2E_ONLY: {sum(left_out.values())} cases", red=True, bold=True)
        for file, count in left_out.items():
            terminalreporter.line(f"{file}: {count} cases", red=True)


@pytest.hookimpl(wrapper=True)
def pytest_runtestloop(session: pytest.Session) -> Generator[None, object, object]:
    """The cluster is up before the first test: building it may take longer than any one test is given."""
    wanted = any("cluster" in getattr(item, "fixturenames", ()) and not item.get_closest_marker("skip") for item in session.items)
    if session.config.option.collectonly or session.testsfailed or not wanted:
        return (yield)
    capture = session.config.pluginmanager.getplugin("capturemanager")
    with ExitStack() as stack:
        try:
            with capture.global_and_fixture_disabled() if capture else ExitStack():
                session.config.stash[_CLUSTER] = stack.enter_context(running_cluster())
        except HarnessError as error:
            pytest.exit(f"no cluster, so nothing was tested: {error}", returncode=pytest.ExitCode.INTERNAL_ERROR)
        return (yield)


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest) -> Cluster:
    """The one cluster of the session, with Countersign in force."""
    return request.config.stash[_CLUSTER]


@pytest.fixture(scope="session")
def story(cluster: Cluster) -> Iterator[Story]:
    """Its names are of this session only, so that a cluster that was up before serves as well as a fresh one."""
    told = Story(cluster, secrets.token_hex(2))
    yield told
    told.clear_up()


@pytest.fixture(scope="session")
def people(story: Story) -> People:
    """Everybody who signs, or must not, in these suites; registered whether or not registration is still open."""
    return register_everybody(story)
