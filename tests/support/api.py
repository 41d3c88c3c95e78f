"""The Kubernetes API in memory: the `Api` port over a dictionary of paths.

Like the real one: resource versions grow with every change that changes something, an old one conflicts, a uid in a merge patch or a
precondition must fit, a status path touches status alone, and unknown paths are 404. It differs: a collection exists once it was named or something is in it, nothing is validated or
defaulted, deletion is at once, and there is no watch.
"""

# ruff: noqa: ARG002  # a port's methods take what the port says

import copy
import itertools
from collections.abc import AsyncGenerator, Mapping
from typing import Any

from countersign.domain.document import JsonObject
from countersign.service.ports import ApiError, ConflictError, NotFoundError

Tree = dict[str, Any]


class MemoryApi:
    def __init__(self, *objects: tuple[str, JsonObject]) -> None:
        self.objects: dict[str, Tree] = {}
        self.collections: set[str] = set()
        self.calls: list[tuple[str, str]] = []
        self.failing: dict[tuple[str, str], ApiError] = {}
        self._versions = itertools.count(1)
        for path, tree in objects:
            self.objects[path] = self._stamped({**tree, "metadata": {"name": path.rpartition("/")[2], **tree.get("metadata", {})}})

    def writes(self) -> list[tuple[str, str]]:
        return [call for call in self.calls if call[0] != "GET"]

    async def get(
        self, path: str, *, query: Mapping[str, str] | None = None, accept: str = "application/json", timeout: float = 10
    ) -> JsonObject:
        self._called("GET", path)
        if path in self.objects:
            return copy.deepcopy(self.objects[path])
        inside = [tree for each, tree in sorted(self.objects.items()) if each.rpartition("/")[0] == path]
        if inside or path in self.collections:
            return self._page(copy.deepcopy(inside), query or {})
        raise NotFoundError(404, f"{path} not found")

    async def create(self, path: str, body: JsonObject, *, timeout: float = 10) -> JsonObject:
        self._called("POST", path)
        where = f"{path}/{body['metadata']['name']}"
        if where in self.objects:
            raise ConflictError(409, f"{where} already exists")
        self.objects[where] = self._stamped(copy.deepcopy(dict(body)))
        return copy.deepcopy(self.objects[where])

    async def replace(self, path: str, body: JsonObject, *, timeout: float = 10) -> JsonObject:
        self._called("PUT", path)
        live = self._live(path)
        if body["metadata"].get("resourceVersion", live["metadata"]["resourceVersion"]) != live["metadata"]["resourceVersion"]:
            raise ConflictError(409, f"{path} has been modified")
        return self._put(path, copy.deepcopy(dict(body)))

    async def patch(self, path: str, body: Any, *, content_type: str = "application/merge-patch+json", timeout: float = 10) -> JsonObject:
        self._called("PATCH", path)
        where = path.removesuffix("/status")
        live = copy.deepcopy(self._live(where))
        if content_type == "application/json-patch+json":
            for step in body:
                _set(live, step["path"], step["value"])
            return self._put(where, live)
        uid = body.get("metadata", {}).get("uid", live["metadata"]["uid"])
        if uid != live["metadata"]["uid"]:
            raise ConflictError(409, f"the UID of {path} is {live['metadata']['uid']}")
        merged = _merged(live, {"status": body["status"]} if path != where else body)
        return self._put(where, merged)

    async def delete(self, path: str, *, uid: str = "", timeout: float = 10) -> None:
        self._called("DELETE", path)
        live = self._live(path)
        if uid and uid != live["metadata"]["uid"]:
            raise ConflictError(409, f"the UID of {path} is {live['metadata']['uid']}")
        del self.objects[path]

    async def watch(self, path: str, *, resource_version: str, seconds: int) -> AsyncGenerator[JsonObject, None]:
        raise ApiError(0, "there is no watch in memory")
        yield {}

    def _called(self, verb: str, path: str) -> None:
        self.calls.append((verb, path))
        if (verb, path) in self.failing:
            raise self.failing[verb, path]

    def _live(self, path: str) -> Tree:
        if path not in self.objects:
            raise NotFoundError(404, f"{path} not found")
        return self.objects[path]

    def _put(self, path: str, tree: Tree) -> JsonObject:
        live = self.objects[path]
        tree["metadata"]["uid"] = live["metadata"]["uid"]
        tree["metadata"]["resourceVersion"] = live["metadata"]["resourceVersion"]
        if tree != live:
            tree["metadata"]["resourceVersion"] = str(next(self._versions))
            self.objects[path] = tree
        return copy.deepcopy(self.objects[path])

    def _stamped(self, tree: Tree) -> Tree:
        version = str(next(self._versions))
        tree["metadata"] = {**tree["metadata"], "uid": tree["metadata"].get("uid") or f"uid-{version}", "resourceVersion": version}
        return tree

    def _page(self, inside: list[Tree], query: Mapping[str, str]) -> JsonObject:
        limit = int(query.get("limit", "0")) or len(inside)
        more = len(inside) - limit
        metadata = {"resourceVersion": "1"} | ({"remainingItemCount": more} if more > 0 else {})
        return {"kind": "List", "metadata": metadata, "items": inside[:limit]}


def _merged(old: Any, new: Any) -> Any:
    """RFC 7396."""
    if not isinstance(new, Mapping):
        return new
    merged = dict(old) if isinstance(old, Mapping) else {}
    for key, value in new.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = _merged(merged.get(key), value)
    return merged


def _set(tree: Tree, pointer: str, value: Any) -> None:
    """RFC 6902, `add` to an object's member."""
    *steps, last = (step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:])
    for step in steps:
        tree = tree[step]
    tree[last] = value
