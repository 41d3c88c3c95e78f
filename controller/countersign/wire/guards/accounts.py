"""Workloads of agents run with no more rights than an ordinary account has (design, hardened profile).

Whether an account is stronger is asked of the API server's own authorizer at each request: RBAC, and whatever else the cluster has. A
question that it cannot answer counts as yes. Accounts that are agents themselves are held back as they are. `powers` is the table.
"""

from collections.abc import Sequence
from typing import Final

from countersign.wire.cel import every, negated, some
from countersign.wire.guards.objects import (
    Guard,
    Json,
    Rule,
    Site,
    agents_spec,
    condition,
    constraints,
    operation,
    policy,
    refusal,
    variable,
)
from countersign.wire.guards.powers import Check, Power, checks, dealt, gravest, strength
from countersign.wire.guards.workloads import ENTERING, POD_RULES, account, account_of_pod, custom_account, known_strangers, pod_variables
from countersign.wire.shards import Shard

NAME: Final = "countersign-hardened-accounts"
NAME_ENTERING: Final = "countersign-hardened-entering"
_STRONGER: Final = "may do what Countersign holds back from agents, or become somebody who may"


def account_policies(site: Site, shards: Sequence[Shard], accounts: Sequence[Shard], held: Sequence[Power]) -> list[Guard]:
    """`shards` find the agents among requesters, `accounts` (dealt for `workloads.WHO`) among accounts."""
    guards: list[Guard] = []
    for index, questions in enumerate(dealt(checks(held)) if shards else []):
        ending = f"-{index}" if index else ""
        guards += policy(site, f"{NAME}{ending}", _running(shards, accounts, questions))
    # One policy, and so the gravest questions alone: for each policy all pods of the namespace are gone through, whoever asks.
    return guards + (policy(site, NAME_ENTERING, _entering(shards, accounts, gravest(held)), params=_POD) if shards else [])


_POD: Final = ("v1", "Pod")


def _running(shards: Sequence[Shard], accounts: Sequence[Shard], questions: Sequence[Check]) -> Json:
    built_in = some(
        every('request.resource.group == ""', 'request.resource.resource in ["pods", "podtemplates", "replicationcontrollers"]'),
        'request.resource.group in ["apps", "batch"]',
    )
    custom = every("has(object.spec)", "type(object.spec) == map", "oldObject == null || object.spec != oldObject.spec")
    return agents_spec(
        shards,
        constraints(*POD_RULES, Rule("*", ["*"], ["CREATE", "UPDATE"], "Namespaced")),
        [
            {
                **refusal(
                    negated(every("variables.agent", 'variables.accountName != ""', "variables.strangers.size() > 0", "variables.strong")),
                    f"Agents run nothing under a ServiceAccount that {_STRONGER}: use an account of the application's own without such rights.",
                ),
                "messageExpression": "'Agents run nothing under the ServiceAccount ' + variables.accountName + ', which "
                f"{_STRONGER}: use an account of the application\\'s own without such rights.'",
            }
        ],
        conditions=[condition("an-object-with-a-spec", some(built_in, "has(object.spec) && type(object.spec) == map"))],
        variables=[
            *pod_variables(),
            variable("builtIn", built_in),
            variable(
                "accountName",
                f'variables.builtIn ? (variables.changed ? ({account_of_pod("variables.pod")}) : "") : ({custom}) ? ({custom_account("object")}) : ""',
            ),
            *known_strangers(accounts, f"[{account('request.namespace', 'variables.accountName')}]"),
            *strength(questions),
        ],
    )


def _entering(shards: Sequence[Shard], accounts: Sequence[Shard], questions: Sequence[Check]) -> Json:
    """A request to enter a pod does not show the pod, so all pods of the namespace are parameters, and the one it names is looked at."""
    return agents_spec(
        shards,
        constraints(Rule("", ENTERING, ["CONNECT"], "Namespaced")),
        [
            refusal(
                negated(every(operation("CONNECT"), "variables.agent", "variables.strangers.size() > 0", "variables.strong")),
                f"Agents do not enter pods whose ServiceAccount {_STRONGER}: read their logs, or ask the person you work for.",
            )
        ],
        conditions=[condition("this-pod", 'request.?name.orValue("") == params.metadata.name')],
        variables=[
            variable("accountName", account_of_pod("params.spec")),
            *known_strangers(accounts, f"[{account('request.namespace', 'variables.accountName')}]"),
            *strength(questions),
        ],
        # Parameters that the API server has not read yet would refuse everybody under Fail, as in the first second after its start.
        failing="Ignore",
    )
