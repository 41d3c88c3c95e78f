"""What an attack file declares about itself, and how attacks are told apart."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Answer(StrEnum):
    BLOCKED = "blocked"
    DETECTED = "detected"
    """It goes through, and is recorded, told and (where that helps) undone; the test asserts the evidence."""
    ADVISED = "advised"
    """Closed by authorization that the documentation asks for and that posture checks."""
    OUT_OF_REACH = "out of reach"
    """Named in the threat model; the test shows what happens, and what holds where there is such a thing."""


class Profile(StrEnum):
    """In which installation the attack is answered, in the order in which the suites run."""

    STANDARD = "standard"
    HARDENED = "hardened"
    AUTHORIZER = "authorizer"


class Elsewhere(StrEnum):
    """Whether it may be run against a cluster that a team names."""

    AS_IT_IS = "as it is"
    """It touches nothing but what the run has made itself."""
    DRY_RUN = "dry run"
    """The requests sent with `Stage.strike` become server-side dry runs there."""
    NOT = "not"
    """Own cluster only: `because` says why."""


WEBHOOK: Final = "webhook"
"""The whole ValidatingWebhookConfiguration. `webhook/own`, `webhook/agents`, …: the entries whose names begin so."""


def entry(prefix: str) -> str:
    """One kind of entries of the webhook configuration: agents, people, everyone, own, approvals."""
    return f"{WEBHOOK}/{prefix}"


def policy(name: str) -> str:
    """A ValidatingAdmissionPolicy of ours: its binding is taken away. Without the prefix: policy("guards") is countersign-guards.

    One that ends in `*` stands for all whose names begin so: a guard may be kept twice.
    """
    return f"policy/countersign-{name}"


def mutation(name: str) -> str:
    """A MutatingAdmissionPolicy of ours, by its binding."""
    return f"mutation/countersign-{name}"


def schema(plural: str) -> str:
    """The CEL rules of one of our kinds, such as the one that makes the spec of changerequests immutable."""
    return f"schema/{plural}"


GUARDS, RECORDS, LAUNDERING, AGENTS, AGENTS_INSIDE = (
    policy(name) for name in ("guards*", "records", "laundering", "agents", "agents-inside")
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """`guards`: what is taken away for the control. None at all means: the control is the same cluster in the profile below
    (the standard profile for hardened, no authorizer for authorizer), which a standard attack cannot have unless the test itself
    takes the guard away (its `Stage.control` says in which run it is)."""

    number: int
    title: str
    answer: Answer = Answer.BLOCKED
    profile: Profile = Profile.STANDARD
    guards: frozenset[str] = frozenset()
    elsewhere: Elsewhere = Elsewhere.AS_IT_IS
    because: str = ""
    local_only: str = ""
    """Why it needs a process of the local control plane, and cannot run on kind."""

    def __post_init__(self) -> None:
        if (self.elsewhere is Elsewhere.NOT) != bool(self.because):
            raise ValueError(f"attack {self.number}: `because` belongs to Elsewhere.NOT, and to nothing else")


def away(*guards: str | Iterable[str]) -> frozenset[str]:
    """A set of guards: away(WEBHOOK, AGENTS)."""
    flat = [[guard] if isinstance(guard, str) else list(guard) for guard in guards]
    return frozenset(name for names in flat for name in names)
