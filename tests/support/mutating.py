"""A MutatingAdmissionPolicy of an agent's, by which somebody else's request carries its change."""

from __future__ import annotations

from typing import Any


def one_patch(group: str, resource: str, name: str, patch: str) -> dict[str, Any]:
    """The spec of a policy that makes one JSON patch (CEL) of everybody's writes to one object."""
    rule = {"apiGroups": [group], "apiVersions": ["*"], "operations": ["CREATE", "UPDATE"], "resources": [resource]}
    return {
        "failurePolicy": "Fail",
        "reinvocationPolicy": "Never",
        "matchConstraints": {"resourceRules": [rule]},
        "matchConditions": [{"name": "the-victim", "expression": f'object.metadata.name == "{name}"'}],
        "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": patch}}],
    }
