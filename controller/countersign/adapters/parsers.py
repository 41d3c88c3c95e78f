"""The `Parsers` port: our own kinds from the JSON of a review."""

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from countersign.domain.document import JsonObject
from countersign.domain.resources import AgentIdentity, Approval, ProtectedEnvironment, Reviewer
from countersign.wire import resources as wire
from countersign.wire.shards import deal

_SETTINGS: Final[Mapping[str, Callable[[JsonObject], AgentIdentity | Reviewer | ProtectedEnvironment]]] = {
    "agentidentities": wire.parse_agent_identity,
    "reviewers": wire.parse_reviewer,
    "protectedenvironments": wire.parse_environment,
}


class WireParsers:
    def setting(self, resource: str, document: JsonObject) -> AgentIdentity | Reviewer | ProtectedEnvironment:
        return _SETTINGS[resource](document)

    def approval(self, document: JsonObject) -> Approval:
        return wire.parse_approval(document)

    def without_room(self, identities: Iterable[AgentIdentity]) -> tuple[str, ...]:
        return deal(identities).left_out
