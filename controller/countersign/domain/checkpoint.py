"""Heads of decision logs, noted outside of the logs: what a chain cannot show by itself, that its end was cut off or that it was made anew.

A head says: this process has written its record `seq`, and it has this `hash`. By the chain all that came before is fixed with it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from countersign.domain.record import Chain, Link, rfc3339

MOST: Final = 500
"""Processes whose heads are kept: of two replicas that restart once a day, those of most of a year."""


@dataclass(frozen=True, slots=True)
class Head:
    """`at`: when it was noted, by the process's own clock. `ended`: the process said that nothing follows."""

    replica: str
    process: str
    seq: int
    hash: str
    at: datetime
    ended: bool = False

    @property
    def chain(self) -> str:
        """As `record.Verification` names it."""
        return f"{self.replica}/{self.process}"


def head_of(link: Link, at: datetime, *, ended: bool = False) -> Head:
    return Head(link.replica, link.process, link.seq - 1, link.head, at, ended)


def noted(known: Iterable[Head], new: Iterable[Head], most: int = MOST) -> tuple[Head, ...]:
    """What is known afterwards: one head for each process, which never goes back. Past `most` the ended ones are forgotten first, then the oldest."""
    heads = {head.process: head for head in known}
    for head in new:
        before = heads.get(head.process)
        if before is None or head.seq > before.seq or (head.ended and head.seq == before.seq and head.hash == before.hash):
            heads[head.process] = head
    kept = sorted(heads.values(), key=lambda head: (not head.ended, head.at, head.process))[-most:]
    return tuple(sorted(kept, key=lambda head: (head.at, head.process)))


def lost(heads: Iterable[Head], chains: Mapping[str, Chain], *, whole: bool = True) -> tuple[str, ...]:
    """A sentence for each head that a log does not hold. `whole` False: the log may lack processes that have ended (a rotated log)."""
    return tuple(sentence for head in heads if (sentence := _lost(head, chains.get(head.chain), whole=whole)))


def _lost(head: Head, chain: Chain | None, *, whole: bool) -> str:
    noted_so = f"record number {head.seq} was noted at {rfc3339(head.at)}"
    if chain is None:
        return "" if head.ended and not whole else f"nothing of the process {head.chain} is there, and its {noted_so}."
    if head.hash in chain.lines:
        return ""
    last = chain.expected - 1
    if last < head.seq:
        return f"the process {head.chain} ends with number {last}, and its {noted_so}: the end was cut off."
    return (
        f"the process {head.chain} has another record number {head.seq} than the one noted at {rfc3339(head.at)}: its chain was made anew."
    )
