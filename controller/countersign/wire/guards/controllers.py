"""The cluster's own controllers: no guard ever holds them back (invariant 9), so no agent may act as one, in either profile.

A token of `kube-system:namespace-controller`, or a pod under it, would pass every guard of ours. No work of an agent's needs one.
The same holds for the pods of the control plane, in which the credentials of the controllers, or etcd itself, are at hand.
"""

from collections.abc import Sequence
from typing import Final

from countersign.domain.identify import BUILTIN_CONTROLLERS, SERVICE_ACCOUNT
from countersign.wire.cel import every, literals, negated, some
from countersign.wire.guards.objects import (
    Guard,
    Rule,
    Site,
    agents_spec,
    constraints,
    operation,
    policy,
    refusal,
    resource_in,
    variable,
)
from countersign.wire.guards.workloads import ENTERING, POD_RULES, account_of_pod, pod_of
from countersign.wire.shards import Shard

NAME: Final = "countersign-agents-controllers"
HOME: Final = "kube-system"
TOKEN_SECRET: Final = "kubernetes.io/service-account-token"  # noqa: S105  # the name of a kind of Secret
_PREFIX: Final = f"{SERVICE_ACCOUNT}{HOME}:"
ACCOUNTS: Final = tuple(sorted(name.removeprefix(_PREFIX) for name in BUILTIN_CONTROLLERS if name.startswith(_PREFIX)))
_PODS: Final = ("etcd-", "kube-apiserver-", "kube-controller-manager-", "kube-scheduler-")  # as kubeadm names them, before the node's name


def controller_policies(site: Site, shards: Sequence[Shard]) -> list[Guard]:
    if not shards:
        return []
    core = 'request.resource.group == ""'
    token = every(core, resource_in(["serviceaccounts"]), operation("CREATE"), f"request.?name.orValue('') in {literals(ACCOUNTS)}")
    secret = every(core, resource_in(["secrets"]), _token_secret_of(f"name in {literals(ACCOUNTS)}"))
    running = every(
        operation("CREATE", "UPDATE"),
        negated(every(core, resource_in(["serviceaccounts", "secrets"]))),
        "variables.pod != null",
        f"variables.account in {literals(ACCOUNTS)}",
    )
    entering = every(operation("CONNECT"), some(*(f'request.?name.orValue("").startsWith("{prefix}")' for prefix in _PODS)))
    spec = agents_spec(
        shards,
        constraints(
            Rule("", ["serviceaccounts/token"], ["CREATE"]),
            Rule("", ["secrets"], ["CREATE", "UPDATE"]),
            Rule("", ENTERING, ["CONNECT"]),
            *POD_RULES,
            namespace=HOME,
        ),
        [
            refusal(
                negated(every(some(token, secret, running), "variables.agent")),
                "Agents never act as one of the cluster's own controllers, which nothing holds back: use an account of your own.",
            ),
            refusal(
                negated(every(entering, "variables.agent")),
                "Agents do not enter the pods of the control plane, where its credentials are: ask the person you work for to look.",
            ),
        ],
        variables=[variable("pod", pod_of("object")), variable("account", account_of_pod("variables.pod"))],
    )
    return policy(site, NAME, spec)


def _token_secret_of(named: str) -> str:
    """A Secret that the token controller fills with a token of the account that its annotation names, before or now."""
    name = '.metadata.?annotations[?"kubernetes.io/service-account.name"].orValue("")'
    return every(
        f'object.?type.orValue("") == "{TOKEN_SECRET}"',
        f'[object{name}, oldObject == null ? "" : oldObject{name}].exists(name, {named})',
    )
