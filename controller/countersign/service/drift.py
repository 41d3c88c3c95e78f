"""Tells loudly where protection has become less, whoever did it and however: by Event, metric and log. It changes and refuses nothing.

What namespaces were in is remembered in an annotation on each, so that a restart of the operator is no gap.
"""

import logging
from collections import defaultdict
from collections.abc import Sequence
from typing import Final, Protocol

from countersign.domain import drift
from countersign.domain.drift import Home, Left, Settings, Weakened
from countersign.domain.names import ANNOTATION_ENVIRONMENTS, GROUP, VERSION
from countersign.domain.resources import Meta, Namespace, ProtectedEnvironment, Target
from countersign.domain.snapshot import Snapshot
from countersign.service.keeping import Notice, Notices
from countersign.service.ports import Api, ApiError, ConflictError, NotFoundError

_log = logging.getLogger(__name__)

_MOST: Final = 20  # namespaces that get an Event of their own for one environment in one round; the log has them all
_NAMED: Final = 10


class DriftMeter(Protocol):
    def left(self, environment: str) -> None: ...

    def weakened(self, kind: str) -> None: ...


class Drift:
    def __init__(self, api: Api, notices: Notices, meter: DriftMeter) -> None:
        self._api = api
        self._notices = notices
        self._meter = meter
        self._homes: dict[str, Home] = {}
        self._settings: Settings | None = None

    async def reconcile(self, snapshot: Snapshot) -> None:
        """Compare with the round before; then remember. Raises the last ApiError, once all has been told."""
        settings = Settings.of(snapshot)
        namespaces = tuple(snapshot.namespaces.values())
        environments = tuple(settings.environments.values())
        homes = {each.meta.uid: drift.home_of(each, environments) for each in namespaces}
        known, self._settings = self._settings, settings
        there = settings.environments.keys() | (known.environments.keys() if known else ())  # an annotation may name anything
        departed: defaultdict[str, list[Left]] = defaultdict(list)
        for each in namespaces:
            before = self._homes.get(each.meta.uid) or drift.home_noted(each)
            if not each.meta.deleting:
                for one in drift.left(each, before, homes[each.meta.uid]):
                    if one.environment in there:
                        departed[one.environment].append(one)
        self._homes = homes
        for weakened in drift.weakened(known, settings) if known else ():
            await self._tell_weakened(weakened)
        for name, those in departed.items():
            await self._tell_left(settings.environments.get(name), those)
        await self._note(namespaces, homes)

    async def _tell_weakened(self, one: Weakened) -> None:
        self._meter.weakened(one.plural)
        what = "; ".join(one.what)
        _log.warning("%s %s: %s", one.kind, one.meta.name, what)
        registers = one.plural == "reviewers"
        reason, sentence = ("Registered", f"Who may sign has changed: {what}.") if registers else ("ProtectionWeakened", f"{what}.")
        await self._notices.tell(Notice(one.kind, _ours(one.plural, one.meta), reason, sentence, warning=not registers))

    async def _tell_left(self, environment: ProtectedEnvironment | None, those: Sequence[Left]) -> None:
        for one in those:
            self._meter.left(one.environment)
            _log.warning("the namespace %s has left the environment %s: %s", one.namespace.name, one.environment, one.difference)
        if environment is None:
            return  # its deletion is told already, and what went with it is in the log
        names = ", ".join(one.namespace.name for one in those[:_NAMED])
        more = f" and {len(those) - _NAMED} more" if len(those) > _NAMED else ""
        about = _ours("protectedenvironments", environment.meta)
        sentence = f"No longer of this environment: {names}{more}. {those[0].difference}"
        await self._notices.tell(Notice("ProtectedEnvironment", about, "NamespacesLeft", sentence, warning=True))
        for one in those[:_MOST]:
            target = Target(group="", version="v1", resource="namespaces", name=one.namespace.name, uid=one.namespace.uid)
            sentence = f"It has left the environment {one.environment}: {one.difference}. The API server's audit log says who did it."
            await self._notices.tell(Notice("Namespace", target, "LeftEnvironment", sentence, warning=True))

    async def _note(self, namespaces: Sequence[Namespace], homes: dict[str, Home]) -> None:
        failed: ApiError | None = None
        for namespace in namespaces:
            wanted = drift.note(homes[namespace.meta.uid])
            if namespace.meta.deleting or namespace.annotations.get(ANNOTATION_ENVIRONMENTS) == wanted:
                continue
            patch = {"metadata": {"uid": namespace.meta.uid, "annotations": {ANNOTATION_ENVIRONMENTS: wanted}}}
            try:
                await self._api.patch(f"/api/v1/namespaces/{namespace.meta.name}", patch)
            except (ConflictError, NotFoundError):  # gone, or another of its name
                continue
            except ApiError as error:
                _log.warning("cannot note on the namespace %s which environments it is in: %s", namespace.meta.name, error)
                failed = error
        if failed is not None:
            raise failed


def _ours(plural: str, meta: Meta) -> Target:
    return Target(group=GROUP, version=VERSION, resource=plural, name=meta.name, uid=meta.uid)
