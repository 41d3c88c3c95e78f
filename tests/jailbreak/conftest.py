"""Every attack twice: as a control, with the guard for it taken away, and in earnest. docs/jailbreak.md says how to run and read it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.controlplane.cluster import running_cluster
from tests.controlplane.errors import HarnessError
from tests.jailbreak._attack import Attack, Elsewhere, Profile
from tests.jailbreak._camp import Camp
from tests.jailbreak._director import Director, Scene
from tests.jailbreak._foreign import foreign_ground
from tests.jailbreak._ground import Ground, OwnGround
from tests.jailbreak._stage import Stage
from tests.jailbreak._table import Table

HERE: Final = Path(__file__).parent
CONTROL, STOPPED = "control", "stopped"
_CAMP = pytest.StashKey[Camp]()
_DIRECTOR = pytest.StashKey[Director]()
_FAILED = pytest.StashKey[bool]()
_TABLE = pytest.StashKey[Table]()
_PHASES: Final = list(Profile)


def named_cluster() -> str:
    """The kubeconfig that a team has named; KUBECONFIG itself would be read by suites that must never touch another's cluster."""
    return os.environ.get("JAILBREAK_KUBECONFIG", "")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "stage" in metafunc.fixturenames and metafunc.definition.path.parent == HERE:
        runs = [STOPPED] if named_cluster() else [CONTROL, STOPPED]
        metafunc.parametrize("stage", runs, indirect=True)


# --- the order of things ----------------------------------------------------------------------


def attack_of(item: pytest.Item) -> Attack | None:
    module = getattr(item, "module", None)
    return getattr(module, "ATTACK", None) if item.path.parent == HERE else None


def is_control(item: pytest.Item) -> bool:
    return getattr(item, "callspec", None) is not None and item.callspec.params.get("stage") == CONTROL  # type: ignore[attr-defined]  # a Function


def scene_of(attack: Attack, *, control: bool) -> Scene:
    if not control:
        return Scene(attack.profile)
    if attack.guards:
        return Scene(attack.profile, attack.guards)
    return Scene(Profile.STANDARD)


def _place(item: pytest.Item) -> tuple[int, bool, list[str], bool]:
    attack = attack_of(item)
    if attack is None:
        return (-1, False, [], False)
    scene = scene_of(attack, control=is_control(item))
    return (_PHASES.index(scene.profile), scene.away is not None, sorted(scene.away or ()), is_control(item))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Ours among themselves: each profile once, each set of missing guards once. Everybody else's stay where they are."""
    places = [index for index, item in enumerate(items) if item.path.parent == HERE]
    ours = sorted((items[index] for index in places), key=_place)
    for index, item in zip(places, ours, strict=True):
        items[index] = item


def pytest_collection_finish(session: pytest.Session) -> None:
    """What was left out on the command line (-k) is left out of the table too."""
    session.config.stash[_TABLE] = Table([attack for item in session.items if (attack := attack_of(item))])


# --- the cluster ------------------------------------------------------------------------------


@pytest.hookimpl(wrapper=True)
def pytest_runtestloop(session: pytest.Session) -> Generator[None, object, object]:
    """The cluster is up before the first test: building it may take longer than any one test is given."""
    wanted = any(attack_of(item) for item in session.items)
    if session.config.option.collectonly or session.testsfailed or not wanted:
        return (yield)
    capture = session.config.pluginmanager.getplugin("capturemanager")
    with ExitStack() as stack:
        try:
            with capture.global_and_fixture_disabled() if capture else ExitStack():
                ground = stack.enter_context(_ground(session.config))
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
                # The terminal's own line: what is printed would be kept from people until a test fails.
                camp = Camp(ground, folder, session.config.get_terminal_writer().line)
                # Not a fixture: Ctrl-C ends this loop, and the connection with it, before any fixture is torn down.
                stack.callback(camp.close)
                if director := session.config.stash.get(_DIRECTOR, None):
                    stack.callback(director.leave)
                session.config.stash[_CAMP] = camp
        except HarnessError as error:
            pytest.exit(f"nothing was attacked: {error}", returncode=pytest.ExitCode.INTERNAL_ERROR)
        return (yield)


def _ground(config: pytest.Config) -> AbstractContextManager[Ground]:
    file = named_cluster()
    return foreign_ground(file) if file else _own_ground(config)


@contextmanager
def _own_ground(config: pytest.Config) -> Iterator[Ground]:
    with running_cluster() as cluster:
        config.stash[_DIRECTOR] = Director(cluster)
        yield OwnGround(cluster)


@pytest.fixture
def stage(request: pytest.FixtureRequest) -> Iterator[Stage]:
    camp = request.config.stash[_CAMP]
    attack, control = attack_of(request.node), request.param == CONTROL
    assert attack is not None, f"{request.path.name} declares no ATTACK"
    _demand_runnable(attack, camp.ground)
    camp.pitch()
    if director := request.config.stash.get(_DIRECTOR, None):
        director.enter(scene_of(attack, control=control))
    told = Stage(attack, control, camp, Path(tempfile.mkdtemp(dir=camp.folder)))
    camp.hold(told.close)
    try:
        yield told
        if not request.node.stash.get(_FAILED, False):
            told.demand_judgement()
    finally:
        request.node.user_properties.append(("evidence", told.evidence))
        told.close()


def _demand_runnable(attack: Attack, ground: Ground) -> None:
    """What cannot be run here is skipped, which the table shows in red as NOT RUN with the reason, never as blocked."""
    if ground.own is None and attack.elsewhere is Elsewhere.NOT:
        pytest.skip(f"OWN CLUSTER ONLY: {attack.because}")
    if attack.local_only and ground.own is not None and not ground.own.is_local:
        pytest.skip(f"LOCAL ONLY: {attack.local_only}")
    if why := ground.obstacle(attack.profile):
        pytest.skip(f"NOT RUN: {why}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Generator[None, object, object]:
    """Suites that come after ours find the cluster as we found it; first the attack takes away what it has planted."""
    try:
        return (yield)
    finally:
        leaving = nextitem is None or attack_of(nextitem) is None
        director = item.config.stash.get(_DIRECTOR, None)
        if attack_of(item) is not None and leaving and director:
            director.leave()


# --- the table --------------------------------------------------------------------------------


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    item.stash[_FAILED] = item.stash.get(_FAILED, False) or report.failed
    if attack := attack_of(item):
        item.config.stash[_TABLE].note(attack, control=is_control(item), report=report)
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    table = config.stash.get(_TABLE, None)
    camp = config.stash.get(_CAMP, None)
    if table is not None and table.ran and camp is not None:
        table.show(terminalreporter, where=camp.ground.title)
