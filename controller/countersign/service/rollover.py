"""Brings a new certificate of the webhook, wherever it comes from, to the replicas without a request that fails.

1. The source (our own authority, cert-manager, the team) says which pair is to be served, and by which authorities it is trusted.
2. Those authorities join the CA bundle of the webhook configuration, beside the ones that are there.
3. Once every API server has had the time to hear of them, the pair is put into the Secret that the replicas read.
4. What an earlier pair was trusted by stays in the bundle until that pair has ended: so long some replica may still serve it.

What is to be served but cannot be is never put there: the pair in use stays, and people are told. Where nothing works any more, nothing
is waited for. The times are the API server's, since it is who looks at the certificate.
"""

import base64
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from countersign.domain.certificates import (
    Authorities,
    Pair,
    UnreadableError,
    bundle,
    certificates,
    day,
    faults,
    is_current,
    leaf_of,
    life_left,
)
from countersign.domain.document import JsonObject, items, mapping, text
from countersign.domain.names import GROUP
from countersign.domain.resources import ProtectedEnvironment, Target
from countersign.service.keeping import CertificateMeter, CertificateSource, Condition, Notice, Notices, Offer, Owner
from countersign.service.ports import Api, ApiError, Clock, NotFoundError
from countersign.service.trust import Trust

SECRET: Final = "countersign-webhook-tls"  # noqa: S105  # the name of an object
AUTHORITY_SECRET: Final = "countersign-webhook-ca"  # noqa: S105  # as above; our own authority's, where there is one
LEAF_LIFE: Final = timedelta(days=90)
_UNTIL: Final = f"{GROUP}/old-authorities-until"
_PARTS: Final = {"tls.crt", "tls.key", "ca.crt"}
_OLD: Final = "ca-old.crt"
_MOST_OLD: Final = 8
_LAST_SIXTH: Final = 1 / 6
_LAST_EIGHTH: Final = 1 / 8  # whoever renews it should have done so by then
_CONDITION: Final = "CertificateGood"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Stored:
    """The Secret that the replicas read. `old` verified earlier pairs, which may still be served until `until`."""

    pair: Pair
    authorities: Authorities
    old: Authorities
    until: datetime | None
    is_clean: bool


@dataclass(frozen=True, slots=True)
class _State:
    """What there was to say at the last look: `wrong` with what is served, `refused` with what should be."""

    wrong: tuple[str, ...]
    refused: tuple[str, ...]
    ends: datetime | None
    note: str
    is_waiting: bool
    is_ending: bool


class Rollover:
    """The `Certificates` port. `name` is what the API server calls the webhook by.

    `on_hosts`: whether API servers also trust by a file of their host (docs/authorizer.md), which nobody can change from here: a pair by an
    authority that they were not told of is then held back to the last sixth of the served one's life.
    """

    def __init__(
        self,
        api: Api,
        clock: Clock,
        owner: Owner,
        source: CertificateSource,
        trust: Trust,
        *,
        namespace: str,
        name: str,
        on_hosts: bool,
        notices: Notices,
        meter: CertificateMeter,
    ) -> None:
        self._api = api
        self._clock = clock
        self._owner = owner
        self._source = source
        self._trust = trust
        self._namespace = namespace
        self._collection = f"/api/v1/namespaces/{namespace}/secrets"
        self._path = f"{self._collection}/{SECRET}"
        self._where = f"{namespace}/{SECRET}"
        self._name = name
        self._on_hosts = on_hosts
        self._notices = notices
        self._meter = meter
        self._state: _State | None = None

    async def ensure(self) -> bytes | None:
        """Go one step on; the CA bundle (PEM) that the API server is to have, None where Countersign is being uninstalled. Raises ApiError."""
        references = await self._owner.references()
        if not references:
            return None
        secret = await self._read()
        now = self._clock.now()  # not before something was heard of the API server: its clock is meant
        stored = _stored(secret)
        offer = await self._source.offer(secret, now, references)
        is_news = offer.pair is not None and (stored is None or offer.pair != stored.pair)
        live = await self._trust.look(now) if is_news or stored is None else ()
        wanted = self._wanted(offer, stored, live, now)
        trouble = ""
        if wanted is not None and (wanted != stored or items(secret, "metadata", "ownerReferences") != references):
            trouble = await self._write(secret, wanted, references)
            stored, is_news = (stored, is_news) if trouble else (wanted, is_news and wanted.pair != offer.pair)
        await self._tell(offer, stored, now, trouble, is_waiting=is_news)
        return bundle(_trusted(offer, stored, live, now))

    def _wanted(self, offer: Offer, stored: Stored | None, live: Authorities, now: datetime) -> Stored | None:
        """What the Secret should hold by now."""
        if offer.pair is None:
            return stored and replace(stored, is_clean=True)
        if stored is None or offer.pair != stored.pair:
            is_ripe = self._may_serve(offer, offer.pair, stored, live, now)
            return _successor(offer, offer.pair, stored, live, now) if is_ripe else stored and replace(stored, is_clean=True)
        if set(offer.authorities) != set(stored.authorities):
            return _successor(offer, offer.pair, stored, live, now)
        return replace(stored, is_clean=True)

    async def _read(self) -> JsonObject:
        try:
            return await self._api.get(self._path)
        except NotFoundError:
            return {}

    def _may_serve(self, offer: Offer, pair: Pair, stored: Stored | None, live: Authorities, now: datetime) -> bool:
        if faults(pair, offer.authorities, self._name, now):
            return False
        if not any(is_current(each, now) for each in live):
            return True  # the API server trusts nobody: there is no request that could fail by it
        if faults(pair, self._trust.settled(), self._name, now):
            return False
        if self._on_hosts and not offer.announced and stored is not None and faults(pair, stored.authorities, self._name, now):
            return life_left(leaf_of(stored.pair), now) <= _LAST_SIXTH
        return True

    async def _write(self, secret: JsonObject, wanted: Stored, references: Sequence[JsonObject]) -> str:
        """Why it could not be written, or "". The guards do not wait for it: what is served stays."""
        body = _document(wanted, references)
        try:
            if not secret:
                await self._api.create(self._collection, body)
            elif text(secret, "type") != body["type"]:
                return f"The Secret {self._where} has the type {text(secret, 'type')}: delete it, and it is made anew."
            else:
                body["metadata"]["resourceVersion"] = text(secret, "metadata", "resourceVersion")
                await self._api.replace(self._path, body)
        except ApiError as error:
            return f"The Secret {self._where} cannot be written: {error}"
        _log.info(
            "the Secret %s holds a certificate for %s, good until %s", self._where, self._name, leaf_of(wanted.pair).not_valid_after_utc
        )
        return ""

    # ── what people hear ───────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _tell(self, offer: Offer, stored: Stored | None, now: datetime, trouble: str, *, is_waiting: bool) -> None:
        wrong: tuple[str, ...] = ("There is no certificate to serve.",)
        ends: datetime | None = None
        expiries: dict[str, float] = {}
        if stored is not None:
            wrong = faults(stored.pair, stored.authorities, self._name, now)
            ends = leaf_of(stored.pair).not_valid_after_utc
            expiries = {"serving": ends.timestamp()}
            used = [each for each in stored.authorities if not faults(stored.pair, (each,), self._name, now)]
            if used:
                expiries["authority"] = max(each.not_valid_after_utc for each in used).timestamp()
        refused = (*offer.faults, trouble) if trouble else offer.faults
        is_ending = stored is not None and 0 < life_left(leaf_of(stored.pair), now) < _LAST_EIGHTH
        before, state = self._state, _State(wrong, refused, ends, offer.note if self._on_hosts else "", is_waiting, is_ending)
        self._state = state
        self._meter.certificate(expiries, is_good=not wrong and not refused)
        if refused and (before is None or before.refused != refused):
            sentence = _not_usable(state)
            _log.error("%s", sentence)
            about = self._about(SECRET if trouble else self._source.secret)
            await self._notices.tell(Notice("Secret", about, "CertificateNotUsable", sentence, warning=True))
        if state.is_ending and not (before is not None and before.is_ending):
            sentence = f"The certificate of the webhook is good until {day(state.ends or now)} only. {self._source.keeper}"
            _log.warning("%s", sentence)
            await self._notices.tell(Notice("Secret", self._about(SECRET), "CertificateExpiresSoon", sentence, warning=True))
        if before is not None and before.refused and not refused:
            _log.info("the certificate of the Secret %s/%s can be used now", self._namespace, self._source.secret)

    def _about(self, secret: str) -> Target:
        return Target(group="", version="v1", resource="secrets", namespace=self._namespace, name=secret)

    def condition(self, default: ProtectedEnvironment) -> Condition:  # noqa: ARG002  # as all conditions of the environment are asked for
        """What the environment `default` says of the certificate."""
        state = self._state
        if state is None:
            return Condition(_CONDITION, holds=None, reason="NotLooked", message="The operator has not looked at the certificate yet.")
        if state.refused:
            return Condition(_CONDITION, holds=False, reason="NotUsable", message=_not_usable(state)[:4000])
        if state.wrong or state.ends is None:
            message = f"{' '.join(state.wrong)} The next one is served within a minute; guarded requests are refused until then."
            return Condition(_CONDITION, holds=False, reason="NotServed", message=message[:4000])
        reason, about = ("ExpiresSoon" if state.is_ending else "Served"), ""
        if state.is_waiting:
            reason, about = "RollingOver", "The next one is served once all API servers trust it."
        sentences = (f"Good until {day(state.ends)}.", self._source.keeper, about, state.note)
        return Condition(_CONDITION, holds=True, reason=reason, message=" ".join(filter(None, sentences)))


def _not_usable(state: _State) -> str:
    sentences = " ".join(state.refused)
    if state.ends is None or state.wrong:
        return f"{sentences} Guarded requests are refused until then."
    return f"{sentences} The certificate in use stays; it is good until {day(state.ends)}."


def _document(stored: Stored, references: Sequence[JsonObject]) -> dict[str, Any]:
    parts = {"tls.crt": stored.pair.chain, "tls.key": stored.pair.key, "ca.crt": bundle(stored.authorities)}
    metadata: dict[str, Any] = {
        "name": SECRET,
        "labels": {"app.kubernetes.io/managed-by": "countersign-operator"},
        "ownerReferences": list(references),
    }
    if stored.old and stored.until is not None:
        parts[_OLD] = bundle(stored.old)
        metadata["annotations"] = {_UNTIL: stored.until.isoformat()}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/tls",
        "metadata": metadata,
        "data": {name: base64.b64encode(part).decode("ascii") for name, part in parts.items()},
    }


def _stored(secret: JsonObject) -> Stored | None:
    """None where the Secret is missing, or holds nothing that a replica could serve."""
    data = mapping(secret, "data")
    try:
        pair = Pair(_part(data, "tls.crt"), _part(data, "tls.key"))
        authorities, old = certificates(_part(data, "ca.crt"), "ca.crt"), certificates(_part(data, _OLD), _OLD)
        leaf_of(pair)
    except (UnreadableError, ValueError):
        return None
    written = text(secret, "metadata", "annotations", _UNTIL)
    until: datetime | None = None
    if old:
        try:
            until = datetime.fromisoformat(written)
        except ValueError:
            old = ()
    is_clean = set(data) == _PARTS | ({_OLD} if old else set())
    return Stored(pair, authorities, old, until, is_clean)


def _part(data: Mapping[str, Any], name: str) -> bytes:
    """Raises ValueError."""
    return base64.b64decode(text(data, name), validate=True)


def _still_old(stored: Stored, now: datetime) -> Authorities:
    return stored.old if stored.until is not None and now < stored.until else ()


def _successor(offer: Offer, pair: Pair, stored: Stored | None, live: Authorities, now: datetime) -> Stored:
    """What is stored once `pair` is served; all that verified earlier ones is kept as old."""
    if stored is None:
        old, until = live, now + LEAF_LIFE
    else:
        old = (*stored.authorities, *_still_old(stored, now))
        until = max(leaf_of(stored.pair).not_valid_after_utc, stored.until if _still_old(stored, now) and stored.until else now)
    kept = tuple(each for each in dict.fromkeys(old) if each not in offer.authorities and is_current(each, now))[:_MOST_OLD]
    return Stored(pair, offer.authorities, kept, until if kept else None, is_clean=True)


def _trusted(offer: Offer, stored: Stored | None, live: Authorities, now: datetime) -> Authorities:
    """The bundle. Where it is unknown what replicas serve, all that is trusted now stays."""
    if stored is None:
        return (*offer.authorities, *(each for each in live if is_current(each, now)))[: _MOST_OLD * 2]
    return (*offer.authorities, *stored.authorities, *_still_old(stored, now))
