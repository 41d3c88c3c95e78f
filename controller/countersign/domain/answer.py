"""What we answer to one review: said to the API server, to the requester, to the audit log and to the decision log."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Reason(StrEnum):
    """Why, as a word for machines: a metric label, a cause in the refusal, a field in the log."""

    NOT_GUARDED = "NotGuarded"  # allow: nobody's rules speak of this
    NOT_HELD = "NotHeld"  # allow: guarded, but no environment holds it back from this requester
    EXCEPTED = "Excepted"  # allow: the requester stands in `except`
    OWN_WORK = "OwnWork"  # allow: the requester's own fresh namespace
    AUDIT = "WouldRefuse"  # allow: every environment that holds it back is in Audit mode
    APPROVED = "Approved"  # allow: signed for
    COVERED = "CoveredByNamespace"  # allow: an approved deletion of the namespace covers it
    ACCEPTED = "Accepted"  # allow: an object of ours that is well formed
    GLASS_BROKEN = "GlassBroken"  # allow: a human had announced to do without signatures
    PENDING = "Pending"  # refuse: waits for signatures
    REJECTED = "Rejected"  # refuse: a reviewer said no
    EXPIRED = "Expired"  # refuse: the round ended, a new one cannot be opened
    LIMITED = "Limited"  # refuse: too many requests wait for signatures already; nothing was opened
    DRY_RUN = "DryRun"  # refuse: would need signatures; nothing was written
    FORBIDDEN = "Forbidden"  # refuse: never allowed, signed for or not
    LOCKED = "Locked"  # refuse: a guard was tampered with, and no human has lifted the lockdown yet
    INVALID = "Invalid"  # refuse: an object of ours that is not well formed, or a signature that does not count
    NO_TARGET = "NoTarget"  # refuse: what cannot be named cannot be signed for
    UNKNOWN = "UnknownRequest"  # refuse: a request we do not understand
    UNABLE = "Unable"  # refuse: we could not decide


@dataclass(frozen=True, slots=True)
class Answer:
    """`code` is the HTTP status of a refusal; `causes` become details.causes; `audit` the audit annotations; `chain` the log's."""

    allowed: bool
    reason: Reason
    message: str = ""
    code: int = 403
    causes: tuple[tuple[str, str], ...] = ()
    warnings: tuple[str, ...] = ()
    audit: Mapping[str, str] = field(default_factory=dict)
    chain: Mapping[str, object] = field(default_factory=dict)
