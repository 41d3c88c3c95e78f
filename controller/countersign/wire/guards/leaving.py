"""A warning to whoever takes a namespace out of an environment by its labels, and a note in the API server's audit log.

Under `Agents` people may do that, and their request is not sent to the webhook. But what takes the label away need not be their own wish:
a mutating policy or webhook, which admission does not see being written, changes other people's updates. Validation sees the mutated
object, so this policy speaks for every identity, in process, whether or not anything of ours runs. It refuses nothing.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from countersign.domain.names import ANNOTATION_ENVIRONMENTS
from countersign.domain.resources import ProtectedEnvironment
from countersign.wire.cel import covers, every, is_builtin, literal, literals, negated
from countersign.wire.guards.objects import NAMESPACES, Guard, Rule, Site, condition, constraints, policy, variable

NAME: Final = "countersign-leaving"
_OLD: Final = "oldObject.metadata.?labels.orValue({})"
_NEW: Final = "object.metadata.?labels.orValue({})"
_ROOM: Final = 8_000  # characters for all of it: 30,000 cost the API server seconds to compile (100,000 it refuses)


def leaving_policies(site: Site, environments: Sequence[ProtectedEnvironment]) -> list[Guard]:
    """It is there from the beginning, also while no environment goes by labels."""
    going_by_labels = [each for each in environments if each.selector.match_labels or each.selector.match_expressions]
    exact = _exactly(going_by_labels)
    left, what = (exact, "takes") if len(exact) <= _ROOM else (_roughly(going_by_labels), "may take")
    spec = {
        "failurePolicy": "Ignore",
        "matchConstraints": constraints(Rule("", NAMESPACES, ["UPDATE"])),
        "matchConditions": [
            condition("not-a-built-in-controller", negated(is_builtin())),
            condition("other-labels", f"{_NEW} != {_OLD}"),
        ],
        "variables": [variable("left", left)],
        "validations": [
            {
                "expression": "variables.left.size() == 0",
                "message": "This change takes the namespace out of a ProtectedEnvironment.",
                "messageExpression": _message(what),
            }
        ],
        "auditAnnotations": [{"key": "left", "valueExpression": 'variables.left.join(", ")'}],
    }
    return policy(site, NAME, spec, actions=["Warn", "Audit"])


def _message(what: str) -> str:
    return (
        f'{literal(f"countersign: this {what} the namespace ")} + object.metadata.name + {literal(" out of ")} + variables.left.join(", ")'
        f" + {literal('. If you did not mean to change its labels, a mutating policy or webhook did.')}"
    )


def _exactly(environments: Iterable[ProtectedEnvironment]) -> str:
    """CEL: the names of the environments that the change takes the namespace out of."""
    names = [
        f'{every(covers(each, "oldObject"), negated(covers(each, "object")))} ? {literal(each.meta.name)} : ""' for each in environments
    ]
    return f'[{", ".join(names) or literal("")}].filter(name, name != "")'


def _roughly(environments: Iterable[ProtectedEnvironment]) -> str:
    """CEL: the environments that it was in, by the operator's note, where a label changes by which any environment goes."""
    keys = sorted({key for each in environments for key in _keys(each)})
    changed = f"{literals(keys)}.exists(key, {_OLD}[?key] != {_NEW}[?key])"
    noted = f'oldObject.metadata.?annotations[{literal(ANNOTATION_ENVIRONMENTS)}].orValue("its environments")'
    return f'({changed} ? {noted} : "").split(",").filter(name, name != "")'


def _keys(environment: ProtectedEnvironment) -> Iterable[str]:
    return (*environment.selector.match_labels, *(requirement.key for requirement in environment.selector.match_expressions))
