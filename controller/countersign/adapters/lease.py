"""Leader election by a coordination.k8s.io Lease, after client-go's tools/leaderelection: who holds it acts, who loses it must stop.

The clocks of two machines are never compared: a holder is thought dead when its record has not changed for `DURATION` of our own time.
"""

import asyncio
import logging
from typing import Any, Final

from countersign.domain.document import JsonObject, items, mapping, text
from countersign.domain.errors import CountersignError
from countersign.service.keeping import Owner
from countersign.service.ports import Api, ApiError, Clock, ConflictError, NotFoundError

DURATION: Final = 15.0
RENEW_DEADLINE: Final = 10.0
RETRY: Final = 2.0

_log = logging.getLogger(__name__)


class LeaseLost(CountersignError):
    """Somebody else acts now, or may: this process has to end at once."""


class Lease:
    """`acquire`, then `hold` beside the work, then `release`. `identity` must be new for each process."""

    def __init__(self, api: Api, clock: Clock, owner: Owner, *, namespace: str, name: str, identity: str) -> None:
        self._api = api
        self._clock = clock
        self._owner = owner
        self._collection = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        self._path = f"{self._collection}/{name}"
        self._name = name
        self._identity = identity
        self._record: tuple[str, str] | None = None  # holder and renewTime as last read
        self._record_seen = 0.0
        self.held = False

    async def acquire(self) -> None:
        """Return once the lease is ours."""
        while not self.held:
            self.held = await self._try()
            if not self.held:
                await asyncio.sleep(RETRY)
        _log.info("holding the lease %s as %s", self._name, self._identity)

    async def hold(self) -> None:
        """Renew for ever. Raises LeaseLost when that has not worked for RENEW_DEADLINE seconds, or another holds it."""
        renewed = self._clock.monotonic()
        while True:
            await asyncio.sleep(RETRY)
            left = RENEW_DEADLINE - (self._clock.monotonic() - renewed)
            if left <= 0:
                self.held = False
                raise LeaseLost(f"The lease {self._name} could not be renewed for {RENEW_DEADLINE:.0f} s.")
            if await self._try(timeout=left):
                # It was written 4 s ago at the most (see _try), so that who gives up 10 s from now does so before others may take it, after 15.
                renewed = self._clock.monotonic()
            elif self._record is not None and self._record[0] not in ("", self._identity):
                self.held = False
                raise LeaseLost(f"The lease {self._name} is held by {self._record[0]} now.")

    async def release(self) -> None:
        """Let the next one take it at once."""
        if not self.held:
            return
        self.held = False
        try:
            lease = await self._api.get(self._path)
            if text(lease, "spec", "holderIdentity") == self._identity:
                await self._api.replace(self._path, self._written(lease, holder="", seconds=1))
        except ApiError as error:
            _log.warning("the lease %s was not released: %s", self._name, error)

    async def _try(self, timeout: float = 2 * RETRY) -> bool:
        """Take or renew it once, within so many seconds. False where another holds it, or where the API server does not answer.

        Whoever renews has what is left, (10 - 2) / 2 s for each call: an API server that is slow would else lose its operator to a
        timeout of ours, and get a new one to serve.
        """
        each = timeout / 2  # it is read, then written
        try:
            try:
                lease = await self._api.get(self._path, timeout=each)
            except NotFoundError:
                return await self._create(each)
            if not self._may_take(lease):
                return False
            if not items(lease, "metadata", "ownerReferences"):
                lease = {**lease, "metadata": {**mapping(lease, "metadata"), "ownerReferences": await self._owner.references()}}
            await self._api.replace(self._path, self._written(lease), timeout=each)
        except ConflictError:
            return False
        except ApiError as error:
            _log.warning("the lease %s: %s", self._name, error)
            return False
        return True

    async def _create(self, timeout: float) -> bool:
        """Not where Countersign is being uninstalled: nobody would remove it."""
        references = await self._owner.references()
        if not references:
            return False
        await self._api.create(self._collection, self._written({"metadata": {"ownerReferences": references}}), timeout=timeout)
        return True

    def _may_take(self, lease: JsonObject) -> bool:
        record = (text(lease, "spec", "holderIdentity"), text(lease, "spec", "renewTime"))
        now = self._clock.monotonic()
        if record != self._record:
            self._record, self._record_seen = record, now
        duration = mapping(lease, "spec").get("leaseDurationSeconds")
        return record[0] in ("", self._identity) or now - self._record_seen > (duration if isinstance(duration, int) else DURATION)

    def _written(self, lease: JsonObject, *, holder: str | None = None, seconds: int = int(DURATION)) -> JsonObject:
        now = self._clock.now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        spec: dict[str, Any] = {**mapping(lease, "spec")}
        holder = self._identity if holder is None else holder
        if text(spec, "holderIdentity") != holder:
            transitions = spec.get("leaseTransitions")
            spec |= {"acquireTime": now, "leaseTransitions": transitions + 1 if isinstance(transitions, int) else 0}
        spec |= {"holderIdentity": holder, "leaseDurationSeconds": seconds, "renewTime": now}
        kept = mapping(lease, "metadata")
        metadata = {"name": self._name, **{key: kept[key] for key in ("labels", "ownerReferences", "resourceVersion") if key in kept}}
        return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec}
