"""The webhook configuration stands as the operator wrote it, or not at all: whatever mutating policies and webhooks make of that write.

Who may write mutating policies could have one add a condition that is never true, or a selector that matches nothing, to the operator's
own write. Validation sees what came out of it
(https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#admission-control-phases), so the guards of the guards
demand each entry to the letter. They are written before the configuration, and the operator tries that again until they are in force.
"""

from collections.abc import Sequence
from typing import Final

from countersign.wire.cel import constant, every
from countersign.wire.guards.objects import CONFIGURATION, Guard, Json

NOT_AS_WRITTEN: Final = (
    f"The webhook configuration {CONFIGURATION} is not what Countersign's operator wrote. Where that goes on for more than some seconds, "
    "a mutating policy or webhook makes it otherwise: remove that."
)
_CONDITIONS: Final = "matchConditions"
# Characters of one expression, and of all. The API server refuses one of 100,000, and an object of 1.5 MB; past this the text of the
# conditions is not compared, all else is.
_ROOM: Final = 95_000
_ALL: Final = 400_000


def as_written(configuration: Guard) -> list[str]:
    """CEL, all of which hold for `object` if it is this configuration."""
    hooks: Sequence[Json] = configuration.body["webhooks"]
    owners = configuration.body["metadata"]["ownerReferences"]
    exact = [_exactly(hook) for hook in hooks]
    small = sum(map(len, exact)) <= _ALL
    return [
        f"object.?webhooks.orValue([]).size() == {len(hooks)}",
        f"object.metadata.?ownerReferences.orValue([]) == {constant(owners)}",
        *(written if small and len(written) <= _ROOM else _roughly(hook) for hook, written in zip(hooks, exact, strict=True)),
    ]


def _exactly(hook: Json) -> str:
    """Some entry is this one, and says nothing else. The API server leaves out conditions where there are none."""
    return f"object.webhooks.exists(hook, hook == {constant({key: value for key, value in hook.items() if value or key != _CONDITIONS})})"


def _roughly(hook: Json) -> str:
    """Some entry is this one, but for the text of its conditions."""
    same = [f"hook.{key} == {constant(value)}" for key, value in hook.items() if key != _CONDITIONS]
    names = constant([condition["name"] for condition in hook[_CONDITIONS]])
    return f"object.webhooks.exists(hook, {every(*same, f'hook.?{_CONDITIONS}.orValue([]).map(each, each.name) == {names}')})"
