"""What a posture is reckoned from, read once: from the API, or from the JSON that `kubectl get -o json` writes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from countersign.domain.document import JsonObject, items, text
from countersign.domain.names import GROUP, VERSION
from countersign.domain.profile import Profile
from countersign.domain.rbac import Binding, RoleRef, Rule
from countersign.domain.request import GroupResource
from countersign.domain.resources import AgentIdentity
from countersign.service.ports import ApiError, NotFoundError
from countersign.wire.errors import WireError
from countersign.wire.guards.jail import NAME as JAIL
from countersign.wire.guards.jail import is_jailed
from countersign.wire.rbac import GROUP as RBAC
from countersign.wire.rbac import parse_binding, parse_role
from countersign.wire.resources import parse_agent_identity, parse_environment

_PAGE: Final = 500
_POLICIES: Final = "admissionregistration.k8s.io/v1"
_HARDENED: Final = "countersign-hardened"
_PATHS: Final[Mapping[str, str]] = {
    "AgentIdentity": f"/apis/{GROUP}/{VERSION}/agentidentities",
    "ProtectedEnvironment": f"/apis/{GROUP}/{VERSION}/protectedenvironments",
    "ClusterRole": f"/apis/{RBAC}/v1/clusterroles",
    "Role": f"/apis/{RBAC}/v1/roles",
    "ClusterRoleBinding": f"/apis/{RBAC}/v1/clusterrolebindings",
    "RoleBinding": f"/apis/{RBAC}/v1/rolebindings",
    "ValidatingAdmissionPolicyBinding": f"/apis/{_POLICIES}/validatingadmissionpolicybindings",
    "FlowSchema": "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas",
}


class Reader(Protocol):
    async def get(
        self, path: str, *, query: Mapping[str, str] | None = None, accept: str = "application/json", timeout: float = 10
    ) -> JsonObject:
        """Raises ApiError."""


@dataclass(slots=True)
class Inventory:
    """Filled object by object, and only what is needed of each kept."""

    roles: dict[RoleRef, Sequence[Rule]] = field(default_factory=dict)
    bindings: list[Binding] = field(default_factory=list)
    identities: list[AgentIdentity] = field(default_factory=list)
    listed: set[GroupResource] = field(default_factory=set)
    profile: Profile = Profile.STANDARD
    jail: bool = False
    seen: set[str] = field(default_factory=set)

    def add(self, kind: str, document: JsonObject) -> None:
        """Objects of other kinds are left aside. Raises WireError."""
        self.seen.add(kind)
        match kind:
            case "ClusterRole" | "Role":
                ref, rules = parse_role(document)
                self.roles[ref] = rules
            case "ClusterRoleBinding" | "RoleBinding":
                self.bindings.append(parse_binding(document))
            case "AgentIdentity":
                self.identities.append(parse_agent_identity(document))
            case "ProtectedEnvironment":
                self.listed.update(parse_environment(document).resources)
            case "ValidatingAdmissionPolicyBinding" if text(document, "metadata", "name").startswith(_HARDENED):
                self.profile = Profile.HARDENED
            case "FlowSchema" if text(document, "metadata", "name") == JAIL:
                self.jail = True
            case _:
                pass

    @property
    def jailed(self) -> frozenset[str]:
        """The agents whose writes to admission policies are held."""
        return frozenset(identity.meta.name for identity in self.identities if self.jail and is_jailed(identity))


async def read(reader: Reader) -> Inventory:
    """Raises ApiError that says which kind cannot be read, WireError for an object of ours that cannot be understood."""
    inventory = Inventory()
    for kind, path in _PATHS.items():
        try:
            await _read(reader, kind, path, inventory)
        except NotFoundError as error:
            raise ApiError(error.status, f"{path} is not served: is Countersign installed on this cluster?") from error
    return inventory


async def _read(reader: Reader, kind: str, path: str, inventory: Inventory) -> None:
    query = {"limit": str(_PAGE)}
    while True:
        page = await reader.get(path, query=query, timeout=60)
        for document in items(page, "items"):
            inventory.add(kind, document)
        following = text(page, "metadata", "continue")
        if not following:
            return
        query = {"limit": str(_PAGE), "continue": following}


def load(tree: object) -> Inventory:
    """From a List as kubectl writes it. Raises WireError where something that is needed is not in it."""
    inventory = Inventory()
    for document in items(tree, "items"):
        inventory.add(text(document, "kind"), document)
    missing = [kind for kind in ("AgentIdentity", "ClusterRole", "ClusterRoleBinding") if kind not in inventory.seen]
    if missing:
        raise WireError(
            f"there is no {' and no '.join(missing)} in it; write the file with `kubectl get "
            "clusterroles,clusterrolebindings,roles,rolebindings,agentidentities,protectedenvironments,"
            "validatingadmissionpolicybindings,flowschemas --all-namespaces -o json`"
        )
    return inventory
