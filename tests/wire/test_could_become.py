"""`status.couldBecome`, the one thing in a status that is decided by: what cannot be trusted is everybody."""

from typing import Any

import pytest

from countersign.domain.resources import ANYBODY, Becoming
from countersign.wire.resources import parse_agent_identity
from countersign.wire.resources.identity import MOST_NAMES, AgentIdentityStatus, render_could_become

SPEC = {"sponsors": ["alice"], "subjects": [{"kind": "ServiceAccount", "namespace": "agents", "name": "kiro"}]}
SOME = Becoming(frozenset({"alice"}), frozenset({"shop/ci", "web/*"}))


def parsed(status: Any, generation: int = 3) -> Becoming:
    return parse_agent_identity({"metadata": {"name": "kiro", "generation": generation}, "spec": SPEC, "status": status}).could_become


@pytest.mark.parametrize("becoming", [Becoming(), SOME, ANYBODY])
def test_what_is_written_is_what_is_read(becoming: Becoming) -> None:
    written = render_could_become(becoming, 3)
    AgentIdentityStatus.model_validate({"couldBecome": written})
    assert parsed({"couldBecome": written}) == becoming


@pytest.mark.parametrize(
    "status",
    [
        None,
        {},
        {"couldBecome": None},
        {"couldBecome": {}},
        {"couldBecome": {"users": []}},
        {"couldBecome": {"generation": "3"}},
        {"couldBecome": {"generation": 2, "users": [], "serviceAccounts": []}},
        {"couldBecome": {"generation": 4, "users": [], "serviceAccounts": []}},
        {"couldBecome": {"generation": 3, "users": [1]}},
        {"couldBecome": {"generation": 3, "something": "new"}},
        {"couldBecome": "nobody"},
    ],
)
def test_what_is_missing_old_or_unreadable_is_everybody(status: Any) -> None:
    assert parsed(status) == ANYBODY


def test_too_many_names_are_everybody() -> None:
    many = frozenset(f"user-{number}" for number in range(MOST_NAMES + 1))
    accounts = frozenset(f"ns-{number}/*" for number in range(MOST_NAMES + 1))
    assert parsed({"couldBecome": render_could_become(Becoming(many, accounts), 3)}) == ANYBODY
    just = frozenset(sorted(many)[:MOST_NAMES])
    assert parsed({"couldBecome": render_could_become(Becoming(just), 3)}) == Becoming(just)


def test_a_name_too_long_to_keep_is_everybody() -> None:
    assert parsed({"couldBecome": render_could_become(Becoming(frozenset({"x" * 400})), 3)}).covers("anybody")


COVERS = [
    (ANYBODY, "alice", True),
    (ANYBODY, "system:serviceaccount:a:b", True),
    (Becoming(frozenset({"*"})), "system:serviceaccount:a:b", False),
    (Becoming(frozenset({"*"})), "system:node:n", True),
    (SOME, "alice", True),
    (SOME, "bob", False),
    (SOME, "system:serviceaccount:shop:ci", True),
    (SOME, "system:serviceaccount:shop:other", False),
    (SOME, "system:serviceaccount:web:any", True),
    (Becoming(accounts=frozenset({"*/*"})), "alice", False),
    (Becoming(), "alice", False),
]


@pytest.mark.parametrize(("becoming", "username", "expected"), COVERS)
def test_whom_it_covers(becoming: Becoming, username: str, expected: bool) -> None:
    assert becoming.covers(username) is expected
