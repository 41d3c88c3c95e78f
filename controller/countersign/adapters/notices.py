"""Events (core/v1): what people see at the end of `kubectl describe`."""

import logging
from typing import Final
from uuid import uuid4

from countersign.domain.resources import Target
from countersign.service.keeping import Notice
from countersign.service.ports import Api, ApiError, Clock

_log = logging.getLogger(__name__)

_COMPONENT: Final = "countersign-operator"
_HOME: Final = "default"  # where the API server wants Events on cluster-scoped objects
_LONGEST: Final = 1024  # of a message (Kubernetes: validation of core/v1 Event)


class ApiNotices:
    """The `Notices` port."""

    def __init__(self, api: Api, clock: Clock, *, instance: str) -> None:
        self._api = api
        self._clock = clock
        self._instance = instance

    async def tell(self, notice: Notice) -> None:
        now = self._clock.now().strftime("%Y-%m-%dT%H:%M:%S")
        namespace = notice.about.namespace or _HOME
        event = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": f"{notice.about.name[:200]}.{uuid4().hex[:16]}", "namespace": namespace},
            "involvedObject": _reference(notice.kind, notice.about),
            "type": "Warning" if notice.warning else "Normal",
            "reason": notice.reason,
            "message": notice.message[:_LONGEST],
            "source": {"component": _COMPONENT},
            "reportingComponent": _COMPONENT,
            "reportingInstance": self._instance,
            "action": notice.reason,
            "firstTimestamp": f"{now}Z",
            "lastTimestamp": f"{now}Z",
            "eventTime": f"{now}.000000Z",
        }
        try:
            await self._api.create(f"/api/v1/namespaces/{namespace}/events", event)
        except ApiError as error:
            _log.warning("the event %s on %s %s was not written: %s", notice.reason, notice.kind, notice.about.name, error)


def _reference(kind: str, about: Target) -> dict[str, str]:
    version = f"{about.group}/{about.version}" if about.group else about.version
    reference = {"apiVersion": version, "kind": kind, "name": about.name, "namespace": about.namespace, "uid": about.uid}
    return {key: value for key, value in reference.items() if value}
