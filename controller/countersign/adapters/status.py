"""The status of our objects: what events last showed of it, and the one way in which it is written."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, Final

from countersign.domain.document import JsonObject, items, mapping, text
from countersign.domain.names import GROUP, VERSION
from countersign.service.keeping import Condition, Report
from countersign.service.ports import Api, Clock, ConflictError, NotFoundError

_ROOT: Final = f"/apis/{GROUP}/{VERSION}"


class StatusBoard:
    """The `Statuses` port. A status that says already what a report says is not written again."""

    def __init__(self, api: Api, clock: Clock) -> None:
        self._api = api
        self._clock = clock
        self._seen: defaultdict[str, dict[str, tuple[str, JsonObject]]] = defaultdict(dict)

    def observe(self, plural: str, event: str, document: JsonObject) -> None:
        """Take an event on one of our objects."""
        name = text(document, "metadata", "name")
        if event == "DELETED":
            self._seen[plural].pop(name, None)
        else:
            self._seen[plural][name] = (text(document, "metadata", "uid"), mapping(document, "status"))

    def replace(self, plural: str, documents: Iterable[JsonObject]) -> None:
        """Take a whole list: what is not in it is gone."""
        self._seen[plural].clear()
        for document in documents:
            self.observe(plural, "ADDED", document)

    def current(self, plural: str, name: str, uid: str) -> JsonObject:
        """The status of an object as last seen or written; empty where it has none."""
        seen_uid, status = self._seen[plural].get(name, ("", {}))
        return status if seen_uid == uid else {}

    async def report(self, report: Report) -> bool:
        """Write it if it is news; False where it is none, or where the object is gone. Raises ApiError.

        Conditions that the report says nothing of stay: several services report on one object.
        """
        meta = report.meta
        old = self.current(report.plural, meta.name, meta.uid)
        new: dict[str, Any] = {**report.fields, "conditions": self._conditions(old, report), "observedGeneration": meta.generation}
        if all(old.get(key) == value for key, value in new.items()):
            return False
        body = {"metadata": {"uid": meta.uid}, "status": new}
        try:
            answer = await self._api.patch(f"{_ROOT}/{report.plural}/{meta.name}/status", body)
        except (NotFoundError, ConflictError):  # gone, or another of the same name
            return False
        self.observe(report.plural, "MODIFIED", answer)
        return True

    def _conditions(self, old: JsonObject, report: Report) -> list[JsonObject]:
        before = {text(condition, "type"): condition for condition in items(old, "conditions")}
        now = {
            condition.type: self._condition(before.get(condition.type, {}), condition, report.meta.generation)
            for condition in report.conditions
        }
        return [now.pop(kind, kept) for kind, kept in before.items()] + list(now.values())

    def _condition(self, before: Mapping[str, Any], now: Condition, generation: int) -> JsonObject:
        status = {True: "True", False: "False", None: "Unknown"}[now.holds]
        since = text(before, "lastTransitionTime") if text(before, "status") == status else ""
        return {
            "type": now.type,
            "status": status,
            "reason": now.reason,
            "message": now.message,
            "lastTransitionTime": since or self._clock.now().strftime("%Y-%m-%dT%H:%M:%SZ"),
            "observedGeneration": generation,
        }
