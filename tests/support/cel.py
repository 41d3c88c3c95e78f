"""A small interpreter of CEL, for what our expressions use: the API server's language, simulated (github.com/google/cel-spec).

It differs from the real one: no static types, no cost, and only the functions listed in `_FUNCTIONS` and `_METHODS`; whatever else is
used is an error. What matters is the same: a missing field is an error, `&&` and `||` absorb errors, `?.` and `[?]` make optionals, and
string literals are read by the letter of the specification. tests/e2e/test_cel.py and test_guards.py hold the same expressions against a real API server.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

_TOKEN: Final = re.compile(
    r"""\s*(?:(?P<number>\d+)|(?P<string>"(?:[^"\\\n\r]|\\.)*"|'(?:[^'\\\n\r]|\\.)*')|(?P<word>[A-Za-z_][A-Za-z0-9_]*)"""
    r"""|(?P<sign>&&|\|\||==|!=|<=|>=|\[\?|\.\?|[][(){}?:.,!<>+-]))""",
    re.DOTALL,
)
_ESCAPES: Final = {
    "n": "\n",
    "t": "\t",
    "r": "\r",
    "\\": "\\",
    '"': '"',
    "'": "'",
    "`": "`",
    "?": "?",
    "a": "\a",
    "b": "\b",
    "f": "\f",
    "v": "\v",
}
_MACROS: Final = ("exists", "all", "filter", "map")


class Library:
    """An object whose methods a library of Kubernetes adds, such as the authorizer's."""


class CelError(Exception):
    """An evaluation error: under failurePolicy Fail it refuses everybody."""


@dataclass(frozen=True)
class Optional:
    value: Any = None
    present: bool = False


@dataclass(frozen=True)
class Patch:
    """A JSONPatch{} of a MutatingAdmissionPolicy."""

    fields: Mapping[str, Any]


def read_literal(token: str) -> str:
    """The text of a string literal. Raises CelError for an escape that the specification does not know."""
    text, at, body = [], 0, token[1:-1]
    while at < len(body):
        if body[at] != "\\":
            text.append(body[at])
            at += 1
            continue
        kind = body[at + 1]
        digits = {"x": 2, "X": 2, "u": 4, "U": 8}.get(kind)
        if kind in _ESCAPES:
            text.append(_ESCAPES[kind])
            at += 2
        elif digits is not None and re.fullmatch(f"[0-9a-fA-F]{{{digits}}}", body[at + 2 : at + 2 + digits]):
            text.append(chr(int(body[at + 2 : at + 2 + digits], 16)))
            at += 2 + digits
        else:
            raise CelError(f"unknown escape \\{kind}")
    return "".join(text)


def evaluate(expression: str, **variables: Any) -> Any:
    """Raises CelError, ValueError for what does not parse."""
    return _run(_parsed(expression), variables)


@lru_cache(maxsize=4096)
def _parsed(expression: str) -> "Node":
    return _Parser(expression).whole()


def evaluate_all(definitions: list[Mapping[str, str]], expression: str, **variables: Any) -> Any:
    """With a policy's `variables`, each evaluated when it is used."""
    lazy = _Lazy({definition["name"]: definition["expression"] for definition in definitions}, variables)
    return evaluate(expression, variables=lazy, **variables)


class _Lazy(Mapping[str, Any]):
    def __init__(self, expressions: Mapping[str, str], variables: Mapping[str, Any]) -> None:
        self._expressions = expressions
        self._variables = variables

    def __getitem__(self, name: str) -> Any:
        return evaluate(self._expressions[name], variables=self, **self._variables)

    def __iter__(self) -> Any:
        return iter(self._expressions)

    def __len__(self) -> int:
        return len(self._expressions)


Node = tuple[Any, ...]


class _Parser:
    def __init__(self, text: str) -> None:
        self._tokens: list[tuple[str, str]] = []
        at = 0
        while at < len(text.rstrip()):
            match = _TOKEN.match(text, at)
            if match is None or match.lastgroup is None:
                raise ValueError(f"not CEL at {text[at : at + 30]!r}")
            self._tokens.append((match.lastgroup, match[match.lastgroup]))
            at = match.end()
        self._at = 0

    def whole(self) -> Node:
        node = self._ternary()
        if self._at != len(self._tokens):
            raise ValueError(f"left over: {self._tokens[self._at :][:5]}")
        return node

    def _peek(self) -> str:
        return self._tokens[self._at][1] if self._at < len(self._tokens) else ""

    def _take(self, sign: str) -> bool:
        if self._peek() == sign and self._tokens[self._at][0] != "string":
            self._at += 1
            return True
        return False

    def _need(self, sign: str) -> None:
        if not self._take(sign):
            raise ValueError(f"{sign!r} expected, found {self._peek()!r}")

    def _ternary(self) -> Node:
        condition = self._binary(0)
        if not self._take("?"):
            return condition
        yes = self._binary(0)
        self._need(":")
        return ("if", condition, yes, self._ternary())

    _LEVELS: Final = (("||",), ("&&",), ("==", "!=", "<", "<=", ">", ">=", "in"), ("+",))

    def _binary(self, level: int) -> Node:
        if level == len(self._LEVELS):
            return self._unary()
        left = self._binary(level + 1)
        while self._peek() in self._LEVELS[level] and self._tokens[self._at][0] != "string":
            sign = self._peek()
            self._at += 1
            left = (sign, left, self._binary(level + 1))
        return left

    def _unary(self) -> Node:
        if self._take("-"):
            return ("negative", self._unary())
        return ("!", self._unary()) if self._take("!") else self._member()

    def _member(self) -> Node:
        node = self._primary()
        while True:
            if self._take(".?"):
                node = ("optional", node, self._word())
            elif self._take("."):
                name = self._word()
                node = ("call", node, name, self._arguments(")")) if self._take("(") else ("field", node, name)
            elif self._take("[?"):
                node = ("optional index", node, self._ternary())
                self._need("]")
            elif self._take("["):
                node = ("index", node, self._ternary())
                self._need("]")
            elif node[0] == "name" and self._peek() == "{":
                self._need("{")
                node = ("message", node[1], self._entries())
            else:
                return node

    def _word(self) -> str:
        kind, word = self._tokens[self._at]
        if kind != "word":
            raise ValueError(f"a name expected, found {word!r}")
        self._at += 1
        return word

    def _arguments(self, end: str) -> list[Node]:
        found: list[Node] = []
        while not self._take(end):
            found.append(self._ternary())
            if not self._take(","):
                self._need(end)
                break
        return found

    def _entries(self) -> list[tuple[Node, Node]]:
        found: list[tuple[Node, Node]] = []
        while not self._take("}"):
            key = self._ternary()
            self._need(":")
            found.append((key, self._ternary()))
            if not self._take(","):
                self._need("}")
                break
        return found

    def _primary(self) -> Node:
        kind, token = self._tokens[self._at] if self._at < len(self._tokens) else ("", "")
        self._at += 1
        if kind == "string":
            return ("value", read_literal(token))
        if kind == "number":
            return ("value", int(token))
        if token == "(":
            node = self._ternary()
            self._need(")")
            return node
        if token == "[":
            return ("list", self._arguments("]"))
        if token == "{":
            return ("map", self._entries())
        if kind != "word":
            raise ValueError(f"unexpected {token!r}")
        if token in ("true", "false", "null"):
            return ("value", {"true": True, "false": False, "null": None}[token])
        return ("function", token, self._arguments(")")) if self._take("(") else ("name", token)


def _run(node: Node, scope: Mapping[str, Any]) -> Any:
    return _NODES[node[0]](node, scope)


def _either(node: Node, scope: Mapping[str, Any]) -> bool:
    """`&&` and `||`: one side may decide where the other errs."""
    decisive = node[0] == "||"
    errors: list[CelError] = []
    for side in node[1:]:
        try:
            value = _bool(_run(side, scope))
        except CelError as error:
            errors.append(error)
            continue
        if value is decisive:
            return decisive
    if errors:
        raise errors[0]
    return not decisive


def _bool(value: Any) -> bool:
    if not isinstance(value, bool):
        raise CelError(f"{value!r} is no bool")
    return value


def _name(node: Node, scope: Mapping[str, Any]) -> Any:
    if node[1] in _TYPES and node[1] not in scope:
        return node[1]
    if node[1] not in scope:
        raise CelError(f"undeclared {node[1]}")
    return scope[node[1]]


def _get(value: Any, key: Any) -> Any:
    if isinstance(value, Mapping):
        if key not in value:
            raise CelError(f"no such key: {key}")
        return value[key]
    if isinstance(value, list) and isinstance(key, int):
        if not 0 <= key < len(value):
            raise CelError(f"index out of range: {key}")
        return value[key]
    raise CelError(f"{value!r} has no {key}")


def _optional(node: Node, scope: Mapping[str, Any]) -> Optional:
    value = _run(node[1], scope)
    key = node[2] if node[0] == "optional" else _run(node[2], scope)
    return _select(value, key)


def _select(value: Any, key: Any) -> Optional:
    if isinstance(value, Optional):
        return _select(value.value, key) if value.present else Optional()
    if not isinstance(value, Mapping):
        raise CelError(f"{value!r} has no fields")
    return Optional(value[key], present=True) if key in value else Optional()


def _plain(node: Node, scope: Mapping[str, Any]) -> Any:
    value = _run(node[1], scope)
    key = node[2] if node[0] == "field" else _run(node[2], scope)
    return _select(value, key) if isinstance(value, Optional) else _get(value, key)


def _compare(node: Node, scope: Mapping[str, Any]) -> bool:
    left, right = _run(node[1], scope), _run(node[2], scope)
    match node[0]:
        case "==":
            return bool(left == right)
        case "!=":
            return bool(left != right)
        case "in":
            if not isinstance(right, list | Mapping):
                raise CelError(f"{right!r} holds nothing")
            return left in right
        case sign:
            return bool({"<": left < right, "<=": left <= right, ">": left > right, ">=": left >= right}[sign])


def _call(node: Node, scope: Mapping[str, Any]) -> Any:
    _, target, method, arguments = node
    if target == ("name", "optional") and method == "of":
        return Optional(_run(arguments[0], scope), present=True)
    if target == ("name", "jsonpatch") and method == "escapeKey":
        return str(_run(arguments[0], scope)).replace("~", "~0").replace("/", "~1")
    value = _run(target, scope)
    if method in _MACROS:
        return _macro(method, value, arguments, scope)
    if isinstance(value, Library):
        return getattr(value, method)(*(_run(argument, scope) for argument in arguments))
    if method not in _METHODS:
        raise ValueError(f"the simulation does not know .{method}()")
    return _METHODS[method](value, *(_run(argument, scope) for argument in arguments))


def _macro(name: str, value: Any, arguments: list[Node], scope: Mapping[str, Any]) -> Any:
    if not isinstance(value, list | Mapping):
        raise CelError(f"{value!r} is no list")
    variable, body = arguments[0][1], arguments[1]
    results = [(item, _run(body, {**scope, variable: item})) for item in value]
    match name:
        case "exists":
            return any(_bool(result) for _, result in results)
        case "all":
            return all(_bool(result) for _, result in results)
        case "filter":
            return [item for item, result in results if _bool(result)]
        case _:
            return [result for _, result in results]


def _function(node: Node, scope: Mapping[str, Any]) -> Any:
    _, name, arguments = node
    if name in _FUNCTIONS:
        return _FUNCTIONS[name](*(_run(argument, scope) for argument in arguments))
    if name != "has":
        raise ValueError(f"the simulation does not know {name}()")
    kind, target, key = arguments[0]
    if kind != "field":
        raise ValueError("has() takes a field")
    value = _run(target, scope)
    if not isinstance(value, Mapping):
        raise CelError(f"{value!r} has no fields")
    return key in value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise CelError(f"{value!r} is no string")
    return value


def _add(node: Node, scope: Mapping[str, Any]) -> Any:
    left, right = _run(node[1], scope), _run(node[2], scope)
    if type(left) is not type(right):
        raise CelError(f"cannot add {left!r} and {right!r}")
    return left + right


def _or_value(value: Any, other: Any) -> Any:
    if not isinstance(value, Optional):
        raise CelError(f"{value!r} is no optional")
    return value.value if value.present else other


def re2(pattern: str) -> re.Pattern[str]:
    """What our patterns use of RE2, in Python's words: `\\x{…}`, and an end that is the end."""
    return re.compile(re.sub(r"\\x\{([0-9a-f]+)\}", lambda match: re.escape(chr(int(match[1], 16))), pattern).removesuffix("$") + r"\Z")


def _type(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    names = {Mapping: "map", int: "int", str: "string", list: "list"}
    return next((name for kind, name in names.items() if isinstance(value, kind)), "other")


_TYPES: Final = ("map", "int", "string", "list", "bool")
_FUNCTIONS: Final[Mapping[str, Callable[..., Any]]] = {
    "type": _type,
    "dyn": lambda value: value,
    "timestamp": lambda value: datetime.fromisoformat(_text(value)),
}
_METHODS: Final[Mapping[str, Callable[..., Any]]] = {
    "startsWith": lambda value, prefix: _text(value).startswith(prefix),
    "endsWith": lambda value, suffix: _text(value).endswith(suffix),
    "contains": lambda value, part: part in _text(value),
    "split": lambda value, part: _text(value).split(part),
    "join": lambda value, part: part.join(value),
    "size": len,
    "matches": lambda value, pattern: bool(re2(pattern).search(_text(value))),
    "orValue": _or_value,
}
_NODES: Final[Mapping[str, Callable[[Node, Mapping[str, Any]], Any]]] = {
    "value": lambda node, _: node[1],
    "name": _name,
    "list": lambda node, scope: [_run(item, scope) for item in node[1]],
    "map": lambda node, scope: {_run(key, scope): _run(value, scope) for key, value in node[1]},
    "message": lambda node, scope: Patch({key[1]: _run(value, scope) for key, value in node[2]}),
    "if": lambda node, scope: _run(node[2] if _bool(_run(node[1], scope)) else node[3], scope),
    "negative": lambda node, scope: -_run(node[1], scope),
    "!": lambda node, scope: not _bool(_run(node[1], scope)),
    "||": _either,
    "&&": _either,
    "field": _plain,
    "index": _plain,
    "optional": _optional,
    "optional index": _optional,
    "call": _call,
    "function": _function,
    "+": _add,
    **dict.fromkeys(("==", "!=", "<", "<=", ">", ">=", "in"), _compare),
}
