"""The report on what agents could do: Markdown for people, JSON for machines (docs/posture.md)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from countersign.domain.posture import Posture
from countersign.domain.profile import Profile
from countersign.domain.resources import Becoming
from countersign.domain.waysround import REMEDY, WHAT, Opening

_NAMES: Final = 20


@dataclass(frozen=True, slots=True)
class Findings:
    """`asked`: whether the API server's authorizers were asked, besides what RBAC says."""

    cluster: str
    profile: Profile
    asked: bool
    postures: tuple[Posture, ...]

    @property
    def all_held(self) -> bool:
        return all(posture.held for posture in self.postures)


def as_json(findings: Findings) -> dict[str, Any]:
    return {
        "cluster": findings.cluster,
        "profile": findings.profile.value,
        "authorizersAsked": findings.asked,
        "held": findings.all_held,
        "agents": [
            {
                "name": posture.agent,
                "held": posture.held,
                "reason": posture.worst.way.value if posture.worst else "",
                "couldDelete": [{"kind": kind, "where": where} for kind, where in posture.deletes],
                "couldBecome": {"users": sorted(posture.becoming.users), "serviceAccounts": sorted(posture.becoming.accounts)},
                "waysRound": [_opening(opening) for opening in posture.openings],
                "groupsUnknown": posture.groups_unknown,
            }
            for posture in findings.postures
        ],
    }


def _opening(opening: Opening) -> dict[str, Any]:
    return {
        "way": opening.way.value,
        "direct": opening.way.direct,
        "what": WHAT[opening.way],
        "where": opening.where,
        "by": list(opening.bindings),
        "remedy": REMEDY[opening.way],
        "closedBy": opening.closed_by,
    }


def as_markdown(findings: Findings) -> str:
    lines = [
        f"# What agents could do on {findings.cluster}" if findings.cluster else "# What agents could do",
        "",
        _summary(findings),
        "",
        "| agent | held | could delete | could become | ways round |",
        "|---|---|---|---|---|",
        *(_row(posture) for posture in findings.postures),
    ]
    for posture in findings.postures:
        lines += ["", *_section(posture)]
    if not findings.asked:
        lines += ["", "Only RBAC was looked at: an authorizer may refuse more, and another one than RBAC may allow more."]
    return "\n".join(lines) + "\n"


def _summary(findings: Findings) -> str:
    loose = [posture.agent for posture in findings.postures if not posture.held]
    if not findings.postures:
        return "There is no AgentIdentity, so nobody is held back as an agent."
    if not loose:
        return f"All {len(findings.postures)} agents are held: none has a direct way round. Profile: {findings.profile.value}."
    return f"**NOT HELD: {', '.join(loose)}** ({len(loose)} of {len(findings.postures)} agents). Profile: {findings.profile.value}."


def _row(posture: Posture) -> str:
    held = "yes" if posture.held else f"**NO: {posture.worst.way if posture.worst else ''}**"
    return f"| {_cell(posture.agent)} | {held} | {len(posture.deletes)} kinds | {_people(posture.becoming, most=2)} | {len(posture.open)} |"


def _section(posture: Posture) -> Iterable[str]:
    yield f"## {posture.agent}"
    yield ""
    if posture.worst:
        yield f"Not held: {posture.worst.sentence}"
    else:
        yield "Held: its rights leave open no direct way round."
    yield ""
    deletes = "; ".join(f"{kind} {where}" for kind, where in posture.deletes) or "nothing that is guarded"
    yield f"- Could delete, if a second human signs: {deletes}"
    yield f"- Could act under the names of: {_people(posture.becoming, most=_NAMES)}"
    if posture.groups_unknown:
        yield "- Its users may be in groups of which only the authenticator knows: what those are bound to is not in this report."
    yield from _openings("Direct ways round", [opening for opening in posture.open if opening.way.direct])
    yield from _openings("Indirect ways round", [opening for opening in posture.open if not opening.way.direct])
    closed = [f"- {opening.way} {opening.where}: closed by {opening.closed_by}" for opening in posture.openings if opening.closed_by]
    if closed:
        yield from ("", "Closed:", "", *closed)


def _openings(title: str, openings: Sequence[Opening]) -> Iterable[str]:
    if openings:
        yield from ("", f"{title}:", "")
        for opening in openings:
            yield f"- {opening.sentence}"


def _people(becoming: Becoming, *, most: int) -> str:
    if not becoming:
        return "nobody"
    users = ["every user"] if "*" in becoming.users else sorted(becoming.users)
    accounts = ["every ServiceAccount"] if "*/*" in becoming.accounts else sorted(becoming.accounts)
    names = [*users, *accounts]
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return _cell(", ".join(names[:most]) + more)


def _cell(text: str) -> str:
    """One line of a table, whatever a name holds."""
    return "".join(char if char.isprintable() else " " for char in text).replace("|", "\\|")
