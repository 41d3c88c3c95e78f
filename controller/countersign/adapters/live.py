"""The live look: consistent reads begun after the review arrived (docs/rules.md, The live look).

Reviewers, identities and environments are listed as metadata; what is unchanged (uid, resourceVersion) is taken from memory.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, TypeVar
from urllib.parse import quote

from countersign.domain.approval import MOST_APPROVALS
from countersign.domain.classify import fixed_losses
from countersign.domain.document import JsonObject, text
from countersign.domain.errors import CountersignError, UnableError
from countersign.domain.names import GROUP, VERSION
from countersign.domain.resources import Approval, ChangeRequest, Losses, Namespace, Target
from countersign.domain.snapshot import Snapshot
from countersign.domain.statement import act_of
from countersign.service.ports import Api, ApiError, Look, NotFoundError, Question
from countersign.wire import resources as wire
from countersign.wire.errors import WireError
from countersign.wire.lists import listed, part_of_list

_METADATA: Final = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
_MOST_LISTED: Final = 2 * MOST_APPROVALS  # creation stops adding to them at half of that
_OURS: Final = f"/apis/{GROUP}/{VERSION}"
_PART: Final = 250
_APART: Final = timedelta(minutes=5)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Kind:
    plural: str
    parse: Callable[[JsonObject], Any]


_IDENTITIES: Final = _Kind("agentidentities", wire.parse_agent_identity)
_REVIEWERS: Final = _Kind("reviewers", wire.parse_reviewer)
_ENVIRONMENTS: Final = _Kind("protectedenvironments", wire.parse_environment)


class ApiLiveLook:
    """The `LiveLook` port over the API; `memory` is the watch-fed view that unchanged objects are taken from."""

    def __init__(self, api: Api, memory: Callable[[], Snapshot], *, clock_ahead: Callable[[], timedelta] = timedelta) -> None:
        """`clock_ahead`: how far our clock is ahead of the API server's (negative: behind), by its last answer."""
        self._api = api
        self._memory = memory
        self._clock_ahead = clock_ahead

    async def look(self, question: Question, *, timeout: float) -> Look:
        """Raises UnableError where any read fails."""
        # Not by `except*`: in Python 3.11.2, Debian 12's, what is raised in it comes out wrapped in a group (cpython issue 103590).
        try:
            return await self._look(question, timeout)
        except TimeoutError as error:
            raise UnableError("the live look at the cluster failed (its time was up).") from error
        except ExceptionGroup as errors:
            if errors.split((ApiError, CountersignError, TimeoutError))[1] is not None:
                raise
            raise UnableError(f"the live look at the cluster failed ({_first(errors)}).") from errors

    async def _look(self, question: Question, timeout: float) -> Look:
        async with asyncio.timeout(timeout), asyncio.TaskGroup() as tasks:
            known = self._memory()
            identities = tasks.create_task(self._settings(_IDENTITIES, known.identities, timeout))
            reviewers = tasks.create_task(self._settings(_REVIEWERS, known.reviewers, timeout))
            environments = tasks.create_task(self._settings(_ENVIRONMENTS, known.environments, timeout))
            names = tuple(dict.fromkeys(question.requests))
            requests = [tasks.create_task(self._request(name, timeout)) for name in names]
            approvals = [tasks.create_task(self._approvals(name, timeout)) for name in names]
            namespace = tasks.create_task(self._namespace(question.namespace, timeout))
            losses = tasks.create_task(self.losses(question.losses, timeout=timeout) if question.losses else _nothing())
            records = tasks.create_task(self._records(timeout)) if question.all_requests else None
        self._check_clock()
        live = namespace.result()
        snapshot = Snapshot(
            cluster=known.cluster,
            identities=identities.result(),
            reviewers=reviewers.result(),
            environments=environments.result(),
            **(
                records.result()
                if records
                else _overlay(known, names, [task.result() for task in requests], [task.result() for task in approvals])
            ),
            namespaces=_with_namespace(known.namespaces, question.namespace, live),
        )
        return Look(snapshot, live, losses.result())

    def _check_clock(self) -> None:
        """Expiry and windows are by our clock, signatures' times by the API server's. Raises UnableError."""
        ahead = self._clock_ahead()
        if abs(ahead) > _APART:
            which = "ahead of" if ahead > timedelta() else "behind"
            raise UnableError(f"its node's clock is {abs(ahead).total_seconds():.0f} s {which} the API server's; set it right (NTP).")

    async def losses(self, target: Target, *, timeout: float) -> Losses:
        """Raises UnableError."""
        fixed = fixed_losses(target)
        if fixed is not None:
            return fixed
        home = _namespace_path(target.name)
        try:
            claims, services = await asyncio.gather(
                self._api.get(f"{home}/persistentvolumeclaims", accept=_METADATA, timeout=timeout),
                self._api.get(f"{home}/services", timeout=timeout),
            )
            balancers = sum(1 for service in listed(services) if text(service, "spec", "type") == "LoadBalancer")
            return Losses(volumes=len(listed(claims)), load_balancers=balancers)
        except (ApiError, WireError) as error:
            raise UnableError(f"what would be lost could not be counted ({error}).") from error

    async def target(self, target: Target, *, timeout: float) -> JsonObject | None:
        """Raises UnableError, which names the role to grant where the kind may not be read."""
        if not (_is_name(target.name) and _is_name(target.namespace or "any")):
            return None
        try:
            return await self._api.get(target_path(target), timeout=timeout)
        except NotFoundError:
            return None
        except ApiError as error:
            if error.status == _FORBIDDEN:
                raise UnableError(
                    f"Countersign may not read {target.resource}.{target.group}; grant `get` on it by a ClusterRole "
                    f'with the label {GROUP}/aggregate-to-webhook: "true" (it is gathered into countersign-webhook-listed).'
                ) from error
            raise UnableError(f"the target could not be read ({error}).") from error

    async def count_approvals(self, request: str, *, timeout: float) -> int:
        """Raises UnableError."""
        try:
            return len(listed(await self._approval_page(request, timeout, accept=_METADATA)))
        except (ApiError, WireError) as error:
            raise UnableError(f"the approvals could not be read ({error}).") from error

    async def _settings(self, kind: _Kind, known: Mapping[str, Any], timeout: float) -> Mapping[str, Any]:
        page = await self._api.get(f"{_OURS}/{kind.plural}", accept=_METADATA, timeout=timeout)
        metas = [wire.parse_meta(item) for item in listed(page)]
        # Taken now: the memory goes on changing while the rest is fetched.
        kept = {meta.name: known[meta.name] for meta in metas if _is_same(known.get(meta.name), meta.uid, meta.resource_version)}
        changed = [meta.name for meta in metas if meta.name not in kept]
        fetched = await asyncio.gather(*(self._setting(kind, name, timeout) for name in changed))
        return kept | {name: setting for name, setting in zip(changed, fetched, strict=True) if setting is not None}

    async def _setting(self, kind: _Kind, name: str, timeout: float) -> Any:
        return await self._or_none(f"{_OURS}/{kind.plural}/{name}", kind.parse, timeout)

    async def _request(self, name: str, timeout: float) -> ChangeRequest | None:
        return await self._or_none(f"{_OURS}/changerequests/{name}", wire.parse_change_request, timeout)

    async def _approvals(self, name: str, timeout: float) -> tuple[Approval, ...]:
        return tuple(wire.parse_approval(item) for item in listed(await self._approval_page(name, timeout)))

    async def _approval_page(self, request: str, timeout: float, *, accept: str = "application/json") -> JsonObject:
        """All approvals of a request in one page, which bounds what they can cost us. Raises ApiError, UnableError where there are more."""
        query = {"fieldSelector": f"spec.changeRequest={request}", "limit": str(_MOST_LISTED)}
        page = await self._api.get(f"{_OURS}/approvals", query=query, accept=accept, timeout=timeout)
        if text(page, "metadata", "continue"):
            raise UnableError(f"there are more than {_MOST_LISTED} approvals of {request}, which cannot all be looked at.")
        return page

    async def _namespace(self, name: str, timeout: float) -> Namespace | None:
        return await self._or_none(_namespace_path(name), wire.parse_namespace, timeout) if name else None

    async def _records(self, timeout: float) -> dict[str, Any]:
        """All change requests and all approvals, as a snapshot has them."""
        requests, approvals = await asyncio.gather(
            self._all("changerequests", wire.parse_change_request, timeout), self._all("approvals", wire.parse_approval, timeout)
        )
        by_name = {request.meta.name: request for request in requests}
        rounds: dict[str, list[ChangeRequest]] = {}
        for request in by_name.values():
            rounds.setdefault(act_of(request), []).append(request)
        signed: dict[str, list[Approval]] = {}
        for approval in approvals:
            signed.setdefault(approval.change_request, []).append(approval)
        return {"requests": by_name, "rounds": rounds, "approvals": signed}

    async def _all(self, plural: str, parse: Callable[[JsonObject], T], timeout: float) -> list[T]:
        """Every object of ours of one kind; in parts, since they may be thousands."""
        found: list[T] = []
        query = {"limit": str(_PART)}
        while True:
            page = await self._api.get(f"{_OURS}/{plural}", query=query, timeout=timeout)
            items, rest = part_of_list(page)
            found += map(parse, items)
            if not rest:
                return found
            query["continue"] = rest

    async def _or_none(self, path: str, parse: Callable[[JsonObject], T], timeout: float) -> T | None:
        try:
            return parse(await self._api.get(path, timeout=timeout))
        except NotFoundError:
            return None


_FORBIDDEN: Final = 403


def target_path(target: Target) -> str:
    """The API path of a target, at the version that the request named."""
    version = quote(target.version, safe="")
    root = f"/apis/{quote(target.group, safe='')}/{version}" if target.group else f"/api/{version}"
    within = f"/namespaces/{quote(target.namespace, safe='')}" if target.namespace else ""
    return f"{root}{within}/{quote(target.resource, safe='')}/{quote(target.name, safe='')}"


def _is_name(name: str) -> bool:
    """Whether an object can bear it (apimachinery's IsValidPathSegmentName); a forged review may hold any text."""
    return name not in (".", "..") and "/" not in name and "%" not in name


def _namespace_path(name: str) -> str:
    return f"/api/v1/namespaces/{quote(name, safe='')}"


async def _nothing() -> Losses:
    return Losses()


def _is_same(known: Any, uid: str, resource_version: str) -> bool:
    return known is not None and known.meta.uid == uid and known.meta.resource_version == resource_version


def _with_namespace(known: Mapping[str, Namespace], name: str, live: Namespace | None) -> Mapping[str, Namespace]:
    others = {other: namespace for other, namespace in known.items() if other != name} if name else known
    return {**others, name: live} if live is not None else others


def _overlay(
    known: Snapshot, names: Iterable[str], requests: Iterable[ChangeRequest | None], approvals: Iterable[tuple[Approval, ...]]
) -> dict[str, Any]:
    """The known requests, with those that were asked for as they are now."""
    asked = tuple(names)
    merged = {name: request for name, request in known.requests.items() if name not in asked}
    merged.update({request.meta.name: request for request in requests if request is not None})
    touched = {act_of(known.requests[name]) for name in asked if name in known.requests}
    touched |= {act_of(merged[name]) for name in asked if name in merged}
    rounds = dict(known.rounds)
    for digest in touched:
        rounds[digest] = tuple(request for request in _of_act(known, digest) if request.meta.name not in asked) + tuple(
            merged[name] for name in asked if name in merged and act_of(merged[name]) == digest
        )
    return {"requests": merged, "rounds": rounds, "approvals": {**known.approvals, **dict(zip(asked, approvals, strict=True))}}


def _of_act(known: Snapshot, digest: str) -> Iterable[ChangeRequest]:
    return known.rounds.get(digest, ())


def _first(errors: BaseException) -> str:
    while isinstance(errors, BaseExceptionGroup):
        errors = errors.exceptions[0]
    return str(errors) or type(errors).__name__
