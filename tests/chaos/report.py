"""What came of each fault: a row of the table, and the promises that were broken. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from tests.chaos.ledger import Ledger, Verdict, Who

AGENTS = (Who.GUARDED, Who.APPROVED, Who.AGENTS)
PEOPLE = (Who.PEOPLE, Who.SIGNING)
FEWEST = 10
"""Requests of agents, and of people, below which a fault has shown too little."""


@dataclass(frozen=True, slots=True)
class Row:
    """`trouble`: seconds from the fault's beginning to the last answer that was not the usual one, None where all were."""

    fault: str
    agents: int
    people: int
    wrong: int
    blocked_people: int
    blocked_agents: int
    unable: int
    server: int
    changes: int
    done: int
    trouble: float | None
    whole: float | None
    slowest_person: float
    complaints: list[str] = field(default_factory=list)


def row(fault: str, ledger: Ledger, *, begun: float, whole: float | None, gentle: bool, within: float) -> Row:
    """`begun`: when the fault was, on the ledger's clock; `whole`: seconds until every replica and node was back, None where they were not."""
    last = ledger.last_trouble()
    trouble = None if last is None else max(0.0, last - begun)
    found = _complaints(ledger, gentle=gentle)
    if trouble is not None and trouble > within:
        found.append(f"the last answer that was not the usual one came after {trouble:.0f} s, later than {within:.0f} s")
    if whole is None:
        found.append("the cluster was not whole again")
    return Row(
        fault,
        ledger.requests(*AGENTS),
        ledger.requests(*PEOPLE),
        ledger.count(Verdict.WRONG),
        ledger.count(Verdict.BLOCKED, *PEOPLE),
        ledger.count(Verdict.BLOCKED, *AGENTS),
        ledger.count(Verdict.UNABLE),
        ledger.count(Verdict.SERVER),
        len(ledger.changes),
        sum(change.done for change in ledger.changes),
        None if trouble is None else round(trouble, 1),
        None if whole is None else round(whole, 1),
        round(ledger.slowest(Who.PEOPLE), 1),
        found,
    )


def _complaints(ledger: Ledger, *, gentle: bool) -> list[str]:
    broken = [Verdict.WRONG, Verdict.BLOCKED, *([Verdict.UNABLE] if gentle else [])]
    found = []
    for verdict in broken:
        of_it = [each for each in ledger.asked if each.verdict is verdict]
        if of_it:
            found.append(f"{len(of_it)} {verdict}, first: {of_it[0].who}: {of_it[0].what}: {of_it[0].said}")
    for change in ledger.changes:
        if not change.done:
            stood = "never refused again" if change.executed else "never executed" if change.signed else "never signed"
            found.append(f"the approved deletion of {change.name} was {stood}")
    if min(ledger.requests(*AGENTS), ledger.requests(*PEOPLE)) < FEWEST or not ledger.changes:
        found.append("too little was asked meanwhile to say anything")
    return found


HEAD = (
    "fault",
    "requests of agents / people",
    "wrong answers",
    "people blocked",
    "agents' ordinary work blocked",
    "refused because we could not decide",
    "failed with the API server",
    "approved changes done",
    "time to recover",
    "whole again",
)


def markdown(rows: Sequence[Row]) -> str:
    lines = [f"| {' | '.join(HEAD)} |", "|---" * len(HEAD) + "|"]
    for each in rows:
        cells = (
            each.fault,
            f"{each.agents} / {each.people}",
            each.wrong,
            each.blocked_people,
            each.blocked_agents,
            each.unable,
            each.server,
            f"{each.done} of {each.changes}",
            "nothing noticed" if each.trouble is None else f"{each.trouble:.1f} s",
            "no" if each.whole is None else f"{each.whole:.0f} s",
        )
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines) + "\n"


@dataclass(frozen=True, slots=True)
class Check:
    """Something that has to work, or to be refused, while Countersign is out. `why` is empty where it did."""

    outage: str
    what: str
    seconds: float
    why: str = ""


def outages_markdown(checks: Sequence[Check]) -> str:
    lines = ["| outage | what | seconds | |", "|---|---|---|---|"]
    lines += [f"| {each.outage} | {each.what} | {each.seconds:.1f} | {'FAILED' if each.why else 'as promised'} |" for each in checks]
    return "\n".join(lines) + "\n"


def complaints(rows: Sequence[Row], checks: Sequence[Check]) -> list[str]:
    """Sentences, one a broken promise."""
    found = [f"{each.fault}: {complaint}" for each in rows for complaint in each.complaints]
    return found + [f"{each.outage}: {each.what}: {each.why}" for each in checks if each.why]


def results(rows: Sequence[Row], checks: Sequence[Check], about: dict[str, Any]) -> dict[str, Any]:
    """What is written to build/chaos/results.json."""
    return {
        **about,
        "faults": [asdict(each) for each in rows],
        "outages": [asdict(each) for each in checks],
        "broken": complaints(rows, checks),
    }
