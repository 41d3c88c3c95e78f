"""A warning to whoever takes a namespace out of an environment by its labels, and a note in the API server's audit log.

Under `Agents` people may do that, and their request is not sent to the webhook. But what takes the label away need not be their own wish:
a mutating policy or webhook, which admission does not see being written, changes other people's updates. Validation sees the mutated
object, so this policy speaks for every identity, in process, whether or not anything of ours runs. It refuses nothing.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from countersign.domain.resources import ProtectedEnvironment
from countersign.wire.cel import covers, every, is_builtin, literal, negated
from countersign.wire.guards.objects import NAMESPACES, Guard, Rule, Site, condition, constraints, policy, variable

NAME: Final = "countersign-leaving"
_ROOM: Final = 60_000  # characters of one expression; the API server takes 100,000 code points


def leaving_policies(site: Site, environments: Sequence[ProtectedEnvironment]) -> list[Guard]:
    """It is there from the beginning, also while no environment goes by labels."""
    parts = [f"[{', '.join(part)}]" for part in _dealt(_names_left(environments))] or ['[""]']
    left = [variable(f"left{index}", f'{part}.filter(name, name != "")') for index, part in enumerate(parts)]
    together = " + ".join(f"variables.left{index}" for index in range(len(parts)))
    spec = {
        "failurePolicy": "Ignore",
        "matchConstraints": constraints(Rule("", NAMESPACES, ["UPDATE"])),
        "matchConditions": [
            condition("not-a-built-in-controller", negated(is_builtin())),
            condition("other-labels", "object.metadata.?labels.orValue({}) != oldObject.metadata.?labels.orValue({})"),
        ],
        "variables": [*left, variable("left", together)],
        "validations": [
            {
                "expression": "variables.left.size() == 0",
                "message": "This change takes the namespace out of a ProtectedEnvironment.",
                "messageExpression": _message(),
            }
        ],
        "auditAnnotations": [{"key": "left", "valueExpression": 'variables.left.join(", ")'}],
    }
    return policy(site, NAME, spec, actions=["Warn", "Audit"])


def _message() -> str:
    return (
        f'{literal("countersign: this takes the namespace ")} + object.metadata.name + {literal(" out of ")} + variables.left.join(", ")'
        f" + {literal('. If you did not mean to change its labels, a mutating policy or webhook did.')}"
    )


def _names_left(environments: Iterable[ProtectedEnvironment]) -> Iterator[str]:
    """For each environment that goes by labels: its name where the change takes the namespace out of it, else "". What has no room is left to the operator."""
    for environment in environments:
        if not environment.selector.match_labels and not environment.selector.match_expressions:
            continue
        leaves = every(covers(environment, "oldObject"), negated(covers(environment, "object")))
        expression = f'{leaves} ? {literal(environment.meta.name)} : ""'
        if len(expression) <= _ROOM:
            yield expression


def _dealt(expressions: Iterable[str]) -> Iterator[list[str]]:
    part: list[str] = []
    length = 0
    for expression in expressions:
        if part and length + len(expression) > _ROOM:
            yield part
            part, length = [], 0
        part.append(expression)
        length += len(expression) + 2
    if part:
        yield part
