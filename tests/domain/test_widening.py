"""`whenAgentsCanImpersonate: Widen`: whom an agent could become counts as that agent, in that environment and in no other."""

from dataclasses import replace
from datetime import timedelta

import pytest

from countersign.domain.answer import Reason
from countersign.domain.approval import Phase, standing
from countersign.domain.classify import ENVIRONMENTS, Deletion, Setting
from countersign.domain.decide import Facts, Permit, Withhold, decide, holding
from countersign.domain.identify import Agent, Directory, Human, Machine
from countersign.domain.marks import level_of
from countersign.domain.names import ANNOTATION_CREATED_BY
from countersign.domain.protect import Hold, hold
from countersign.domain.register import setting_hold
from countersign.domain.request import Operation, UserInfo
from countersign.domain.resources import (
    ANYBODY,
    Becoming,
    Change,
    Losses,
    Meta,
    Mode,
    ProtectFrom,
    Registration,
    Subject,
    SubjectKind,
    Target,
    WhenImpersonated,
)
from countersign.domain.selfcheck import check_environment
from countersign.domain.snapshot import Snapshot
from countersign.service.lifecycle import environments_now
from countersign.service.opening import draft_request
from tests.support.objects import HOUR, KIRO, NOW, account, approval, environment, identity, namespace, person, snapshot, user

WIDEN = WhenImpersonated.WIDEN
FLUX, KCM = "system:serviceaccount:flux:kustomize", "system:kube-controller-manager"
ROGUE = identity("rogue", sponsors=("alice",), could_become=ANYBODY)
MINTER = identity("minter", sponsors=("dave",), could_become=Becoming(accounts=frozenset({"flux/*"})))
HARMLESS = identity("kiro", could_become=Becoming())
WIDE = environment("wide", when_impersonated=WIDEN)
PLAIN = environment("plain")
BOB = person("bob")


def world(*others: object) -> Snapshot:
    return snapshot(ROGUE, MINTER, HARMLESS, WIDE, PLAIN, BOB, namespace("payments"), *others)


def deletion(**annotations: str) -> Deletion:
    return Deletion(Target("", "v1", "namespaces", "payments", "", "uid"), Change("sha256:x"), {}, annotations, "")


def facts(who: UserInfo, state: Snapshot, change: Deletion | None = None) -> Facts:
    change = change or deletion()
    held = holding(change, state.directory.identify(who), who, state)
    widened = any(each.widens for each in held.held)
    asker = state.directory.counted(who) if widened else state.directory.identify(who)
    return Facts(asker, who, change, state, NOW, HOUR, held, created=NOW - timedelta(minutes=1))


# --- whom a requester counts as -------------------------------------------------------------------

COUNTED = [
    ("a human whom one could become", "bob@example.com", ("rogue",), ("alice",)),
    ("an account whom two could become", FLUX, ("minter", "rogue"), ("alice", "dave")),
    ("an account whom one could become", "system:serviceaccount:ci:deployer", ("rogue",), ("alice",)),
    ("a system name", "system:apiserver", ("rogue",), ("alice",)),
    ("an agent: its own identity, and who could become it", KIRO, ("kiro", "rogue"), ("alice",)),
]


@pytest.mark.parametrize(("username", "identities", "sponsors"), [pytest.param(*row[1:], id=row[0]) for row in COUNTED])
def test_as_whom_a_requester_counts(username: str, identities: tuple[str, ...], sponsors: tuple[str, ...]) -> None:
    counted = world().directory.counted(user(username))
    assert isinstance(counted, Agent)
    assert (counted.identities, counted.sponsors, counted.key) == (identities, sponsors, username)


def test_what_is_behind_a_name_stays_known() -> None:
    directory = world().directory
    human, machine, agent = (directory.counted(user(name)) for name in ("bob@example.com", FLUX, KIRO))
    assert isinstance(human, Agent)
    assert isinstance(machine, Agent)
    assert isinstance(agent, Agent)
    assert human.guise == Human("bob@example.com", "bob")
    assert machine.guise == Machine(FLUX, builtin=False)
    assert agent.guise is None


@pytest.mark.parametrize("username", [KCM, "system:serviceaccount:kube-system:generic-garbage-collector"])
def test_the_clusters_own_controllers_count_as_nobody_else(username: str) -> None:
    state = world()
    assert state.directory.counted(user(username)) == Machine(username, builtin=True)
    assert isinstance(decide(facts(user(username), state)), Permit)


def test_where_no_agent_could_become_anybody_nobody_is_more() -> None:
    directory = Directory((HARMLESS,), (BOB,))
    assert directory.counted(user("bob@example.com")) == Human("bob@example.com", "bob")


def test_what_is_not_known_yet_is_everybody() -> None:
    directory = Directory((identity("new"),), ())
    assert isinstance(directory.counted(user("bob@example.com")), Agent)


# --- who is held back -----------------------------------------------------------------------------


def test_it_holds_in_that_environment_alone() -> None:
    state = world()
    for name in ("bob@example.com", FLUX):
        who = user(name)
        held = hold((WIDE, PLAIN), state.directory.identify(who), who, state.directory)
        assert [each.meta.name for each in held.held] == ["wide"]


def test_report_changes_nothing_for_anybody() -> None:
    state = snapshot(ROGUE, PLAIN, BOB, namespace("payments"))
    for name in ("bob@example.com", FLUX):
        assert decide(facts(user(name), state)) == Permit(Reason.NOT_HELD)


def test_exceptions_are_for_no_agent() -> None:
    state = world()
    excepting = replace(WIDE, exceptions=(account("flux", "kustomize"),))
    who = user(FLUX)
    assert hold((excepting,), state.directory.identify(who), who, state.directory) == Hold((excepting,), ())


def test_audit_stays_audit() -> None:
    state = snapshot(ROGUE, replace(WIDE, mode=Mode.AUDIT), namespace("payments"))
    assert decide(facts(user("bob@example.com"), state)).reason is Reason.AUDIT


def test_own_work_is_not_told_from_an_agents() -> None:
    state = snapshot(ROGUE, environment("wide", when_impersonated=WIDEN, own_work=HOUR), namespace("payments"))
    fresh = deletion(**{ANNOTATION_CREATED_BY: "bob@example.com"})
    assert isinstance(decide(facts(user("bob@example.com"), state, fresh)), Withhold)
    own = deletion(**{ANNOTATION_CREATED_BY: "system:serviceaccount:agents:rogue"})
    assert decide(facts(user("system:serviceaccount:agents:rogue"), state, own)).reason is Reason.OWN_WORK


# --- what is asked for, and who may sign ----------------------------------------------------------


def test_the_change_request_names_who_could_be_behind_it() -> None:
    asked = facts(user("carol@example.com"), world())
    verdict = decide(asked)
    assert isinstance(verdict, Withhold)
    draft = draft_request(asked, verdict, Losses(), timedelta(hours=24))
    assert (draft.requester.username, draft.requester.key) == ("carol@example.com", "carol@example.com")
    assert (draft.requester.agents, draft.requester.sponsors) == (("rogue",), ("alice",))
    assert draft.environments == ("wide",)
    assert draft.required == 2, "one more, since nobody registered asks"


def test_a_second_human_signs_and_neither_requester_nor_sponsor() -> None:
    people = [person("alice"), BOB, person("carol")]
    state = snapshot(ROGUE, WIDE, *people, namespace("payments"))
    asked = facts(user("bob@example.com"), state)
    verdict = decide(asked)
    assert isinstance(verdict, Withhold)
    request = draft_request(asked, verdict, Losses(), timedelta(hours=24))
    request = replace(request, meta=replace(request.meta, name="delete-namespace-payments-00000000"))

    def signed_by(name: str) -> Permit | Withhold:
        return decide(replace(asked, snapshot=snapshot(ROGUE, WIDE, *people, namespace("payments"), request, approval(request, name))))

    assert signed_by("alice").reason is Reason.PENDING, "the sponsor of the agent that could be behind it"
    assert signed_by("bob").reason is Reason.PENDING, "who asked"
    assert signed_by("carol").reason is Reason.APPROVED


BORROWED = [
    ("a glob", Subject(SubjectKind.USER, "*@example.com", groups=("assisted",)), ("alice@example.com", "bob@example.com")),
    ("a name", Subject(SubjectKind.USER, "alice@example.com", groups=("assisted",)), ("alice@example.com",)),
    ("a group alone", Subject(SubjectKind.GROUP, "assisted"), ("alice@example.com", "bob@example.com", "root")),
    ("an account", account("agents", "laptop"), ()),
]


@pytest.mark.parametrize(("subject", "expected"), [pytest.param(*row[1:], id=row[0]) for row in BORROWED])
def test_an_agent_that_hides_its_humans_name_could_be_anybodys(subject: Subject, expected: tuple[str, ...]) -> None:
    """`sponsorFrom: Username`: alice's agent goes by carol's name, and alice, whom nothing names then, would sign for it."""
    laptop = identity("laptop", subject, sponsors=(), sponsor_from_username=True, could_become=ANYBODY)
    people = [person("alice"), BOB, person("root", usernames=("root",))]
    counted = snapshot(laptop, *people).directory.counted(user("carol@example.net"))
    assert isinstance(counted, Agent)
    assert (counted.sponsors, counted.lenders) == ((), expected)
    own = replace(laptop, sponsor_from_username=False, sponsors=("dave",))
    assert snapshot(own, *people).directory.lenders(own) == frozenset()


def test_where_it_only_reports_an_agent_of_a_borrowed_name_has_its_own_sponsor() -> None:
    borrowed = Subject(SubjectKind.USER, "*@example.com", groups=("assisted",))
    laptop = identity("laptop", borrowed, sponsors=(), sponsor_from_username=True, could_become=ANYBODY)
    people = [person("alice"), BOB]
    asked = facts(user("alice@example.com", "assisted"), snapshot(laptop, PLAIN, *people, namespace("payments")))
    verdict = decide(asked)
    assert isinstance(verdict, Withhold)
    request = replace(
        draft_request(asked, verdict, Losses(), timedelta(hours=24)), meta=Meta("delete-namespace-payments-00000000", created=NOW)
    )
    for signer, phase in (("alice", Phase.PENDING), ("bob", Phase.USABLE)):
        assert standing(request, snapshot(laptop, PLAIN, *people, request, approval(request, signer)), NOW).phase is phase


def test_its_human_does_not_sign_for_it() -> None:
    borrowed = Subject(SubjectKind.USER, "*@example.com", groups=("assisted",))
    laptop = identity("laptop", borrowed, sponsors=(), sponsor_from_username=True, could_become=ANYBODY)
    people = [person("alice"), person("dora", usernames=("dora@example.net",)), person("carol", usernames=("carol@example.net",))]
    asked = facts(user("carol@example.net"), snapshot(laptop, WIDE, *people, namespace("payments")))
    verdict = decide(asked)
    assert isinstance(verdict, Withhold)
    request = draft_request(asked, verdict, Losses(), timedelta(hours=24))
    request = replace(request, meta=replace(request.meta, name="delete-namespace-payments-00000000"))
    for signer, reason in (("alice", Reason.PENDING), ("dora", Reason.APPROVED)):
        signed = snapshot(laptop, WIDE, *people, namespace("payments"), request, approval(request, signer))
        assert decide(facts(user("carol@example.net"), signed)).reason is reason, signer
        shown = standing(request, signed, NOW).phase
        assert shown is (Phase.USABLE if reason is Reason.APPROVED else Phase.PENDING), (
            "the operator, and whoever brings the Approval, say the same"
        )
    calm = snapshot(replace(laptop, could_become=Becoming()), WIDE, *people, request, approval(request, "alice"))
    assert standing(request, calm, NOW).phase is Phase.USABLE, "none of it is written down: without that right there is nobody behind it"
    assert request.requester.sponsors == ()


def test_what_was_signed_by_the_sponsor_before_does_not_count_once_it_widens() -> None:
    people = [person("alice"), BOB, person("carol")]
    calm = snapshot(replace(ROGUE, could_become=Becoming()), replace(WIDE, protect_from=ProtectFrom.PEOPLE), *people, namespace("payments"))
    asked = facts(user("bob@example.com"), calm)
    verdict = decide(asked)
    assert isinstance(verdict, Withhold)
    request = draft_request(asked, verdict, Losses(), timedelta(hours=24))
    request = replace(request, meta=replace(request.meta, name="delete-namespace-payments-00000000"))
    assert request.requester.agents == ()
    signed = snapshot(ROGUE, WIDE, *people, namespace("payments"), request, approval(request, "alice"))
    assert decide(facts(user("bob@example.com"), signed)).reason is Reason.PENDING


def test_its_human_does_not_sign_either_where_the_request_was_opened_before_anybody_could_be_behind_it() -> None:
    people = [person("alice"), person("carol", usernames=("carol@example.net",))]
    wide = replace(WIDE, protect_from=ProtectFrom.PEOPLE)
    asked = facts(user("carol@example.net"), snapshot(HARMLESS, wide, *people, namespace("payments")))
    verdict = decide(asked)
    assert isinstance(verdict, Withhold)
    request = draft_request(asked, verdict, Losses(), timedelta(hours=24))
    request = replace(request, meta=replace(request.meta, name="delete-namespace-payments-00000000"))
    signed = [HARMLESS, wide, *people, namespace("payments"), request, approval(request, "alice")]
    assert decide(facts(user("carol@example.net"), snapshot(*signed))).reason is Reason.APPROVED
    borrowed = Subject(SubjectKind.USER, "*@example.com", groups=("assisted",))
    laptop = identity("laptop", borrowed, sponsors=(), sponsor_from_username=True, could_become=ANYBODY)
    assert decide(facts(user("carol@example.net"), snapshot(laptop, *signed))).reason is Reason.PENDING


def test_a_shared_account_needs_one_more_in_each_environment() -> None:
    """Who is nobody registered, and could be an agent: each team would have signed for one of two."""
    one = replace(environment("one", teams=("sre",)), when_impersonated=WIDEN)
    two = replace(environment("two", teams=("web",)), when_impersonated=WIDEN)
    people = [person(name, teams=(team,)) for name, team in (("bob", "sre"), ("carol", "web"), ("dora", "sre"), ("emil", "web"))]
    state = [ROGUE, one, two, *people, namespace("payments")]
    asked = facts(user("erin@example.com"), snapshot(*state))
    verdict = decide(asked)
    assert isinstance(verdict, Withhold)
    request = draft_request(asked, verdict, Losses(), timedelta(hours=24))
    request = replace(request, meta=replace(request.meta, name="delete-namespace-payments-00000000"))
    for signers, reason in ((("bob", "carol"), Reason.PENDING), (("bob", "carol", "dora", "emil"), Reason.APPROVED)):
        signed = snapshot(*state, request, *(approval(request, name) for name in signers))
        assert decide(facts(user("erin@example.com"), signed)).reason is reason, signers


# --- our own settings -----------------------------------------------------------------------------


def setting(operation: Operation = Operation.UPDATE) -> Setting:
    target = Target(ENVIRONMENTS.group, "v1alpha1", ENVIRONMENTS.resource, "wide", "", "uid")
    return Setting(target, Change("sha256:x", "sha256:y"), operation)


def test_going_back_to_report_waits_for_a_second_human_and_is_not_forbidden() -> None:
    state, who = world(), user("bob@example.com")
    found = setting_hold(
        setting(), WIDE, replace(WIDE, when_impersonated=WhenImpersonated.REPORT), state.directory.identify(who), who, state
    )
    assert [each.meta.name for each in found.hold.held] == ["wide"]
    asked = Facts(state.directory.counted(who), who, setting(), state, NOW, HOUR, found.hold)
    assert decide(asked).reason is Reason.PENDING


def test_a_real_agent_stays_forbidden() -> None:
    state, who = world(), user(KIRO)
    asked = Facts(state.directory.counted(who), who, setting(), state, NOW, HOUR, Hold((), ()))
    assert decide(asked).reason is Reason.FORBIDDEN


def test_what_adds_protection_stays_free() -> None:
    state, who = world(), user("bob@example.com")
    found = setting_hold(setting(), WIDE, replace(WIDE, protect_from=ProtectFrom.EVERYONE), state.directory.identify(who), who, state)
    assert found.hold == Hold((), ())


def test_who_is_excepted_registers_nobody_where_it_could_be_an_agent() -> None:
    default = environment(registration=Registration.CLOSED, exceptions=(account("flux", "kustomize"),))
    who = user(FLUX)
    target = Target(ENVIRONMENTS.group, "v1alpha1", "reviewers", "mallory", "", "")
    change = Setting(target, Change(new="sha256:y"), Operation.CREATE)
    for when, free in ((WhenImpersonated.REPORT, True), (WIDEN, False)):
        state = snapshot(ROGUE, replace(default, when_impersonated=when), BOB)
        found = setting_hold(change, None, person("mallory"), state.directory.identify(who), who, state)
        assert (not found.hold.held) is free


# --- what the operator writes ---------------------------------------------------------------------


def test_a_namespace_in_it_is_marked_as_held_back_from_everyone() -> None:
    here = namespace("payments")
    assert level_of(here, [PLAIN]) == "Agents"
    assert level_of(here, [PLAIN, WIDE]) == "Everyone"


# --- what is said when it is chosen ---------------------------------------------------------------


def test_a_warning_says_what_it_means_for_people() -> None:
    people = [person("alice"), BOB, person("carol")]
    found = check_environment(WIDE, snapshot(ROGUE, MINTER, *people), closed=True, now=NOW)
    assert found.errors == ()
    assert "any user (rogue)" in found.warnings[0]
    assert len(found.warnings) == 1, "bob and carol can sign for each other"
    few = check_environment(WIDE, snapshot(ROGUE, *people[:2]), closed=True, now=NOW)
    assert "Without the sponsors of those agents 1 people could sign" in few.warnings[1]


def test_who_may_run_an_agent_of_a_borrowed_name_is_not_counted_as_free_to_sign() -> None:
    borrowed = Subject(SubjectKind.USER, "*@example.com", groups=("assisted",))
    laptop = identity("laptop", borrowed, sponsors=(), sponsor_from_username=True, could_become=ANYBODY)
    found = check_environment(WIDE, snapshot(laptop, person("alice"), BOB, person("carol")), closed=True, now=NOW)
    assert "Without the sponsors of those agents 0 people could sign" in found.warnings[1]


def test_no_warning_where_it_changes_nothing() -> None:
    people = [person("alice"), BOB, person("carol")]
    assert check_environment(WIDE, snapshot(HARMLESS, MINTER, *people), closed=True, now=NOW).warnings == ()
    assert check_environment(PLAIN, snapshot(ROGUE, *people), closed=True, now=NOW).warnings == ()


# --- what the operator shows of a request ---------------------------------------------------------


def test_the_operator_counts_the_environments_that_the_webhook_would() -> None:
    """A bystander's request is held where it widens, and not by those that only hold agents; an agent's by all."""
    state = world()
    for username, expected in (("bob@example.com", {"wide"}), (KIRO, {"wide", "plain"})):
        asked = facts(user(username), state)
        verdict = decide(asked)
        assert isinstance(verdict, Withhold)
        request = draft_request(asked, verdict, Losses(), timedelta(hours=24))
        assert {each.meta.name for each in environments_now(request, state)} == expected


def test_an_agent_that_is_known_by_a_group_alone_stays_one_to_the_operator() -> None:
    member = identity("member", Subject(SubjectKind.GROUP, "ai"), could_become=Becoming())
    state = snapshot(member, PLAIN, namespace("payments"))
    asked = facts(user("somebody", "ai"), state)
    verdict = decide(asked)
    assert isinstance(verdict, Withhold)
    request = draft_request(asked, verdict, Losses(), timedelta(hours=24))
    assert [each.meta.name for each in environments_now(request, state)] == ["plain"]
