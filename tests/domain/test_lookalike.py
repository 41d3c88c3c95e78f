"""Names that people cannot tell apart: refused where nobody can see it, a warning where it can be seen but mistaken."""

import time

import pytest

from countersign.domain.lookalike import mistakable, unseen
from countersign.domain.resources import Subject, SubjectKind
from countersign.domain.selfcheck import check_environment, check_identity, check_reviewer
from tests.support.objects import NOW, environment, identity, person, snapshot, user

WORLD = snapshot(environment(), person("alice", usernames=("alice",)), person("bob"), identity())
CYRILLIC_ALICE = "\u0430lice"
BY = user("erin@example.com")

UNSEEN = {
    "a newline": "ali\nce",
    "a NUL": "alice\0",
    "a tab": "ali\tce",
    "an escape": "alice\x1b[2K",
    "a delete": "alice\x7f",
    "a C1 control": "ali\x85ce",
    "zero width": "ali\u200bce",
    "a joiner": "ali\u200dce",
    "a byte order mark": "\ufeffalice",
    "a soft hyphen": "ali\u00adce",
    "from right to left": "\u202eecila",
    "an isolate": "ali\u2066ce",
    "a tag": "alice\U000e0061",
    "a lone surrogate": "ali\ud800ce",
    "a line separator": "ali\u2028ce",
    "a private character": "ali\ue000ce",
    "a noncharacter": "ali\uffffce",
    "a space that does not break": "ali\u00a0ce",
    "an ideographic space": "ali\u3000ce",
    "a space before": " alice",
    "a space after": "alice ",
}
SEEN = [
    "alice",
    "alice@example.com",
    "oidc:Jane Doe",
    "Jos\u00e9",
    "\u0410\u043b\u0438\u0441\u0430",
    "\u5c71\u7530\u305f\u308d\u3046",
    "a" * 1024,
]
MISTAKABLE = {
    "one Cyrillic letter": (CYRILLIC_ALICE, "'\\u0430lice' differs from 'alice' only by"),
    "all Cyrillic": ("\u0430\u04cf\u0456\u0441\u0435", "differs from 'alice' only by"),
    "wide letters": ("\uff41\uff4c\uff49\uff43\uff45", "differs from 'alice' only by"),
    "decomposed": ("Jose\u0301", "is not in Unicode's composed form"),
    "two scripts": ("p\u0430yments", "mixes letters of CYRILLIC and LATIN"),
    "Greek and Latin": ("\u03bfps", "mixes letters of GREEK and LATIN"),
}


@pytest.mark.parametrize("name", UNSEEN.values(), ids=UNSEEN)
def test_what_nobody_sees_is_refused_wherever_a_name_stands(name: str) -> None:
    assert unseen(name)
    extra = Subject(SubjectKind.GROUP, "ai", extra={"key": (name,)})
    new = [
        check_reviewer(person("dan", usernames=("dan@example.com", name)), WORLD, NOW),
        check_identity(identity("new", Subject(SubjectKind.USER, name)), WORLD, our_namespace="countersign", by=BY),
        check_identity(identity("new", Subject(SubjectKind.GROUP, name)), WORLD, our_namespace="countersign", by=BY),
        check_identity(identity("new", Subject(SubjectKind.USER, "x", groups=(name,))), WORLD, our_namespace="countersign", by=BY),
        check_identity(identity("new", extra), WORLD, our_namespace="countersign", by=BY),
        check_identity(identity("new", Subject(SubjectKind.USER, "x"), sponsors=(name,)), WORLD, our_namespace="countersign", by=BY),
        check_environment(environment("new", exceptions=(Subject(SubjectKind.USER, name),)), WORLD, closed=False, now=NOW),
    ]
    for findings in new:
        [sentence] = [error for error in findings.errors if "nobody can see" in error]
        assert sentence.isascii()
        assert sentence.isprintable()


@pytest.mark.parametrize("name", SEEN)
def test_names_of_every_script_are_somebodys(name: str) -> None:
    assert unseen(name) == ""
    assert mistakable(name, ["bob", "Jose", "\u5c71\u7530"]) == ""


@pytest.mark.parametrize(("name", "sentence"), MISTAKABLE.values(), ids=MISTAKABLE)
def test_what_can_be_mistaken_is_a_warning(name: str, sentence: str) -> None:
    findings = check_reviewer(person("dan", usernames=(name,)), WORLD, NOW)
    assert findings.errors == ()
    [warning] = findings.warnings
    assert sentence in warning
    assert warning.isascii()
    agent = check_identity(identity("new", Subject(SubjectKind.USER, name)), WORLD, our_namespace="countersign", by=BY)
    assert agent.errors == ()
    assert any(sentence in warning for warning in agent.warnings)


def test_the_plain_name_is_told_of_its_forged_twin() -> None:
    world = snapshot(environment(), person("mallory", usernames=(CYRILLIC_ALICE,)), person("bob"), identity())
    [warning] = check_reviewer(person("alice", usernames=("alice",)), world, NOW).warnings
    assert "'alice' differs from '\\u0430lice'" in warning


def test_a_person_may_bear_both(  # one reviewer's own names are not held against each other
) -> None:
    assert check_reviewer(person("dan", usernames=("Jos\u00e9", "jose")), WORLD, NOW).warnings == ()


def test_the_longest_lists_take_no_time() -> None:
    crowd = [person(f"r-{number}", usernames=tuple(f"\u0430{number}-{n}" for n in range(64)), keys=()) for number in range(100)]
    world = snapshot(environment(), *crowd)
    began = time.perf_counter()
    check_reviewer(person("dan", usernames=tuple(f"\u0435{n}" * 300 for n in range(64))), world, NOW)
    assert time.perf_counter() - began < 3
