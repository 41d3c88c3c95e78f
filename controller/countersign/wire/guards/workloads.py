"""Where kinds carry the pods that they make, as CEL; what runs in a pod runs with the rights of its ServiceAccount."""

from collections.abc import Sequence
from typing import Final

from countersign.domain.identify import SERVICE_ACCOUNT
from countersign.wire.cel import Asker, every, literal, negated
from countersign.wire.guards.objects import Json, Rule, variable
from countersign.wire.shards import Shard

POD_RULES: Final = (
    Rule("", ["pods", "pods/ephemeralcontainers", "podtemplates", "replicationcontrollers"], ["CREATE", "UPDATE"], "Namespaced"),
    Rule("apps", ["deployments", "statefulsets", "daemonsets", "replicasets"], ["CREATE", "UPDATE"], "Namespaced"),
    Rule("batch", ["jobs", "cronjobs"], ["CREATE", "UPDATE"], "Namespaced"),
)
ENTERING: Final = ("pods/exec", "pods/attach", "pods/portforward")

WHO: Final = Asker("who.username", "who.groups", "who.extra")
"""An account or a binding's subject, an element of a list that `known_strangers` goes through."""

_FIELDS: Final = ("spec.serviceAccountName", "spec.template.spec.serviceAccountName", "spec.taskRunTemplate.serviceAccountName")


def pod_of(tree: str) -> str:
    """CEL: the PodSpec that an object of POD_RULES carries; null where it carries none. `tree` may be null."""
    resource, none = "request.resource.resource", ".orValue(null)"
    found = (
        f'{resource} == "pods" ? {tree}.?spec{none} : '
        f'{resource} == "podtemplates" ? {tree}.?template.spec{none} : '
        f'{resource} == "cronjobs" ? {tree}.?spec.jobTemplate.spec.template.spec{none} : {tree}.?spec.template.spec{none}'
    )
    return f"{tree} == null ? null : ({found})"


def pod_variables() -> list[Json]:
    """`pod`: the new PodSpec, null for none; `changed`: whether anything of it is new. Scaling, labelling and restarting change nothing."""
    return [
        variable("pod", pod_of("object")),
        variable("before", pod_of("oldObject")),
        variable("changed", "variables.pod != null && (variables.before == null || variables.pod != variables.before)"),
    ]


def account_of_pod(pod: str) -> str:
    """CEL: the name of the ServiceAccount that a PodSpec runs under."""
    name = f'{pod}.?serviceAccountName.orValue("")'
    return f'{name} == "" ? "default" : {name}'


def custom_account(tree: str) -> str:
    """CEL: the account that a kind of somebody's own names where such kinds do (Tekton, Argo, Flux, Knative); "" for none."""
    found = [f"{_mapped(tree, *field.split('.'))} ? {tree}.{field} : " for field in _FIELDS]
    return f'{"".join(found)}""'


def _mapped(tree: str, *path: str) -> str:
    """Whether the path leads through maps to a text that is not empty: kinds of others may hold anything."""
    conditions, at = [], tree
    for index, member in enumerate(path):
        conditions.append(f"has({at}.{member})")
        at = f"{at}.{member}"
        conditions.append(f"type({at}) == {'string' if index == len(path) - 1 else 'map'}")
    return every(*conditions, f'{at} != ""')


def account(namespace: str, name: str) -> str:
    """CEL: the account as a `who`: a username, and the groups that its tokens bear."""
    groups = f'["system:serviceaccounts", "system:serviceaccounts:" + {namespace}, "system:authenticated"]'
    return f'{{"username": dyn({literal(SERVICE_ACCOUNT)} + {namespace} + ":" + {name}), "groups": dyn({groups})}}'


def known_strangers(shards: Sequence[Shard], everybody: str) -> list[Json]:
    """Variables that end in `strangers`: who of the list is no agent. `shards` are dealt for WHO; each has an expression for its length."""
    parts, source = [], everybody
    for index, shard in enumerate(shards):
        parts.append(variable(f"strangers{index}", f"{source}.filter(who, {negated(shard.matches)})"))
        source = f"variables.strangers{index}"
    return [*parts, variable("strangers", source)]
