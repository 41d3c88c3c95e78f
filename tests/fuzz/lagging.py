"""A memory that lags behind the API server by a different time for each kind, and a replica of the webhook that has one."""

import copy
from collections.abc import Mapping

from countersign.domain.errors import UnableError
from countersign.domain.snapshot import Snapshot
from tests.support.world import Json, Key, World, WorldState

KINDS = ("agentidentities", "reviewers", "protectedenvironments", "changerequests", "approvals", "namespaces")


class LaggingState(WorldState):
    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._kept: dict[str, Mapping[Key, Json]] = {}

    def hold(self, kind: str) -> None:
        """From now on nothing new is heard of this kind."""
        self._kept[kind] = {key: copy.deepcopy(document) for key, document in self._world.documents.items() if key[0] == kind}

    def catch_up(self, kind: str) -> None:
        self._kept.pop(kind, None)

    @property
    def is_behind(self) -> bool:
        return bool(self._kept)

    def documents(self, kind: str) -> list[Json]:
        """What is remembered of a kind."""
        return [document for key, document in self._remembered().items() if key[0] == kind]

    def snapshot(self) -> Snapshot:
        if self.unable:
            raise UnableError(self.unable)
        shadow = copy.copy(self._world)
        shadow.documents = self._remembered()
        return shadow.snapshot()

    def _remembered(self) -> dict[Key, Json]:
        live = {key: document for key, document in self._world.documents.items() if key[0] not in self._kept}
        return live | {key: document for kept in self._kept.values() for key, document in kept.items()}
