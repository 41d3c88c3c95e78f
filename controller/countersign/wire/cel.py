"""Identities, selectors and names as CEL, the expression language of Kubernetes admission.

Two rules hold everywhere. No expression can fail for want of a field: under `failurePolicy: Fail` a matchCondition that errors
refuses everybody (apiserver webhook/matchconditions/matcher.go), so every optional field stands behind `has()` or `?.`. And no text of
a person ends up outside a string literal: `literal` writes ASCII only and reads back as the same text.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from countersign.domain.identify import BUILTIN_CONTROLLERS, SERVICE_ACCOUNT, is_glob
from countersign.domain.resources import ProtectedEnvironment, Requirement, Selector, Subject, SubjectKind

USERNAME: Final = 'request.userInfo.?username.orValue("")'
FALSE: Final = "false"
TRUE: Final = "true"


@dataclass(frozen=True, slots=True)
class Asker:
    """Where an expression finds who asks: CEL for the username, the groups and the extra. The username is never absent."""

    username: str
    groups: str
    extra: str


ADMISSION: Final = Asker(USERNAME, "request.userInfo.groups", "request.userInfo.extra")
ACCESS: Final = Asker("request.user", "request.groups", "request.extra")
"""A SubjectAccessReview's spec, every text of which is there (apiserver pkg/authorization/cel/compile.go)."""

_PLAIN: Final = frozenset(" !#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[]^_`abcdefghijklmnopqrstuvwxyz{|}~")
_REGEX_WORDS: Final = frozenset(" !\"#%&',-/0123456789:;<=>@ABCDEFGHIJKLMNOPQRSTUVWXYZ_`abcdefghijklmnopqrstuvwxyz~")


def literal(value: str) -> str:
    """A CEL string literal of any text. Raises ValueError for a lone surrogate, which is no text."""
    return '"' + "".join(char if char in _PLAIN else _escaped(char) for char in value) + '"'


def _escaped(char: str) -> str:
    code = ord(char)
    if 0xD800 <= code <= 0xDFFF:  # noqa: PLR2004  # the surrogates of Unicode
        raise ValueError(f"a text holds the lone surrogate U+{code:04X}")
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"  # noqa: PLR2004  # the basic plane of Unicode


def literals(values: Iterable[str]) -> str:
    """A CEL list of string literals."""
    return "[" + ", ".join(literal(value) for value in values) + "]"


def constant(value: Any) -> str:
    """A JSON value as CEL. The values of a map are `dyn`: the API server's CEL takes no map of values of several types."""
    match value:
        case bool():
            return TRUE if value else FALSE
        case int():
            return str(value)
        case str():
            return literal(value)
        case Mapping():
            return mapped({key: f"dyn({constant(each)})" for key, each in value.items()})
        case Sequence():
            return "[" + ", ".join(constant(each) for each in value) + "]"
        case _:
            raise TypeError(f"{type(value).__name__} is no constant of these expressions")


def mapped(values: Mapping[str, str]) -> str:
    """A CEL map from string literals to CEL expressions."""
    return "{" + ", ".join(f"{literal(key)}: {value}" for key, value in values.items()) + "}"


def every(*conditions: str) -> str:
    """All of the conditions; nothing is true of none."""
    return " && ".join(_grouped(condition) for condition in conditions) or TRUE


def some(*conditions: str) -> str:
    """Any of the conditions; none is false."""
    return " || ".join(_grouped(condition) for condition in conditions) or FALSE


def negated(condition: str) -> str:
    return f"!({condition})"


def _grouped(condition: str) -> str:
    return condition if condition in {TRUE, FALSE} else f"({condition})"


def username_in(names: Iterable[str], asker: Asker = ADMISSION) -> str:
    """One `in` over all exact names: the API server makes a set of the constant list."""
    listed = tuple(names)
    return f"{asker.username} in {literals(listed)}" if listed else FALSE


def glob_regex(pattern: str) -> str:
    """An RE2 that matches the whole of a text as `domain.identify.glob` does: `*` any run of characters, `?` any one."""
    parts = {"*": ".*", "?": "."}
    return "^(?s:" + "".join(parts.get(char) or _regex_escaped(char) for char in pattern) + ")$"


def _regex_escaped(char: str) -> str:
    return char if char in _REGEX_WORDS else f"\\x{{{ord(char):x}}}"


def glob_matches(text: str, patterns: Iterable[str]) -> str:
    """Whether the CEL string expression `text` is one of the names or matches one of the globs."""
    listed = tuple(patterns)
    exact = [name for name in listed if not is_glob(name)]
    conditions = [f"{text} in {literals(exact)}"] if exact else []
    conditions += [f"{text}.matches({literal(glob_regex(pattern))})" for pattern in listed if is_glob(pattern)]
    return some(*conditions)


def subject_matches(subject: Subject, asker: Asker = ADMISSION) -> str:
    """The same answer as `domain.identify.matches`, over who asks."""
    conditions = [_name_matches(subject, asker), *(_in_group(group, asker) for group in subject.groups)]
    conditions += [_extra_matches(key, patterns, asker) for key, patterns in sorted(subject.extra.items())]
    return every(*conditions) if len(conditions) > 1 else conditions[0]


def _name_matches(subject: Subject, asker: Asker) -> str:
    match subject.kind:
        case SubjectKind.SERVICE_ACCOUNT:
            prefix = f"{SERVICE_ACCOUNT}{subject.namespace}:"
            if subject.name == "*":
                return f"{asker.username}.startsWith({literal(prefix)})"
            return f"{asker.username} == {literal(prefix + subject.name)}"
        case SubjectKind.USER:
            return glob_matches(asker.username, (subject.name,))
        case SubjectKind.GROUP:
            return _in_group(subject.name, asker)


def _in_group(group: str, asker: Asker) -> str:
    return f"has({asker.groups}) && {literal(group)} in {asker.groups}"


def _extra_matches(key: str, patterns: Iterable[str], asker: Asker) -> str:
    return every(
        f"has({asker.extra})",
        f"{literal(key)} in {asker.extra}",
        f"{asker.extra}[{literal(key)}].exists(value, {glob_matches('value', patterns)})",
    )


def is_builtin() -> str:
    """The cluster's own controllers (invariant 9)."""
    return username_in(sorted(BUILTIN_CONTROLLERS))


def is_human() -> str:
    return negated(f'{USERNAME}.startsWith("system:")')


def is_machine() -> str:
    """A ServiceAccount or a `system:` name that is no built-in controller."""
    return every(f'{USERNAME}.startsWith("system:")', negated(is_builtin()))


def selector_matches(selector: Selector, tree: str) -> str:
    """Whether the labels of the CEL object `tree` match; `tree` must not be null."""
    conditions = [_label_in(tree, key, (value,)) for key, value in sorted(selector.match_labels.items())]
    return every(*conditions, *(_requirement_holds(requirement, tree) for requirement in selector.match_expressions))


def _requirement_holds(requirement: Requirement, tree: str) -> str:
    match requirement.operator:
        case "In":
            return _label_in(tree, requirement.key, requirement.values)
        case "NotIn":
            return negated(_label_in(tree, requirement.key, requirement.values))
        case "Exists":
            return _has_label(tree, requirement.key)
        case "DoesNotExist":
            return negated(_has_label(tree, requirement.key))
        case operator:
            raise ValueError(f"unknown selector operator {operator!r}")


def _has_label(tree: str, key: str) -> str:
    return f"has({tree}.metadata.labels) && {literal(key)} in {tree}.metadata.labels"


def _label_in(tree: str, key: str, values: Iterable[str]) -> str:
    return f"{_has_label(tree, key)} && {tree}.metadata.labels[{literal(key)}] in {literals(values)}"


def covers(environment: ProtectedEnvironment, tree: str) -> str:
    """The same answer as `ProtectedEnvironment.covers`, over the Namespace object `tree`."""
    selected = selector_matches(environment.selector, tree)
    if not environment.exclude:
        return selected
    return every(negated(f"{tree}.metadata.name in {literals(environment.exclude)}"), selected)


def optional_name() -> str:
    """The name of the object that a request is about; "" where the API server has not made it yet."""
    return '(object != null ? object : oldObject).metadata.?name.orValue("")'
