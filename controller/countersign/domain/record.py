"""The decision record, and the chain that ties each record of a process to the one before.

A line is one JSON object. Its `hash` is the sha256 of the canonical JSON (`document.canonical`) of all its other members, among them `prev`,
the hash of the line before. So a log that a collector has written anew, with other white space or order of members, still verifies.

What a chain cannot show by itself: that its end was cut off, and that a whole process is missing. For that a head must be noted elsewhere.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from countersign.domain.answer import Answer
from countersign.domain.authorize import Access, Deny, ResourceAccess
from countersign.domain.document import Number, canonical
from countersign.domain.identify import Agent
from countersign.domain.request import Request, UserInfo

_EXTRA: Final = "authentication.kubernetes.io/"
_ACCOUNT: Final = "system:serviceaccount:"
_LONGEST: Final = 4096


def decision(request: Request, answer: Answer, *, now: datetime, milliseconds: float) -> dict[str, object]:
    """The record of one answer. `answer.chain` adds what the decision knew: agents, sponsors, reviewers, environments, changeRequest, approvals.

    Pod, node and credential are the API server's words about the token (KEP-4193); who may impersonate can have them say anything.
    """
    user = request.user
    record: dict[str, object] = {
        **answer.chain,
        "time": rfc3339(now),
        "uid": request.uid,
        "user": user.username,
        "operation": request.operation.value,
        "target": {
            "group": request.group,
            "version": request.version,
            "resource": f"{request.resource}/{request.subresource}" if request.subresource else request.resource,
            "namespace": request.namespace,
            "name": _cut(request.target_name),
            "uid": _cut(request.target_uid),
        },
        "decision": "Allow" if answer.allowed else "Refuse",
        "reason": answer.reason.value,
        "dryRun": request.dry_run,
        "milliseconds": round(milliseconds, 3),
    }
    return record | _credential(user)


def denial(user: UserInfo, who: Agent, access: Access, opinion: Deny, *, now: datetime) -> dict[str, object]:
    """The record of what an agent was denied before RBAC was asked. The API server asks as well where somebody only wonders (`kubectl auth can-i`)."""
    record: dict[str, object] = {
        "time": rfc3339(now),
        "user": user.username,
        "agents": list(who.identities),
        "sponsors": list(who.sponsors),
        "decision": "Deny",
        "reason": opinion.ground.value,
    }
    if isinstance(access, ResourceAccess):
        record["access"] = {
            "verb": access.verb,
            "group": access.group,
            "version": access.version,
            "resource": f"{access.resource}/{access.subresource}" if access.subresource else access.resource,
            "namespace": access.namespace,
            "name": access.name,
        }
    else:
        record["access"] = {"verb": access.verb, "path": access.path}
    return record | _credential(user)


def _credential(user: UserInfo) -> dict[str, object]:
    record: dict[str, object] = {}
    if user.username.startswith(_ACCOUNT):
        record["serviceAccount"] = user.username.removeprefix(_ACCOUNT).replace(":", "/", 1)
    for name, key in (("pod", "pod-name"), ("node", "node-name"), ("credential", "credential-id")):
        if values := user.extra.get(_EXTRA + key):
            record[name] = _cut(values[0])
    return record


def _cut(text: str) -> str:
    """The API server's own are short; a forged review may hold megabytes."""
    return text if len(text) <= _LONGEST else text[:_LONGEST]


def start(*, now: datetime, version: str) -> dict[str, object]:
    """The record that a process begins with."""
    return {"time": rfc3339(now), "start": {"version": version}}


@dataclass(frozen=True, slots=True)
class Link:
    """Where a process stands in its chain: `process` is unique to one run of one replica."""

    replica: str
    process: str
    seq: int = 0
    head: str = ""

    def append(self, record: Mapping[str, object]) -> tuple[str, "Link"]:
        """The line of the next record, without its end of line, and the link after it."""
        members = {**record, "replica": self.replica, "process": self.process, "seq": self.seq, "prev": self.head}
        # The same text as `canonical` writes for what a record holds (no Number among it), made in C.
        body = json.dumps(members, sort_keys=True, separators=(",", ":"), allow_nan=False)
        digest = hashlib.sha256(body.encode("ascii")).hexdigest()
        return f'{body[:-1]},"hash":"{digest}"}}', Link(self.replica, self.process, self.seq + 1, digest)


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with one line, counted from 1. `sentence` names the line."""

    line: int
    sentence: str


@dataclass(slots=True)
class Chain:
    """What was seen of one process: `expected` is the next `seq`, `lines` where each hash stood."""

    head: str = ""
    expected: int = 0
    last_line: int = 0
    lines: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Verification:
    """`chains` by "replica/process"."""

    faults: tuple[Fault, ...]
    records: int
    chains: Mapping[str, Chain]


def verify(lines: Iterable[str], *, whole: bool = True) -> Verification:
    """Check lines of any number of processes, however interleaved. `whole` False: a chain may begin in its middle (a rotated log)."""
    chains: dict[str, Chain] = {}
    faults: list[Fault] = []
    records = 0
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        records += 1
        sentences = _check(number, line, chains, whole=whole)
        faults.extend(Fault(number, f"line {number} {sentence}") for sentence in sentences)
    return Verification(tuple(faults), records, chains)


def _check(number: int, line: str, chains: dict[str, Chain], *, whole: bool) -> list[str]:
    try:
        members = _parse(line)
    except ValueError as error:
        return [f"is not a decision record: {error}."]
    stated = members.pop("hash")
    actual = hashlib.sha256(canonical(members).encode("ascii")).hexdigest()
    chain = chains.setdefault(f"{members['replica']}/{members['process']}", Chain(expected=0 if whole else -1))
    if stated == actual:
        misplaced = _place(number, stated, members["seq"], members["prev"], chain)
        return [misplaced] if misplaced else []
    # Its number and `prev` say nothing now; but the hash that it states is still the one that the next line continues from.
    chain.expected, chain.head, chain.last_line = max(chain.expected, 0) + 1, stated, number
    chain.lines[stated] = number
    return ["was changed: its content does not have the hash that it states."]


def _place(number: int, stated: str, seq: int, prev: str, chain: Chain) -> str:
    """What is wrong with the place of a line in its chain, or ""."""
    if stated in chain.lines:
        return f"repeats line {chain.lines[stated]}."
    chain.lines[stated] = number
    expected, head, before = chain.expected, chain.head, chain.last_line
    if expected >= 0 and seq < expected:
        return f"is out of its order: it has number {seq} of its process, and line {before} has number {expected - 1}."
    chain.expected, chain.head, chain.last_line = seq + 1, stated, number
    if expected < 0 or (seq == expected and prev == head):
        return ""
    if seq > expected and before:
        return (
            f"is number {seq} of its process, and line {before} is number {expected - 1}: what was between is missing, or out of its order."
        )
    if seq > expected:
        return f"is number {seq} of its process, and the first of it here: what was before is missing, or out of its order."
    if before:
        return f"does not follow from line {before}: one of the two was changed or replaced."
    return "is the first of its process, and yet follows another."


def _parse(line: str) -> dict[str, Any]:
    """Raises ValueError."""
    try:
        members = json.loads(line, parse_float=Number, object_pairs_hook=_no_duplicates)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if not isinstance(members, dict):
        raise ValueError("it is not a JSON object")  # noqa: TRY004  (one kind of error for whatever a line may hold)
    for name, kind in (("replica", str), ("process", str), ("seq", int), ("prev", str), ("hash", str)):
        if type(members.get(name)) is not kind:
            raise ValueError(f"it lacks {name!r}")
    return members


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("it names a member twice, so that readers would differ about it")
    return members


def rfc3339(moment: datetime) -> str:
    """UTC, to the microsecond."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
