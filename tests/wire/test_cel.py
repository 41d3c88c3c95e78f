"""The CEL that we write says what the domain's functions say, for any text and any missing field."""

import string
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from countersign.domain.identify import glob, matches
from countersign.domain.request import UserInfo
from countersign.domain.resources import Meta, ProtectedEnvironment, ProtectFrom, Requirement, Selector, Subject, SubjectKind
from countersign.wire import cel
from tests.support.cel import CelError, evaluate, re2, read_literal

TEXT = st.text(st.one_of(st.sampled_from("ab:/*?.\\\"'`$^|()[]{}\n\r\t\x00\x7f"), st.characters(exclude_categories=["Cs"])), max_size=12)
NASTY = ['"', "\\", '\\"', "\n", "\r\n", "\x00", "é", "𝔘", "\u2028", '" || true || "', "\\u0041", "a\\", "{{x}}", "''", "?", "\x7f"]


class TestLiteral:
    @given(TEXT)
    def test_reads_back_as_the_same_text(self, text: str) -> None:
        assert read_literal(cel.literal(text)) == text

    @given(TEXT, TEXT)
    def test_two_texts_never_share_a_literal(self, one: str, other: str) -> None:
        assert (cel.literal(one) == cel.literal(other)) == (one == other)

    @given(TEXT)
    def test_is_one_token_of_printable_ascii(self, text: str) -> None:
        written = cel.literal(text)
        assert written.isascii()
        assert written.isprintable()
        assert evaluate(written) == text

    @pytest.mark.parametrize("text", NASTY)
    def test_nasty_texts(self, text: str) -> None:
        assert evaluate(f"value == {cel.literal(text)}", value=text) is True
        assert evaluate(f"value == {cel.literal(text)}", value=text + "x") is False

    def test_half_a_character_is_refused(self) -> None:
        with pytest.raises(ValueError, match="surrogate U\\+D800"):
            cel.literal("a\ud800")


class TestGlob:
    @given(st.text("ab*?.\\$(\n", max_size=6), st.text("ab*?.\\$(\n", max_size=6))
    def test_as_the_domain_has_it(self, pattern: str, text: str) -> None:
        assert bool(re2(cel.glob_regex(pattern)).search(text)) == bool(glob(pattern).fullmatch(text))

    @given(TEXT)
    def test_every_text_matches_itself_when_it_is_no_glob(self, text: str) -> None:
        plain = text.replace("*", "").replace("?", "")
        assert re2(cel.glob_regex(plain)).search(plain)
        assert not re2(cel.glob_regex(plain)).search(plain + "\n")
        assert not re2(cel.glob_regex(plain)).search("x" + plain)

    def test_is_anchored(self) -> None:
        assert not re2(cel.glob_regex("a*c")).search("xac")
        assert not re2(cel.glob_regex("a*c")).search("acx")
        assert re2(cel.glob_regex("a*c")).search("a\n\nc")

    def test_nothing_of_a_name_is_regex(self) -> None:
        assert cel.glob_regex("a.(b)|") == r"^(?s:a\x{2e}\x{28}b\x{29}\x{7c})$"


NAMES = st.sampled_from(
    ["kiro", "system:serviceaccount:agents:kiro", "system:serviceaccount:agents:x", "arn:aws/kiro/1", "a\nb", "k*", "?", ""]
)
GROUPS = st.sampled_from(["ai", "ai-agents", "system:authenticated", "g\\"])
GLOBS = st.sampled_from(["kiro", "k*", "?iro", "arn:aws/*", "*", "a?b", "k\\*"])
SUBJECTS = st.builds(
    Subject,
    kind=st.sampled_from(SubjectKind),
    name=st.one_of(NAMES.filter(bool), GLOBS, GROUPS),
    namespace=st.sampled_from(["agents", "other"]),
    groups=st.lists(GROUPS, max_size=2).map(tuple),
    extra=st.dictionaries(st.sampled_from(["k/x", "y"]), st.lists(GLOBS, min_size=1, max_size=2).map(tuple), max_size=2),
)
USERS = st.builds(
    UserInfo,
    username=NAMES,
    groups=st.frozensets(GROUPS),
    extra=st.dictionaries(st.sampled_from(["k/x", "y", "z"]), st.lists(NAMES, max_size=2).map(tuple), max_size=2),
)


def user_info(user: UserInfo) -> Mapping[str, Any]:
    """As the API server hands it to CEL: what is empty is not there (`omitempty`)."""
    parts = {"username": user.username, "groups": sorted(user.groups), "extra": {key: list(values) for key, values in user.extra.items()}}
    return {key: value for key, value in parts.items() if value}


class TestSubject:
    @given(SUBJECTS, USERS)
    def test_as_the_domain_has_it(self, subject: Subject, user: UserInfo) -> None:
        said = evaluate(cel.subject_matches(subject), request={"userInfo": user_info(user)})
        assert said is matches(subject, user)

    def test_a_user_without_anything_is_no_error(self) -> None:
        subject = Subject(SubjectKind.USER, "x*", groups=("g",), extra={"k": ("v",)})
        assert evaluate(cel.subject_matches(subject), request={"userInfo": {}}) is False

    def test_all_of_a_namespace_stops_at_its_name(self) -> None:
        subject = Subject(SubjectKind.SERVICE_ACCOUNT, "*", namespace="agents")
        assert evaluate(cel.subject_matches(subject), request={"userInfo": {"username": "system:serviceaccount:agents:x"}}) is True
        assert evaluate(cel.subject_matches(subject), request={"userInfo": {"username": "system:serviceaccount:agents-2:x"}}) is False


KEYS = st.sampled_from(["team", "tier", "a.b/c"])
VALUES = st.sampled_from(["", "prod", "dev"])
LABELS = st.dictionaries(KEYS, VALUES, max_size=3)
REQUIREMENTS = st.one_of(
    st.builds(Requirement, KEYS, st.sampled_from(["In", "NotIn"]), st.lists(VALUES, min_size=1, max_size=2).map(tuple)),
    st.builds(Requirement, KEYS, st.sampled_from(["Exists", "DoesNotExist"])),
)
SELECTORS = st.builds(Selector, match_labels=LABELS, match_expressions=st.lists(REQUIREMENTS, max_size=3).map(tuple))


class TestEnvironment:
    @given(SELECTORS, LABELS, st.booleans(), st.sampled_from([(), ("payments",), ("other",)]))
    def test_as_the_domain_has_it(self, selector: Selector, labels: dict[str, str], absent: bool, exclude: tuple[str, ...]) -> None:
        environment = ProtectedEnvironment(Meta("e"), ProtectFrom.AGENTS, selector, exclude)
        metadata = {"name": "payments"} if absent else {"name": "payments", "labels": labels}
        said = evaluate(cel.covers(environment, "oldObject"), oldObject={"metadata": metadata})
        assert said is environment.covers("payments", {} if absent else labels)

    def test_an_empty_selector_is_everything(self) -> None:
        assert cel.selector_matches(Selector(), "object") == "true"

    def test_an_unknown_operator_is_not_guessed_at(self) -> None:
        with pytest.raises(ValueError, match="unknown selector operator 'Maybe'"):
            cel.selector_matches(Selector(match_expressions=(Requirement("a", "Maybe"),)), "object")


class TestJoining:
    def test_nothing_is_all_of_nothing_and_none_of_it(self) -> None:
        assert (cel.every(), cel.some()) == ("true", "false")

    @given(st.lists(st.booleans(), max_size=4))
    def test_precedence_is_never_left_to_the_reader(self, values: list[bool]) -> None:
        parts = [f"{str(value).lower()} || false" for value in values]
        assert evaluate(cel.every(*parts)) is all(values)
        assert evaluate(cel.negated(cel.some(*parts))) is not any(values)

    def test_no_name_at_all_is_nobody(self) -> None:
        assert cel.username_in([]) == "false"


class TestWho:
    @pytest.mark.parametrize(
        ("username", "human", "machine", "builtin"),
        [
            ("alice@example.com", True, False, False),
            ("kubernetes-admin", True, False, False),
            ("system:serviceaccount:ci:deployer", False, True, False),
            ("system:serviceaccount:kube-system:anything-else", False, True, False),
            ("system:serviceaccount:kube-system:namespace-controller", False, False, True),
            ("system:kube-controller-manager", False, False, True),
            ("system:node:n1", False, True, False),
        ],
    )
    def test_who_is_who(self, username: str, human: bool, machine: bool, builtin: bool) -> None:
        request = {"userInfo": {"username": username}}
        said = [evaluate(expression, request=request) for expression in (cel.is_human(), cel.is_machine(), cel.is_builtin())]
        assert said == [human, machine, builtin]


class TestTheSimulation:
    """What makes the tests above mean something."""

    def test_a_missing_field_is_an_error(self) -> None:
        with pytest.raises(CelError, match="no such key: labels"):
            evaluate("oldObject.metadata.labels['a'] == 'b'", oldObject={"metadata": {}})

    def test_an_error_is_absorbed_by_a_side_that_decides(self) -> None:
        assert evaluate("x.y || true", x={}) is True
        assert evaluate("x.y && false", x={}) is False
        with pytest.raises(CelError):
            evaluate("x.y || false", x={})

    def test_unknown_escapes_are_refused(self) -> None:
        with pytest.raises(CelError, match="unknown escape"):
            evaluate(r'"\q"')

    def test_a_line_break_in_a_literal_is_no_cel(self) -> None:
        with pytest.raises(ValueError, match="not CEL"):
            evaluate('"a\nb"')

    def test_letters_of_an_escape_matter(self) -> None:
        assert read_literal('"' + r"\u0041\U0001d518" + '"') == "A𝔘"
        assert string.printable not in read_literal('"x"')
