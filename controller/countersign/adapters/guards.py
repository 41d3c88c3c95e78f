"""Keeps our guards in the cluster as they should be: puts them in force, and puts back at once what somebody has changed.

What the API server answers to our own write is the guard's normal form, defaults and all. An event that shows anything else is an attack
or an accident; either is undone first and reported then. A guard whose owner is gone is not made again: that is what uninstalling is.

The webhook configuration is let through only as the guards in force demand it (wire/guards/exact.py): a new one is written again and
again until the API server has taken them up.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from countersign.domain.document import JsonObject, items, mapping, sha256, text
from countersign.domain.profile import Profile
from countersign.domain.resources import AgentIdentity, ProtectedEnvironment
from countersign.domain.tampering import Repair, What, differences, lacking, last_writer
from countersign.service.ports import Api, ApiError, Clock, ConflictError, NotFoundError
from countersign.wire.guards import Guard, Site, guards
from countersign.wire.guards.exact import NOT_AS_WRITTEN
from countersign.wire.guards.objects import API, COLLECTIONS, CONFIGURATION, OWNER, quarter, root_of
from countersign.wire.shards import deal

_OWNER_PATH: Final = f"/apis/rbac.authorization.k8s.io/v1/clusterroles/{OWNER}"
_ATTEMPTS: Final = 5
_PAUSE: Final = 0.25  # seconds
_FORBIDDEN: Final = 403
_TRIES: Final = 20  # policies are taken up about once a second (k8s.io/apiserver policy/generic/policy_source.go)
_SUSPICIOUS: Final = 60.0  # seconds; a watch of the API server's own that broke off is back after half of that at most
INSPECTION: Final = 30.0  # seconds between looks at all guards, besides their events

_log = logging.getLogger(__name__)

_OURS: Final = "countersign-operator"  # how our own writes begin the name of their field manager
_ROOTS: Final = {collection: root_of(kind) for kind, collection in COLLECTIONS.items()}

Told = Callable[[Repair], None]


@dataclass(frozen=True, slots=True)
class _Kept:
    """A guard as we wrote it last: what of it matters, and the version that the write made."""

    guard: Guard
    form: JsonObject
    version: int

    @classmethod
    def of(cls, guard: Guard, answer: JsonObject) -> "_Kept":
        return cls(guard, form(answer), _version(answer))

    def agrees(self, event: str, document: JsonObject) -> bool:
        """Whether an event shows the guard as it should be, or as it was before our last write."""
        return event != "DELETED" and (form(document) == self.form or 0 < _version(document) <= self.version)


class GuardKeeper:
    """`told` hears of each repair. `owners`: what may own namespaces, as `group/Kind`. `jail`: as in wire/guards/jail.py.

    `pause`: seconds between two attempts at a write that the guards do not let through yet.
    """

    def __init__(
        self,
        api: Api,
        clock: Clock,
        *,
        namespace: str,
        webhook_url: str,
        told: Told,
        owners: tuple[str, ...] = (),
        profile: Profile = Profile.STANDARD,
        jail: bool = False,
        pause: float = _PAUSE,
    ) -> None:
        self._api = api
        self._clock = clock
        self._namespace = namespace
        self._webhook_url = webhook_url
        self._told = told
        self._owners = owners
        self._profile = profile
        self._jail = jail
        self._pause = pause
        self._refused_since: float | None = None
        self._kept: dict[str, _Kept] = {}
        self._known: set[str] = set()
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._owner_uid = ""
        self._mutating: bool | None = None
        self._asked = 0.0
        self._inspected: tuple[set[str], float] = (set(), 0.0)
        self._last: tuple[object, tuple[Guard, ...], tuple[str, ...]] | None = None

    @property
    def in_force(self) -> bool:
        return bool(self._kept)

    async def keep(
        self, identities: Sequence[AgentIdentity], environments: Sequence[ProtectedEnvironment], ca_bundle: bytes
    ) -> tuple[str, ...]:
        """Put everything in force; the names of the identities for which there is no room. Raises the first ApiError, once all has been tried."""
        if not await self._has_owner():
            return ()
        mutating = await self._serves_mutation()
        now = quarter(self._clock.now()) if self._profile is Profile.HARDENED else None
        site = Site(self._owner_uid, self._namespace, self._webhook_url, ca_bundle, mutating, self._owners, self._profile, now, self._jail)
        wanted, left_out = await self._compiled(site, identities, environments)
        failed: ApiError | None = None
        for guard in wanted:
            async with self._locks[guard.path]:
                known = self._kept.get(guard.path)
                if known is None or known.guard.body != guard.body:
                    try:
                        await self._put(guard)
                    except ApiError as error:  # one that somebody keeps from being written keeps no other back
                        failed = failed or error
        paths, moment = {guard.path for guard in wanted}, self._clock.monotonic()
        if self._inspected[0] != paths or moment - self._inspected[1] >= INSPECTION:
            await self._inspect(paths)
            self._inspected = (paths, moment)
        if failed is not None:
            raise failed
        return left_out

    async def _compiled(
        self, site: Site, identities: Sequence[AgentIdentity], environments: Sequence[ProtectedEnvironment]
    ) -> tuple[tuple[Guard, ...], tuple[str, ...]]:
        """The guards, made again only where something is new: with thousands of identities that takes a tenth of a second.

        In a thread: a repair does not wait for it.
        """
        key = (site, tuple(identities), tuple(environments))
        if self._last is None or self._last[0] != key:
            made = await asyncio.to_thread(guards, site, identities, environments)
            self._last = (key, made, deal(identities).left_out)
        return self._last[1], self._last[2]

    async def seen(self, collection: str, event: str, document: JsonObject) -> None:
        """Take an event on one object of ours or anybody's; put ours back. Raises ApiError."""
        path = f"{_ROOTS[collection]}/{text(document, 'metadata', 'name')}"
        if path not in self._kept or self._kept[path].agrees(event, document):
            return
        began = self._clock.monotonic()
        async with self._locks[path]:
            known = self._kept.get(path)
            if known is None or known.agrees(event, document):
                return  # our own write, whose answer came after its event
            if event == "DELETED":
                # Put back first: whether it was taken by uninstalling is asked in the same moment.
                what, is_owned = await asyncio.gather(self._restore(known, exists=False), self._has_owner())
                if not is_owned:
                    self._kept.clear()
                    await self._remove(path)
                    return
            else:
                what = await self._restore(known, exists=True)
            if what is not None:
                self._told(self._repair(known, what, document, began))

    def _repair(self, known: _Kept, what: What, found: JsonObject, began: float) -> Repair:
        gone = what is What.DELETED
        shape = form(found)
        return Repair(
            kind=known.guard.kind,
            name=known.guard.name,
            collection=known.guard.collection,
            what=what,
            lines=() if gone else differences(known.form, shape),
            by="" if gone else last_writer(found, _OURS),
            wanted=f"sha256:{sha256(known.form)}",
            found="" if gone else f"sha256:{sha256(shape)}",
            seconds=self._clock.monotonic() - began,
        )

    def let_go(self) -> None:
        """Put nothing back from now on: another process is about to lead."""
        self._kept.clear()

    def doubt(self, collection: str, document: JsonObject) -> None:
        """Forget what is known of a guard, so that the next `keep` writes it whatever it finds."""
        self._kept.pop(f"{_ROOTS[collection]}/{text(document, 'metadata', 'name')}", None)

    async def _restore(self, known: _Kept, *, exists: bool) -> What | None:
        """What had happened to it; None where it was no more than an old event, and the guard stands as it should."""
        what = What.CHANGED if exists else What.DELETED
        try:
            if exists:
                # A patch without a version: controllers write status at the same moment, and a conflict would cost two more trips.
                answer = await self._api.patch(known.guard.path, _restoring(known.guard), content_type="application/json-patch+json")
            else:
                answer = await self._write(known.guard, None)
        except ConflictError:
            live = await self._read(known.guard.path)
            if live is not None and form(live) == known.form:
                return None
            raise
        except NotFoundError:
            answer, what = await self._write(known.guard, None), What.DELETED
        self._took(known.guard, answer)
        return what

    def _took(self, guard: Guard, answer: JsonObject) -> None:
        """Note a write of ours; one that came out otherwise is told, and tried again with every round of upkeep."""
        if not (missing := lacking(guard.body, answer)):
            self._kept[guard.path] = _Kept.of(guard, answer)
            return
        self._kept.pop(guard.path, None)
        wanted, found = (f"sha256:{sha256(form(document))}" for document in (guard.body, answer))
        self._told(Repair(guard.kind, guard.name, guard.collection, What.REWRITTEN, missing, "", wanted, found, 0.0))

    async def _put(self, guard: Guard) -> None:
        """Write a guard whose content is new. Raises ApiError."""
        refused: ApiError | None = None
        for _ in range(_TRIES):
            try:
                await self._put_once(guard)
            except ApiError as error:
                if NOT_AS_WRITTEN not in str(error):
                    raise
                refused = error
                await asyncio.sleep(self._pause)
            else:
                if guard.name == CONFIGURATION:
                    self._refused_since = None
                return
        if refused is not None:
            self._suspect(guard)
            raise refused

    def _suspect(self, guard: Guard) -> None:
        """The guards do not let it through: they are not taken up yet, or somebody rewrites it on its way."""
        moment = self._clock.monotonic()
        self._refused_since = moment if self._refused_since is None else self._refused_since
        if moment - self._refused_since >= _SUSPICIOUS:
            wanted = f"sha256:{sha256(form(guard.body))}"
            self._told(Repair(guard.kind, guard.name, guard.collection, What.REWRITTEN, (), "", wanted, "", 0.0))

    async def _put_once(self, guard: Guard) -> None:
        """Whatever stands there. At the first time, what somebody did while nobody looked is told."""
        for _ in range(_ATTEMPTS):
            live = await self._read(guard.path)
            try:
                answer = await self._write(guard, live)
            except (ConflictError, NotFoundError):
                continue
            if live is not None and guard.path not in self._known and last_writer(live, _OURS) and lacking(guard.body, live):
                self._told(self._repair(_Kept.of(guard, answer), What.CHANGED, live, self._clock.monotonic()))
            self._known.add(guard.path)
            self._took(guard, answer)
            return
        raise ConflictError(409, f"The guard {guard.name} is being changed faster than it can be written.")

    async def _write(self, guard: Guard, live: JsonObject | None) -> JsonObject:
        if live is None:
            return await self._api.create(guard.path.rpartition("/")[0], guard.body)
        version = text(live, "metadata", "resourceVersion")
        return await self._api.replace(guard.path, {**guard.body, "metadata": {**guard.body["metadata"], "resourceVersion": version}})

    async def _read(self, path: str) -> JsonObject | None:
        try:
            return await self._api.get(path)
        except NotFoundError:
            return None

    async def _inspect(self, wanted: set[str]) -> None:
        """Look at all that stands: a watch may have missed something. Guards that are wanted no more, as of an emptied shard, go."""
        for kind, collection in COLLECTIONS.items():
            if kind.startswith("Mutating") and not self._mutating:
                continue
            root = root_of(kind)
            page = await self._api.get(root)
            standing = {f"{root}/{text(document, 'metadata', 'name')}": document for document in items(page, "items")}
            for path, document in standing.items():
                if path in wanted:
                    await self.seen(collection, "MODIFIED", document)
                elif _is_owned(document, self._owner_uid):
                    async with self._locks[path]:
                        self._kept.pop(path, None)
                        await self._drop(path)
            for path in [path for path in self._kept if path.startswith(f"{root}/") and path not in standing]:
                await self.seen(collection, "DELETED", {"metadata": {"name": path.rpartition("/")[2]}})

    async def _drop(self, path: str) -> None:
        """A guard of another release may bear a name that the chart of this one gives no right to: it keeps nothing else back."""
        try:
            await self._remove(path)
        except ApiError as error:
            if error.status != _FORBIDDEN:
                raise
            _log.warning("%s is a guard of another release and stands still: upgrade to that release, or delete it (%s)", path, error)

    async def _remove(self, path: str) -> None:
        try:
            await self._api.delete(path)
        except NotFoundError:
            return

    async def _has_owner(self) -> bool:
        """Whether the chart's ClusterRole stands. Without it nothing is kept: Countersign is being uninstalled."""
        role = await self._read(_OWNER_PATH)
        if role is None or text(role, "metadata", "deletionTimestamp"):
            if self._kept:
                _log.warning("the ClusterRole %s is gone: Countersign is being uninstalled, its guards are kept no more", OWNER)
            self._kept.clear()
            return False
        self._owner_uid = text(role, "metadata", "uid")
        return True

    async def _serves_mutation(self) -> bool:
        """Whether there is MutatingAdmissionPolicy v1; asked again from time to time, since an upgrade of the API server brings it."""
        moment = self._clock.monotonic()
        if self._mutating is None or moment - self._asked >= INSPECTION:
            listed = await self._api.get(f"/apis/{API}")
            self._asked = moment
            self._mutating = any(text(resource, "name") == "mutatingadmissionpolicies" for resource in items(listed, "resources"))
        return self._mutating


def _restoring(guard: Guard) -> list[JsonObject]:
    """A JSON patch to the guard as it should be; `add` takes the place of what is there."""
    metadata = {"labels": guard.body["metadata"]["labels"], "ownerReferences": guard.body["metadata"]["ownerReferences"]}
    parts = {f"/metadata/{key}": value for key, value in {**metadata, "annotations": {}, "finalizers": []}.items()}
    parts |= {f"/{key}": guard.body[key] for key in ("spec", "webhooks") if key in guard.body}
    return [{"op": "add", "path": path, "value": value} for path, value in parts.items()]


def form(document: JsonObject) -> JsonObject:
    """What of a guard matters: all but what the API server keeps for itself."""
    metadata = mapping(document, "metadata")
    kept = {
        key: metadata[key] for key in ("labels", "annotations", "ownerReferences", "finalizers", "deletionTimestamp") if key in metadata
    }
    return {"metadata": kept, "spec": document.get("spec"), "webhooks": document.get("webhooks")}


def _version(document: JsonObject) -> int:
    """Versions of one kind of object are numbers that grow (KEP-5504); 0 for what is none, which says nothing."""
    written = text(document, "metadata", "resourceVersion")
    return int(written) if written.isdecimal() else 0


def _is_owned(document: JsonObject, owner_uid: str) -> bool:
    return any(text(reference, "uid") == owner_uid for reference in items(document, "metadata", "ownerReferences"))
