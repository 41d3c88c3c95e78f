"""The hardened profile's policies; in the standard profile there are none of them."""

from collections.abc import Sequence

from countersign.domain.profile import Profile
from countersign.domain.resources import AgentIdentity, ProtectedEnvironment
from countersign.wire.guards.accounts import account_policies
from countersign.wire.guards.becoming import becoming_policies
from countersign.wire.guards.emptying import emptying_policies
from countersign.wire.guards.objects import Guard, Site
from countersign.wire.guards.powers import powers
from countersign.wire.guards.rights import rights_policies
from countersign.wire.guards.workloads import WHO
from countersign.wire.shards import Shard, deal


def hardened_policies(
    site: Site, shards: Sequence[Shard], identities: Sequence[AgentIdentity], environments: Sequence[ProtectedEnvironment]
) -> list[Guard]:
    if site.profile is not Profile.HARDENED:
        return []
    held = powers(kind for environment in environments for kind in environment.resources)
    accounts = deal(identities, WHO).shards
    return [
        *emptying_policies(site, shards, environments),
        *becoming_policies(site, shards),
        *account_policies(site, shards, accounts, held),
        *rights_policies(site, shards, accounts, held),
    ]
