"""Becoming someone else (design, hardened profile): what gives an agent the rights of an account that is held back less than it is.

The rest of it stands in `accounts` (whose rights workloads run with) and `rights` (what rights agents give to others). What admission
cannot see (impersonation, reads of Secrets) is the authorizer's, and RBAC's.
"""

from collections.abc import Sequence
from typing import Final

from countersign.domain.identify import SERVICE_ACCOUNT
from countersign.wire.cel import USERNAME, every, literal, literals, negated, some
from countersign.wire.guards.controllers import HOME, TOKEN_SECRET
from countersign.wire.guards.objects import (
    Guard,
    Rule,
    Site,
    agent_variables,
    constraints,
    has_subresource,
    only_agents,
    operation,
    policy,
    refusal,
    resource_in,
    variable,
)
from countersign.wire.guards.workloads import ENTERING, POD_RULES, pod_variables
from countersign.wire.shards import Shard

NAME: Final = "countersign-hardened-becoming"
NAME_PODS: Final = "countersign-hardened-pods"
_ASK: Final = "ask the person you work for to do it."
_REQUESTS: Final = ("certificatesigningrequests", "podcertificaterequests")
_BOOTSTRAP: Final = "bootstrap.kubernetes.io/token"
# ConfigMaps that say who somebody is: EKS's map of cloud identities, and the CA of the API server's own front proxy.
_IDENTITY_MAPS: Final = ("aws-auth", "extension-apiserver-authentication")
# What Pod Security's level `baseline` lets a container add (k8s.io/pod-security-admission policy/check_capabilities_baseline.go).
_CAPABILITIES: Final = (
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
    "SYS_PTRACE",  # besides: what `kubectl debug` adds to the container that it puts into a pod
)


def becoming_policies(site: Site, shards: Sequence[Shard]) -> list[Guard]:
    return [*_credentials(site, shards), *_nodes(site, shards)] if shards else []


def _credentials(site: Site, shards: Sequence[Shard]) -> list[Guard]:
    core = 'request.resource.group == ""'
    token = every(core, resource_in(["serviceaccounts"]), has_subresource("token"), negated(_itself()))
    secret = every(core, resource_in(["secrets"]), f'object.?type.orValue("") in {literals((TOKEN_SECRET, _BOOTSTRAP))}')
    certificate = every('request.resource.group == "certificates.k8s.io"', some(_answered(), _for_the_api_server()))
    node = every(operation("CONNECT"), core, resource_in(["nodes"]))
    entering = every(operation("CONNECT"), f'request.?namespace.orValue("") == "{HOME}"')
    mapping = every(
        core, resource_in(["configmaps"]), f'request.?namespace.orValue("") == "{HOME}"', f"variables.name in {literals(_IDENTITY_MAPS)}"
    )
    spec = {
        "failurePolicy": "Fail",
        "matchConstraints": constraints(
            Rule("", ["serviceaccounts/token"], ["CREATE"]),
            Rule("", ["secrets", "configmaps"], ["CREATE", "UPDATE"]),
            Rule("", [*ENTERING, "nodes/proxy"], ["CONNECT"]),
            Rule(
                "certificates.k8s.io",
                [f"{kind}{part}" for kind in _REQUESTS for part in ("", "/approval", "/status")],
                ["CREATE", "UPDATE"],
            ),
        ),
        "matchConditions": only_agents(shards),
        "variables": [*agent_variables(shards), variable("name", 'object == null ? "" : object.?metadata.name.orValue("")')],
        "validations": [
            refusal(
                negated(every(token, "variables.agent")),
                "Agents ask for tokens of no account but their own: let the workload run under its account instead, which needs no token of yours.",
            ),
            refusal(
                negated(every(secret, "variables.agent")),
                "Agents write no Secrets that hold an account's or a node's token: let the workload run under its account instead.",
            ),
            refusal(
                negated(every(certificate, "variables.agent")),
                f"Agents ask for no certificates that the API server takes for somebody, and approve and sign none: {_ASK}",
            ),
            refusal(
                negated(every(node, "variables.agent")),
                "Agents do not reach a node's kubelet through the API server: use the subresources of its pods.",
            ),
            refusal(
                negated(every(entering, "variables.agent")),
                f"Agents do not enter the pods of the namespace {HOME}, which run under the cluster's own accounts: {_ASK}",
            ),
            refusal(
                negated(every(mapping, "variables.agent")),
                f"Agents do not change the ConfigMaps by which the cluster tells who somebody is: {_ASK}",
            ),
        ],
    }
    return policy(site, NAME, spec)


def _itself() -> str:
    return f'{USERNAME} == {literal(SERVICE_ACCOUNT)} + request.?namespace.orValue("") + ":" + request.?name.orValue("")'


def _answered() -> str:
    return every(operation("UPDATE"), some(has_subresource("approval"), has_subresource("status")))


def _for_the_api_server() -> str:
    signers = ("kubernetes.io/kube-apiserver-client", "kubernetes.io/legacy-unknown")
    signer = 'object.?spec.signerName.orValue("")'
    return every(operation("CREATE"), some(*(f"{signer}.startsWith({literal(name)})" for name in signers)))


def _nodes(site: Site, shards: Sequence[Shard]) -> list[Guard]:
    """Pods that reach into their node, where the credentials of the kubelet and of all its pods lie."""
    volume = every('request.resource.group == ""', resource_in(["persistentvolumes"]))
    spec = {
        "failurePolicy": "Fail",
        "matchConstraints": constraints(*POD_RULES, Rule("", ["persistentvolumes"], ["CREATE", "UPDATE"])),
        "matchConditions": only_agents(shards),
        "variables": [
            *agent_variables(shards),
            *pod_variables(),
            variable(
                "containers",
                " + ".join(f"variables.pod.?{kind}.orValue([])" for kind in ("containers", "initContainers", "ephemeralContainers")),
            ),
        ],
        "validations": [
            refusal(
                some(volume, "!variables.changed", negated(_reaches_node()), "!variables.agent"),
                "Agents run no pods that reach into the node (host namespaces, hostPath, privileged, added capabilities): "
                "leave these out, as Pod Security's level baseline does, or ask the person you work for.",
            ),
            refusal(
                some(negated(volume), negated("has(object.spec.hostPath) || has(object.spec.local)"), "!variables.agent"),
                f"Agents write no volumes that are folders of a node (hostPath, local): {_ASK}",
            ),
        ],
    }
    return policy(site, NAME_PODS, spec)


def _reaches_node() -> str:
    host = [f"variables.pod.?{member}.orValue(false)" for member in ("hostPID", "hostIPC", "hostNetwork")]
    context = "container.?securityContext"
    container = some(
        f"{context}.privileged.orValue(false)",
        f"{context}.windowsOptions.hostProcess.orValue(false)",
        f'{context}.procMount.orValue("Default") != "Default"',
        f"{context}.capabilities.add.orValue([]).exists(name, !(name in {literals(_CAPABILITIES)}))",
    )
    return some(
        *host,
        "variables.pod.?securityContext.windowsOptions.hostProcess.orValue(false)",
        "variables.pod.?volumes.orValue([]).exists(volume, has(volume.hostPath))",
        f"variables.containers.exists(container, {container})",
    )
