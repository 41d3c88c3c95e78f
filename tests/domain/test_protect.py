"""Which environments hold a change back, and from whom."""

from dataclasses import replace
from datetime import timedelta

import pytest

from countersign.domain.classify import Deletion, Relabelling
from countersign.domain.errors import UnableError
from countersign.domain.identify import Agent, Human, Machine, Requester
from countersign.domain.protect import given_a_voice, hold, losing, matching, may_be_own_work, protects_from, registration_is_closed
from countersign.domain.request import GroupResource, UserInfo
from countersign.domain.resources import (
    Change,
    ProtectedEnvironment,
    ProtectFrom,
    Registration,
    Requirement,
    Selector,
    Subject,
    SubjectKind,
    Target,
    Verdict,
)
from tests.support.objects import HOUR, KIRO, NOW, account, approval, change_request, environment, namespace, person, snapshot, user

AGENTS, PEOPLE, EVERYONE = ProtectFrom.AGENTS, ProtectFrom.PEOPLE, ProtectFrom.EVERYONE
APPS, FLEETS = GroupResource("argoproj.io", "applications"), GroupResource("fleet.io", "fleets")
DEFAULT = environment(exclude=("kube-system",))
PROD = environment("prod", selector=Selector({"tier": "prod"}), resources=(APPS, FLEETS))
TEAM = environment("team", selector=Selector({"team": "payments"}), exclude=("scratch",))
WORLD = snapshot(
    DEFAULT,
    PROD,
    TEAM,
    namespace("shop", {"tier": "prod"}),
    namespace("payments", {"team": "payments"}),
    namespace("scratch", {"team": "payments"}),
    namespace("kube-system", {"tier": "prod"}),
)


def deletion(kind: str, name: str = "x", *, within: str = "", home: str = "", labels: dict[str, str] | None = None) -> Deletion:
    resource, _, group = kind.partition(".")
    return Deletion(Target(group, "v1", resource, name, within, "uid"), Change("sha256:x"), labels or {}, {}, home or within)


def names(environments: tuple[ProtectedEnvironment, ...]) -> set[str]:
    return {each.meta.name for each in environments}


MATCHING = [
    ("a namespace by its labels", deletion("namespaces", "x", labels={"tier": "prod"}), {"default", "prod"}),
    ("the labels are the old object's, not those in memory", deletion("namespaces", "shop"), {"default"}),
    ("an excluded namespace", deletion("namespaces", "scratch", labels={"team": "payments"}), {"default"}),
    ("an excluded namespace of default", deletion("namespaces", "kube-system"), set()),
    ("a claim by its namespace", deletion("persistentvolumeclaims", within="shop"), {"default", "prod"}),
    ("a claim in an excluded namespace", deletion("persistentvolumeclaims", within="kube-system"), {"prod"}),
    ("a claim's own labels do not matter", deletion("persistentvolumeclaims", within="payments", labels={"tier": "prod"}), {"default", "team"}),
    ("a listed kind only by who lists it", deletion("applications.argoproj.io", within="shop"), {"prod"}),
    ("a listed kind in a namespace of others", deletion("applications.argoproj.io", within="payments"), set()),
    ("a listed kind of the cluster", deletion("fleets.fleet.io"), {"prod"}),
    ("a volume by its claim's namespace, and default", deletion("persistentvolumes", home="shop"), {"default", "prod"}),
    ("a volume of no claim", deletion("persistentvolumes"), {"default"}),
    ("a volume of a claim in an excluded namespace", deletion("persistentvolumes", home="kube-system"), {"default", "prod"}),
    ("a volume whose claim's namespace is gone", deletion("persistentvolumes", home="gone"), {"default"}),
    ("a definition of a listed kind", deletion("customresourcedefinitions.apiextensions.k8s.io", "fleets.fleet.io"), {"default", "prod"}),
    ("any definition", deletion("customresourcedefinitions.apiextensions.k8s.io", "other.io"), {"default"}),
]  # fmt: skip


@pytest.mark.parametrize(("change", "expected"), [pytest.param(*row[1:], id=row[0]) for row in MATCHING])
def test_which_environments_a_deletion_touches(change: Deletion, expected: set[str]) -> None:
    assert names(matching(change, WORLD)) == expected


def test_default_is_among_them_once_where_it_is_there() -> None:
    volume = deletion("persistentvolumes", home="shop")
    assert [each.meta.name for each in matching(volume, WORLD)].count("default") == 1
    without = snapshot(PROD, TEAM, namespace("shop", {"tier": "prod"}))
    assert names(matching(volume, without)) == {"prod"}
    assert names(matching(deletion("persistentvolumes"), without)) == set()


def test_a_namespace_that_is_not_known_is_no_answer() -> None:
    with pytest.raises(UnableError):
        matching(deletion("persistentvolumeclaims", within="new"), WORLD)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({"tier": "prod"}, {}, {"prod"}),
        ({"tier": "prod"}, {"tier": "dev"}, {"prod"}),
        ({}, {"tier": "prod"}, set()),
        ({"tier": "prod"}, {"tier": "prod", "x": "y"}, set()),
        ({"tier": "prod", "team": "payments"}, {"team": "payments"}, {"prod"}),
        ({"tier": "prod", "team": "payments"}, {"tier": "x", "team": "y"}, {"prod", "team"}),
    ],
)
def test_which_environments_a_namespace_would_leave(before: dict[str, str], after: dict[str, str], expected: set[str]) -> None:
    change = Relabelling(Target("", "v1", "namespaces", "x", uid="u"), Change(), before, after)
    assert names(losing(change, WORLD)) == expected
    excluded = replace(change, target=replace(change.target, name="scratch"))
    assert names(losing(excluded, WORLD)) == expected - {"team"}


@pytest.mark.parametrize(
    ("requirement", "labels", "matched"),
    [
        (Requirement("a", "In", ("x", "y")), {"a": "y"}, True),
        (Requirement("a", "In", ("x", "y")), {"a": "z"}, False),
        (Requirement("a", "In", ("x",)), {}, False),
        (Requirement("a", "NotIn", ("x",)), {"a": "x"}, False),
        (Requirement("a", "NotIn", ("x",)), {"a": "y"}, True),
        (Requirement("a", "NotIn", ("x",)), {}, True),
        (Requirement("a", "Exists"), {"a": ""}, True),
        (Requirement("a", "Exists"), {}, False),
        (Requirement("a", "DoesNotExist"), {}, True),
        (Requirement("a", "DoesNotExist"), {"a": ""}, False),
    ],
)
def test_selectors(requirement: Requirement, labels: dict[str, str], matched: bool) -> None:
    assert Selector(match_expressions=(requirement,)).matches(labels) is matched
    assert Selector({"b": "c"}, (requirement,)).matches(labels) is False
    assert Selector({"b": "c"}, (requirement,)).matches({"b": "c", **labels}) is matched


def test_an_unknown_operator_is_no_answer() -> None:
    with pytest.raises(ValueError, match="unknown selector operator"):
        Selector(match_expressions=(Requirement("a", "Gt", ("1",)),)).matches({"a": "2"})


# ── from whom ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

AN_AGENT = Agent(KIRO, ("kiro",), ("alice",), KIRO)
A_HUMAN = Human("bob@example.com", "bob")
A_MACHINE = Machine("system:serviceaccount:ci:deployer", builtin=False)
A_CONTROLLER = Machine("system:kube-controller-manager", builtin=True)


@pytest.mark.parametrize(
    ("who", "held"),
    [(AN_AGENT, {AGENTS, PEOPLE, EVERYONE}), (A_HUMAN, {PEOPLE, EVERYONE}), (A_MACHINE, {EVERYONE}), (A_CONTROLLER, set())],
)
def test_whom_each_level_holds_back(who: Requester, held: set[ProtectFrom]) -> None:
    assert {level for level in ProtectFrom if protects_from(level, who)} == held


EXCEPTED = (account("ci", "deployer"), Subject(SubjectKind.USER, "bob@*"), Subject(SubjectKind.GROUP, "ops"), account("agents", "kiro"))


@pytest.mark.parametrize(
    ("who", "info", "held", "excepted"),
    [
        (A_MACHINE, user(A_MACHINE.username), set(), {"all"}),
        (replace(A_MACHINE, username="system:serviceaccount:ci:other"), user("system:serviceaccount:ci:other"), {"all"}, set()),
        (A_HUMAN, user(A_HUMAN.username), set(), {"all"}),
        (Human("carol", ""), user("carol", "ops"), set(), {"all"}),
        (Human("carol", ""), user("carol"), {"all"}, set()),
        (AN_AGENT, user(KIRO, "ops"), {"all"}, set()),
        (A_CONTROLLER, user(A_CONTROLLER.username), set(), set()),
    ],
)
def test_except_is_never_for_agents(who: Requester, info: UserInfo, held: set[str], excepted: set[str]) -> None:
    result = hold((environment("all", EVERYONE, exceptions=EXCEPTED),), who, info)
    assert (names(result.held), names(result.excepted)) == (held, excepted)


def test_each_environment_excepts_for_itself() -> None:
    result = hold((environment("a", PEOPLE, exceptions=EXCEPTED), environment("b", PEOPLE)), A_HUMAN, user(A_HUMAN.username))
    assert (names(result.held), names(result.excepted)) == ({"b"}, {"a"})


# ── own work ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

MINE = replace(deletion("namespaces"), annotations={"kube-countersign.dev/created-by": KIRO})
FRESH = environment(own_work=HOUR)


def test_own_work_is_a_namespace_of_ones_own_making_and_young() -> None:
    assert may_be_own_work(FRESH, MINE, NOW - HOUR, user(KIRO), NOW)
    assert may_be_own_work(FRESH, MINE, NOW, user(KIRO), NOW)
    assert not may_be_own_work(FRESH, MINE, NOW - HOUR - timedelta(seconds=1), user(KIRO), NOW)
    assert not may_be_own_work(FRESH, MINE, None, user(KIRO), NOW)
    assert not may_be_own_work(environment(), MINE, NOW, user(KIRO), NOW)
    assert not may_be_own_work(FRESH, MINE, NOW, user("system:serviceaccount:agents:rogue"), NOW)
    assert not may_be_own_work(FRESH, deletion("namespaces"), NOW, user(KIRO), NOW)
    assert not may_be_own_work(FRESH, deletion("namespaces"), NOW, user(""), NOW)
    claim = replace(deletion("persistentvolumeclaims", within="x"), annotations=MINE.annotations)
    assert not may_be_own_work(FRESH, claim, NOW, user(KIRO), NOW)


# ── the latch ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

TWO = change_request(required=2)


@pytest.mark.parametrize(
    ("objects", "closed"),
    [
        pytest.param((environment(),), False, id="nothing has happened yet"),
        pytest.param((environment(registration=Registration.OPEN),), False, id="open"),
        pytest.param((environment(registration=Registration.CLOSED),), True, id="closed by its field"),
        pytest.param((environment("other"),), True, id="default is missing"),
        pytest.param((environment(), TWO, approval(TWO)), False, id="one signature of two"),
        pytest.param((environment(), TWO, approval(TWO), approval(TWO, name="again")), False, id="one person twice"),
        pytest.param((environment(), TWO, approval(TWO), approval(TWO, "carol", verdict=Verdict.REJECT)), False, id="one and a rejection"),
        pytest.param((environment(), TWO, approval(TWO), approval(TWO, "carol")), True, id="approved"),
        pytest.param((environment(), TWO, approval(TWO), approval(TWO, "carol"), person("bob")), True, id="a signer was removed since"),
        pytest.param(
            (environment(), TWO, approval(TWO), approval(TWO, "carol"), person("bob", keys=())), True, id="keys were removed since"
        ),
        pytest.param(
            (environment(registration=Registration.OPEN), TWO, approval(TWO), approval(TWO, "carol")), True, id="approved, field open"
        ),
    ],
)
def test_registration_closes_for_good(objects: tuple[object, ...], closed: bool) -> None:
    assert registration_is_closed(snapshot(*objects)) is closed


def test_who_signs_for_a_new_voice() -> None:
    world = snapshot(
        environment(teams=("ops",)), environment("open"), environment("sre", teams=("sre", "dba")), environment("web", teams=("web",))
    )
    assert names(given_a_voice(person("erin", teams=("dba",)), world)) == {"default", "open", "sre"}
    assert names(given_a_voice(person("erin"), world)) == {"default", "open"}
