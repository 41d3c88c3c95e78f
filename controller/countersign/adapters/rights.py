"""Roles and bindings of the whole cluster, listed in pages and watched, kept as small as posture needs them.

A page at a time, since a list of ten thousand bindings is tens of megabytes as JSON, and a few when it has been read.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Final

from countersign.domain.document import JsonObject, items, mapping, text
from countersign.domain.rbac import Binding, RoleRef, Rule
from countersign.service.ports import Api, ApiError, GoneError
from countersign.wire.rbac import BINDINGS, COLLECTIONS, ROLES, parse_binding, parse_role, path_of

_log = logging.getLogger(__name__)

_PAGE: Final = 500
_WATCH_SECONDS: Final = 300
_FIRST_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 30.0


class RightsWatch:
    """The `Rights` port. `run` until cancelled; whom `tell` has named is called after each change."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._changed: Callable[[], None] = _nobody
        self._roles: dict[str, dict[RoleRef, tuple[Rule, ...]]] = {}
        self._bindings: dict[str, dict[tuple[str, str], Binding]] = {}
        self._versions: dict[str, str] = {}
        self._faults: dict[str, str] = {}
        self._count = 0

    @property
    def version(self) -> int:
        """Another one after each change."""
        return self._count

    @property
    def fault(self) -> str:
        """Why roles or bindings are not known; "" where they are, or soon will be."""
        return next(iter(self._faults.values()), "")

    def known(self) -> tuple[Mapping[RoleRef, Sequence[Rule]], Sequence[Binding]] | None:
        """All of them as of now, in containers of their own; None until all have been listed."""
        if any(plural not in self._versions and not self._has(plural) for plural in COLLECTIONS):
            return None
        roles = {ref: rules for plural in ROLES for ref, rules in self._roles[plural].items()}
        return roles, [binding for plural in BINDINGS for binding in self._bindings[plural].values()]

    def tell(self, changed: Callable[[], None]) -> None:
        self._changed = changed

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for plural in COLLECTIONS:
                tasks.create_task(self._follow(plural), name=f"watch {plural}")

    async def take(self) -> None:
        """All of them once, and no watch. Raises ApiError."""
        for plural in COLLECTIONS:
            await self._list(plural)

    def _has(self, plural: str) -> bool:
        return plural in self._roles or plural in self._bindings

    async def _follow(self, plural: str) -> None:
        pause = _FIRST_PAUSE
        while True:
            try:
                if plural not in self._versions:
                    await self._list(plural)
                self._faults.pop(plural, None)
                await self._watch(plural)
                pause = _FIRST_PAUSE
            except GoneError:
                self._versions.pop(plural, None)
            except ApiError as error:
                _log.warning("watching %s: %s", plural, error)
                self._faults[plural] = str(error)
                self._changed()
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def _list(self, plural: str) -> None:
        """Raises ApiError; GoneError where the list outlasted its own version."""
        roles: dict[RoleRef, tuple[Rule, ...]] = {}
        bindings: dict[tuple[str, str], Binding] = {}
        query = {"limit": str(_PAGE)}
        while True:
            page = await self._api.get(path_of(plural), query=query, timeout=60)
            for document in items(page, "items"):
                _put(plural, document, roles, bindings)
            following = text(page, "metadata", "continue")
            if not following:
                break
            query = {"limit": str(_PAGE), "continue": following}
            await asyncio.sleep(0)
        if plural in ROLES:
            self._roles[plural] = roles
        else:
            self._bindings[plural] = bindings
        self._versions[plural] = text(page, "metadata", "resourceVersion")
        self._note()

    async def _watch(self, plural: str) -> None:
        watching = self._api.watch(path_of(plural), resource_version=self._versions[plural], seconds=_WATCH_SECONDS)
        async with aclosing(watching) as events:
            async for event in events:
                kind, document = text(event, "type"), mapping(event, "object")
                if kind in ("ADDED", "MODIFIED"):
                    _put(plural, document, self._roles.get(plural, {}), self._bindings.get(plural, {}))
                    self._note()
                elif kind == "DELETED":
                    self._drop(plural, document)
                    self._note()
                self._versions[plural] = text(document, "metadata", "resourceVersion") or self._versions[plural]

    def _drop(self, plural: str, document: JsonObject) -> None:
        namespace, name = text(document, "metadata", "namespace"), text(document, "metadata", "name")
        if plural in ROLES:
            self._roles[plural].pop(RoleRef(namespace, name), None)
        else:
            self._bindings[plural].pop((namespace, name), None)

    def _note(self) -> None:
        self._count += 1
        self._changed()


def _put(plural: str, document: JsonObject, roles: dict[RoleRef, tuple[Rule, ...]], bindings: dict[tuple[str, str], Binding]) -> None:
    if plural in ROLES:
        ref, rules = parse_role(document)
        roles[ref] = rules
    else:
        binding = parse_binding(document)
        bindings[binding.namespace, binding.name] = binding


def _nobody() -> None:
    """Nobody wants to know yet."""
