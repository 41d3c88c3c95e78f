"""A SubjectAccessReview, read, judged and answered. No answer allows anything, and an agent's impersonation is always denied."""

import json
from typing import Any, Final

from countersign.service.authorizing import Authorizing
from countersign.wire.access import decode, encode
from countersign.wire.admission import ReviewRefused
from tests.fuzz.readers import Finding
from tests.support.memory_log import MemoryDecisionLog
from tests.support.objects import KIRO
from tests.support.replicas import Story


class _Metrics:
    def authorized(self, *, denied: bool, ground: str) -> None:
        pass

    def questioned(self) -> None:
        pass


_STORY: Final = Story()
_STORY.world.create(
    "agentidentities",
    "bots",
    spec={"sponsors": ["alice"], "subjects": [{"kind": "User", "name": "bot-*"}, {"kind": "Group", "name": "bots"}]},
)
_REPLICA: Final = _STORY.main
_SNAPSHOT: Final = _STORY.world.snapshot()


class _State:
    def snapshot(self) -> Any:
        return _SNAPSHOT


def one(data: bytes) -> str:
    log = MemoryDecisionLog(replica="fuzz", clock=_REPLICA.clock)
    service = Authorizing(_State(), _REPLICA.clock, log, _Metrics(), our_namespace="countersign")
    try:
        user, access = decode(data)
    except ReviewRefused as refused:
        if refused.status not in (400, 413, 415):
            raise Finding(f"status {refused.status}") from refused
        return f"refused {refused}"
    opinion = service.authorize(user, access)
    answer = json.loads(encode(opinion))
    status = answer["status"]
    if status["allowed"] is not False:
        raise Finding(f"an allow: {status}")
    denied = status.get("denied", False)
    is_agent = user.username == KIRO or user.username.startswith("bot-") or "bots" in user.groups
    if denied and (not is_agent or len(log.lines) != 2):
        raise Finding(f"a denial of {user.username!a} (an agent: {is_agent}), recorded {len(log.lines) - 1} times")
    asked = json.loads(data)["spec"].get("resourceAttributes") or {}
    if is_agent and str(asked.get("verb", "")).startswith("impersonate") and not denied:
        raise Finding(f"an agent may impersonate: {asked}")
    return f"{'denied' if denied else 'no opinion'} {opinion.ground.value}"
