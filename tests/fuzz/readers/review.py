"""An AdmissionReview, read, judged by the real service over a world in memory, and answered.

In this world everything is protected from everybody but the cluster's own controllers, nothing is signed for, and one Approval could be
created. So there is hardly anything to allow, and `_may` names it, from the JSON as Python reads it.
"""

import copy
import json
import logging
from collections.abc import Mapping
from typing import Any, Final

from countersign.domain.answer import Answer, Reason
from countersign.domain.request import Operation, Request, UserInfo
from countersign.wire.admission import ReviewRefused, decode, encode
from tests.fuzz.asking import Alarm
from tests.fuzz.documents import BUILTIN
from tests.fuzz.oracle import Oracle
from tests.fuzz.readers import Finding
from tests.support.objects import KIRO, key_of, user
from tests.support.replicas import Replica, Story, request_in
from tests.support.world import GROUP

EXCUSE: Final = "is not known here yet"


def _story() -> Story:
    story = Story()
    everyone = {"protectFrom": "Everyone", "approvals": {"required": 2}}
    story.change("protectedenvironments", "default", **everyone, registration="Closed")
    selector = {"matchLabels": {"team": "orders"}}
    story.environment("orders", **everyone, namespaces={"selector": selector}, resources=[{"group": "example.com", "resource": "things"}])
    story.namespace("orders", labels={"team": "orders"}, claims=1)
    return story


STORY: Final = _story()
REQUEST: Final = request_in(STORY.delete("payments", by=user(KIRO, "system:serviceaccounts", "system:authenticated")))
_STATEMENT: Final = str((STORY.world.get("changerequests", REQUEST) or {})["spec"]["statement"])
SIGNED: Final = {verdict: key_of("bob").sign(_STATEMENT.encode(), f"{verdict.lower()}@{GROUP}") for verdict in ("Approve", "Reject")}
_DOCUMENTS: Final = copy.deepcopy(STORY.world.documents)
_ALARM: Final = Alarm()
logging.getLogger("countersign").addHandler(_ALARM)
logging.getLogger("countersign").propagate = False


def one(data: bytes) -> str:
    try:
        request = decode(data)
    except ReviewRefused as refused:
        if refused.status not in (400, 413, 415):
            raise Finding(f"status {refused.status}") from refused
        return f"refused {refused}"
    STORY.world.documents = dict(_DOCUMENTS)
    _ALARM.heard.clear()
    answer = Replica(STORY.world, most=5).ask(request)
    if _ALARM.heard:
        raise Finding(f"an error inside: {_ALARM.heard[0].exc_info}")
    told = json.loads(encode(request.uid, answer))["response"]
    if told["uid"] != request.uid or told["allowed"] is not answer.allowed:
        raise Finding(f"the answer is to another review: {told}")
    if answer.reason is Reason.UNABLE and EXCUSE not in answer.message:
        raise Finding(f"unable for no reason: {answer.message}")
    if answer.allowed and not _may(json.loads(data)["request"], answer):
        raise Finding(f"allowed: {answer.reason} {answer.chain}")
    return f"{'allowed' if answer.allowed else 'held'} {answer.reason} {request.operation} {request.resource}"


def _may(asked: Mapping[str, Any], answer: Answer) -> bool:
    kind = (asked["resource"]["group"], asked["resource"]["resource"])
    operation, username = asked["operation"], asked["userInfo"]["username"]
    if asked.get("subResource"):
        return False
    old, new = asked.get("oldObject") or {}, asked.get("object") or {}
    if kind == ("", "namespaces") and operation == "UPDATE":
        before, after = _labels(old), _labels(new)
        stays = before.get("team") != "orders" or after.get("team") == "orders"
        return (before == after) if answer.reason is Reason.NOT_GUARDED else stays or username in BUILTIN
    if answer.reason is Reason.ACCEPTED:
        spec = new.get("spec", {})
        genuine = SIGNED.get(spec.get("decision")) == spec.get("signature") and spec.get("changeRequest") == REQUEST
        return (
            kind == (GROUP, "approvals")
            and operation == "CREATE"
            and genuine
            and (spec.get("reviewer"), username) == ("bob", "bob@example.com")
        )
    if answer.reason is not Reason.NOT_HELD:
        return False
    if kind[0] == GROUP:
        return bool(Oracle(STORY.world).grounds(_plain(asked), STORY.world.now))
    name = asked.get("name") or _member(old, "metadata", "name")
    home = asked.get("namespace") if kind[1] != "namespaces" else name
    return operation == "DELETE" and (username in BUILTIN or home == "kube-system")


def _plain(asked: Mapping[str, Any]) -> Request:
    who = asked["userInfo"]
    extra = {key: tuple(values or ()) for key, values in (who.get("extra") or {}).items()}
    return Request(
        uid=asked["uid"],
        operation=Operation(asked["operation"]),
        group=asked["resource"]["group"],
        version=asked["resource"]["version"],
        resource=asked["resource"]["resource"],
        subresource="",
        namespace=asked.get("namespace") or "",
        name=asked.get("name") or _member(asked.get("oldObject") or asked.get("object"), "metadata", "name"),
        user=UserInfo(who["username"], groups=frozenset(who.get("groups") or ()), extra=extra),
        object=asked.get("object"),
        old_object=asked.get("oldObject"),
        dry_run=bool(asked.get("dryRun")),
    )


def _labels(document: Mapping[str, Any]) -> dict[str, str]:
    labels = (document.get("metadata") or {}).get("labels") if isinstance(document.get("metadata"), dict) else {}
    return {key: value for key, value in labels.items() if isinstance(value, str)} if isinstance(labels, dict) else {}


def _member(document: Any, *path: str) -> str:
    for step in path:
        document = document.get(step) if isinstance(document, dict) else None
    return document if isinstance(document, str) else ""
