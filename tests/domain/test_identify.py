"""Who asks: from `userInfo` alone."""

import json
import re
import time
from fnmatch import translate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from countersign.domain.identify import BUILTIN_CONTROLLERS, Agent, Directory, Human, Machine, exact_username, glob, identify, matches
from countersign.domain.request import UserInfo
from countersign.domain.resources import Subject, SubjectKind
from tests.support.objects import KIRO, account, identity, person, user

USER, GROUP = SubjectKind.USER, SubjectKind.GROUP


def named(name: str, **fields: object) -> Subject:
    return Subject(USER, name, **fields)  # type: ignore[arg-type]  # rows of a table name fields of several types


def group(name: str) -> Subject:
    return Subject(GROUP, name)


MATCHES = [
    ("an account by its full name", account("agents", "kiro"), user(KIRO), True),
    ("an account of that name elsewhere", account("agents", "kiro"), user("system:serviceaccount:other:kiro"), False),
    ("an account whose name goes on", account("agents", "kiro"), user(KIRO + "2"), False),
    ("all accounts of a namespace", account("agents", "*"), user("system:serviceaccount:agents:any"), True),
    ("not those of a namespace that begins alike", account("agents", "*"), user("system:serviceaccount:agents2:any"), False),
    ("a user by name", named("kiro"), user("kiro"), True),
    ("a user of another case", named("kiro"), user("Kiro"), False),
    ("a glob is anchored at its end", named("arn:*:kiro"), user("arn:aws:kiro/x"), False),
    ("a glob is anchored at its start", named("kiro/*"), user("not-kiro/x"), False),
    ("a star takes anything, newlines too", named("kiro/*"), user("kiro/a\nb"), True),
    ("a star takes nothing", named("kiro/*"), user("kiro/"), True),
    ("a question mark takes one", named("kiro-?"), user("kiro-7"), True),
    ("a question mark does not take none", named("kiro-?"), user("kiro-"), False),
    ("a dot is a dot", named("k.ro*"), user("kiro"), False),
    ("brackets are no class", named("[k]iro*"), user("kiro"), False),
    ("a group", group("ai-agents"), user("x", "ai-agents"), True),
    ("a group's name is no glob", group("ai-*"), user("x", "ai-agents"), False),
    ("a user's name is no group", group("ai-agents"), user("ai-agents"), False),
    ("all of the groups", named("*", groups=("a", "b")), user("x", "a", "b", "c"), True),
    ("one of the groups is missing", named("*", groups=("a", "b")), user("x", "a"), False),
    ("an extra value by glob", named("x", extra={"s": ("k*",)}), user("x", s=("no", "kiro")), True),
    ("no extra value fits", named("x", extra={"s": ("k*",)}), user("x", s=("no",)), False),
    ("the extra key is missing", named("x", extra={"s": ("*",)}), user("x"), False),
    ("every extra key", named("x", extra={"s": ("*",), "t": ("*",)}), user("x", s=("1",)), False),
    ("an account also by its group", account("agents", "kiro"), user(KIRO, "any"), True),
]


@pytest.mark.parametrize(("subject", "who", "expected"), [pytest.param(*row[1:], id=row[0]) for row in MATCHES])
def test_a_subject_matches(subject: Subject, who: UserInfo, expected: bool) -> None:
    assert matches(subject, who) is expected
    found = Directory([identity("x", subject)], []).identify(who)
    assert isinstance(found, Agent) is expected, "the index must say what the subject says"


@settings(max_examples=500)
@given(st.text("ab**?.[]^$\\\n", max_size=8), st.text("aab.[]\n", max_size=8))
def test_globs_are_those_of_the_shell_without_classes(pattern: str, text: str) -> None:
    expected = re.compile(translate(pattern.replace("[", "[[]"))).match(text)
    assert bool(glob(pattern).fullmatch(text)) == bool(expected)


def test_many_stars_cost_no_more_than_one() -> None:
    begun = time.process_time()
    assert not glob("*a" * 30 + "b").fullmatch("a" * 3000)
    assert time.process_time() - begun < 1


@pytest.mark.parametrize(
    ("username", "expected"),
    [
        (KIRO, Agent),
        ("system:serviceaccount:agents:other", Machine),
        ("system:node:n1", Machine),
        ("system:anonymous", Machine),
        ("system:kube-controller-manager", Machine),
        ("alice@example.com", Human),
        ("System:admin", Human),
        ("", Human),
    ],
)
def test_agent_machine_or_human(username: str, expected: type) -> None:
    assert isinstance(identify(user(username), [identity()], []), expected)


def test_built_in_controllers_are_a_literal_list() -> None:
    def machine(name: str) -> Machine:
        found = identify(user(name), [], [])
        assert isinstance(found, Machine)
        return found

    assert machine("system:kube-controller-manager").builtin
    assert machine("system:serviceaccount:kube-system:namespace-controller").builtin
    assert machine("system:serviceaccount:kube-system:generic-garbage-collector").builtin
    assert not machine("system:serviceaccount:kube-system:my-namespace-controller").builtin
    assert not machine("system:serviceaccount:default:namespace-controller").builtin
    assert not machine("system:kube-scheduler").builtin
    assert not any("*" in name for name in BUILTIN_CONTROLLERS)


def test_an_agent_is_an_agent_though_a_reviewer_bears_the_name() -> None:
    found = identify(user("bob@example.com", "ai-agents"), [identity("a", group("ai-agents"))], [person("bob")])
    assert isinstance(found, Agent)


def test_a_human_is_the_person_of_that_username() -> None:
    people = [person("bob", usernames=("bob@example.com", "oidc:bob"))]
    assert identify(user("oidc:bob"), [], people) == Human("oidc:bob", "bob")
    assert identify(user("bob"), [], people) == Human("bob", "")


def test_all_identities_that_match_give_their_sponsors() -> None:
    found = identify(
        user(KIRO, "ai-agents"),
        [
            identity("b", sponsors=("zoe", "alice")),
            identity("a", group("ai-agents"), sponsors=("carol",)),
            identity("c", sponsors=("eve",)),
        ],
        [],
    )
    assert isinstance(found, Agent)
    # b and c are matched by nothing but their own accounts' names, which is not kiro's.
    assert found == Agent(KIRO, ("a",), ("carol",), found.key)
    both = identify(user(KIRO, "ai-agents"), [identity("kiro", sponsors=("zoe", "alice")), identity("a", group("ai-agents"))], [])
    assert both == Agent(KIRO, ("a", "kiro"), ("alice", "zoe"), KIRO)


def test_under_sponsor_from_username_the_human_is_the_sponsor() -> None:
    found = identify(user("alice@example.com"), [identity("a", named("*@example.com"), sponsors=("bob",), sponsor_from_username=True)], [])
    assert isinstance(found, Agent)
    assert found.sponsors == ("alice@example.com", "bob")


@pytest.mark.parametrize(
    ("subjects", "username", "expected"),
    [
        ((account("agents", "kiro"),), KIRO, KIRO),
        ((account("agents", "*"),), KIRO, KIRO),
        ((named("kiro"),), "kiro", "kiro"),
        ((named("k*"),), "kiro", '["x/User:k*"]'),
        ((group("g"),), "kiro", '["x/Group:g"]'),
        ((named("k*"), group("g"), named("*o")), "kiro", '["x/Group:g","x/User:*o","x/User:k*"]'),
        ((named("k*"), named("kiro")), "kiro", "kiro"),
        ((named('["x/Group:g"]'),), '["x/Group:g"]', json.dumps('["x/Group:g"]')),
        # A human may bear the same name: what the agent may do is no act of the human's.
        ((named("kiro", groups=("g",)),), "kiro", '["x/User:kiro"]'),
        ((Subject(SubjectKind.SERVICE_ACCOUNT, "*", "agents", groups=("g",)),), KIRO, f'["x/ServiceAccount:{KIRO}"]'),
        ((named("kiro", groups=("g",)), named("kiro")), "kiro", "kiro"),
    ],
)
def test_the_key_of_an_agent(subjects: tuple[Subject, ...], username: str, expected: str) -> None:
    found = identify(user(username, "g"), [identity("x", *subjects)], [])
    assert json_or_text(found.key) == json_or_text(expected)


def test_an_agent_and_a_human_of_one_name_share_no_act() -> None:
    identities = [identity("a", named("alice", extra={"agent": ("1",)})), identity("b", named("alice", extra={"agent": ("2",)}))]
    users = (user("alice"), user("alice", agent=("1",)), user("alice", agent=("2",)), user("alice", agent=("1", "2")))
    assert len({identify(each, identities, []).key for each in users}) == len(users)


def json_or_text(key: str) -> object:
    return json.loads(key) if key.startswith(("[", '"')) else key


@given(st.text(max_size=12), st.text(max_size=12))
def test_no_two_names_have_the_same_key(one: str, other: str) -> None:
    keys = {identify(user(name), [], []).key for name in (one, other)}
    assert len(keys) == len({one, other})
    assert not any(key.startswith("[") for key in keys), "only a list of subjects begins so"


def test_exact_names_and_others() -> None:
    assert exact_username(account("agents", "kiro")) == KIRO
    assert exact_username(account("agents", "*")) == ""
    assert exact_username(named("kiro")) == "kiro"
    assert exact_username(named("k*")) == ""
    assert exact_username(named("k?")) == ""
    assert exact_username(group("kiro")) == ""


def test_a_name_is_remembered_for_people_only_and_as_it_is() -> None:
    directory = Directory([identity("a", named("bob@*"))], [person("bob")])
    assert directory.named("bob@example.com") == directory.named("bob@example.com") == directory.identify(user("bob@example.com"))
    assert isinstance(directory.named("x"), Human)
    assert set(directory._named) == {"bob@example.com"}
