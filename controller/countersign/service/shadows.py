"""Keeps count of who else could rewrite what is written to us, and of FlowSchemas that go before ours."""

import logging
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from countersign.domain.document import JsonObject, mapping, text
from countersign.domain.names import GROUP, LABEL_AGENT
from countersign.domain.resources import ProtectedEnvironment, Target
from countersign.domain.shadows import reaches
from countersign.domain.snapshot import Snapshot
from countersign.service.keeping import Condition, Notice, Notices

_KINDS: Final[Mapping[str, str]] = {
    "mutatingwebhookconfigurations": "MutatingWebhookConfiguration",
    "mutatingadmissionpolicies": "MutatingAdmissionPolicy",
}
_NAMED: Final = 10  # in one condition
_PART_OF: Final = "app.kubernetes.io/part-of"

_log = logging.getLogger(__name__)


class ShadowMeter(Protocol):
    def foreign(self, mutators: Mapping[str, str]) -> None:
        """By `Kind/name`, what they reach."""


class Shadows:
    """Fed by the watch of guards; `reconcile` tells of those that are new."""

    def __init__(self, notices: Notices, meter: ShadowMeter, *, namespace: str) -> None:
        self._notices = notices
        self._meter = meter
        self._namespace = namespace
        self._seen: dict[str, dict[str, JsonObject]] = {collection: {} for collection in _KINDS}
        self._told: dict[str, str] | None = None
        self._found: dict[str, str] = {}

    def replace(self, collection: str, documents: Sequence[JsonObject]) -> None:
        if collection in _KINDS:
            self._seen[collection] = {text(document, "metadata", "name"): document for document in documents}

    def apply(self, collection: str, event: str, document: JsonObject) -> None:
        if collection not in _KINDS:
            return
        if event == "DELETED":
            self._seen[collection].pop(text(document, "metadata", "name"), None)
        else:
            self._seen[collection][text(document, "metadata", "name")] = document

    async def reconcile(self, snapshot: Snapshot) -> None:
        home = snapshot.namespaces.get(self._namespace)
        labels = home.labels if home is not None else {"kubernetes.io/metadata.name": self._namespace}
        self._found = {}
        for collection, documents in self._seen.items():
            for name, document in documents.items():
                reached = reaches(collection, document, self._namespace, labels)
                if reached and text(document, "metadata", "labels", _PART_OF) != GROUP:
                    agent = mapping(document, "metadata", "labels").get(LABEL_AGENT)
                    self._found[f"{_KINDS[collection]}/{name}"] = f"{reached}{f' (written by the agent {agent})' if agent else ''}"
        self._meter.foreign(self._found)
        news = {guard: reached for guard, reached in self._found.items() if self._told is not None and guard not in self._told}
        self._told = dict(self._found)
        for mutator, reached in sorted(news.items()):
            await self._tell(mutator, reached)

    async def _tell(self, mutator: str, reached: str) -> None:
        kind, _, name = mutator.partition("/")
        sentence = f"This can rewrite what is written to {reached}. Make sure that you know whose it is."
        _log.warning("%s: %s", mutator, sentence)
        collection = next(plural for plural, each in _KINDS.items() if each == kind)
        about = Target("admissionregistration.k8s.io", "v1", collection, name)
        await self._notices.tell(Notice(kind, about, "ForeignMutator", sentence, warning=True))

    def condition(self, _: ProtectedEnvironment) -> Condition:
        if not self._found:
            return Condition(
                "Unshadowed", holds=True, reason="NoForeignMutators", message="Nobody else rewrites what is written to Countersign."
            )
        named = [f"{mutator}: {reached}" for mutator, reached in sorted(self._found.items())]
        more = f"; and {len(named) - _NAMED} more" if len(named) > _NAMED else ""
        message = f"These can rewrite what is written to Countersign; know whose they are: {'; '.join(named[:_NAMED])}{more}."
        return Condition("Unshadowed", holds=False, reason="ForeignMutators", message=message[:4000])
