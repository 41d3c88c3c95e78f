"""The watch-fed view of the cluster: what lists and events bring, parsed once, indexed for decisions.

The webhook's watches and the operator's kopf handlers feed the same store.
"""

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeAlias

from countersign.domain.document import JsonObject, text
from countersign.domain.errors import CountersignError, UnableError
from countersign.domain.names import cluster_name
from countersign.domain.resources import Approval, ChangeRequest, Cluster
from countersign.domain.snapshot import Snapshot
from countersign.domain.statement import act_of
from countersign.wire import resources as wire

_log = logging.getLogger(__name__)

_PARSERS: Final[Mapping[str, Callable[[JsonObject], Any]]] = {
    "agentidentities": wire.parse_agent_identity,
    "reviewers": wire.parse_reviewer,
    "protectedenvironments": wire.parse_environment,
    "changerequests": wire.parse_change_request,
    "approvals": wire.parse_approval,
    "namespaces": wire.parse_namespace,
}
# An unreadable one of these could be what holds a request back, so no decision is made without it.
_VITAL: Final = ("agentidentities", "reviewers", "protectedenvironments")
_CLUSTER_NAMESPACE: Final = "kube-system"

Entry: TypeAlias = tuple[str, Any]
"""An object's name, and what was parsed of it: None where it cannot be read."""


class ClusterStore:
    """Objects by plural and name. Not thread-safe: one event loop. Without a name, the cluster is called after its UID."""

    def __init__(self, cluster_name: str) -> None:
        self._cluster_name = cluster_name
        self._objects: dict[str, dict[str, Any]] = {plural: {} for plural in _PARSERS}
        self._unreadable: dict[str, set[str]] = {plural: set() for plural in _PARSERS}
        self._rounds: dict[str, tuple[ChangeRequest, ...]] = {}
        self._approvals: dict[str, tuple[Approval, ...]] = {}
        self._snapshot: Snapshot | None = None

    @staticmethod
    def plurals() -> tuple[str, ...]:
        return tuple(_PARSERS)

    def read(self, plural: str, objects: Iterable[JsonObject]) -> list[Entry]:
        """A part of a list, parsed; to be given to `take` with the others."""
        return [self._parsed(plural, document) for document in objects]

    def replace(self, plural: str, objects: Iterable[JsonObject]) -> None:
        """Take a whole list: what is not in it is gone."""
        self.take(plural, self.read(plural, objects))

    def take(self, plural: str, entries: Iterable[Entry]) -> None:
        """The same of a list that was read before."""
        self._objects[plural].clear()
        self._unreadable[plural].clear()
        if plural == "changerequests":
            self._rounds.clear()
        if plural == "approvals":
            self._approvals.clear()
        for name, parsed in entries:
            self._put(plural, name, parsed)
        self._snapshot = None

    def apply(self, plural: str, event: str, document: JsonObject) -> None:
        """Take one event: ADDED, MODIFIED or DELETED (kopf's first events have none)."""
        self._remove(plural, text(document, "metadata", "name"))
        if event != "DELETED":
            self._put(plural, *self._parsed(plural, document))
        if plural in _VITAL or self._cluster_changed(plural, document):
            self._snapshot = None

    def snapshot(self) -> Snapshot:
        """The view of now; read it before the next await. Raises UnableError where it cannot be trusted."""
        for plural in _VITAL:
            if self._unreadable[plural]:
                raise UnableError(f"{plural} that it cannot read: {', '.join(sorted(self._unreadable[plural]))}.")
        if self._snapshot is None:
            cluster = self._objects["namespaces"].get(_CLUSTER_NAMESPACE)
            if cluster is None:
                raise UnableError("the cluster's identity (the UID of kube-system) is not known yet.")
            self._snapshot = Snapshot(
                cluster=Cluster(self._cluster_name or cluster_name(cluster.meta.uid), cluster.meta.uid),
                identities=self._objects["agentidentities"],
                reviewers=self._objects["reviewers"],
                environments=self._objects["protectedenvironments"],
                requests=self._objects["changerequests"],
                rounds=self._rounds,
                approvals=self._approvals,
                namespaces=self._objects["namespaces"],
            )
        return self._snapshot

    def _cluster_changed(self, plural: str, document: JsonObject) -> bool:
        return plural == "namespaces" and text(document, "metadata", "name") == _CLUSTER_NAMESPACE

    def _parsed(self, plural: str, document: JsonObject) -> Entry:
        name = text(document, "metadata", "name")
        try:
            return name, _PARSERS[plural](document)
        except CountersignError as error:
            _log.error("cannot read %s/%s: %s", plural, name, error)
            return name, None

    def _put(self, plural: str, name: str, parsed: Any) -> None:
        if parsed is None:
            self._unreadable[plural].add(name)
            return
        self._objects[plural][name] = parsed
        match parsed:
            case ChangeRequest():
                digest = act_of(parsed)
                self._rounds[digest] = (*self._rounds.get(digest, ()), parsed)
            case Approval():
                self._approvals[parsed.change_request] = (*self._approvals.get(parsed.change_request, ()), parsed)
            case _:
                pass

    def _remove(self, plural: str, name: str) -> None:
        self._unreadable[plural].discard(name)
        match self._objects[plural].pop(name, None):
            case ChangeRequest() as request:
                _drop(self._rounds, act_of(request), name)
            case Approval() as approval:
                _drop(self._approvals, approval.change_request, name)
            case _:
                pass


def _drop(index: dict[str, Any], key: str, name: str) -> None:
    left = tuple(entry for entry in index.get(key, ()) if entry.meta.name != name)
    if left:
        index[key] = left
    else:
        index.pop(key, None)
