"""The guards: every object of admissionregistration.k8s.io that the operator keeps, built from identities and environments."""

from collections.abc import Sequence

from countersign.domain.resources import AgentIdentity, ProtectedEnvironment
from countersign.wire.guards.agents import agent_policies
from countersign.wire.guards.controllers import controller_policies
from countersign.wire.guards.glass import glass_policies
from countersign.wire.guards.hardened import hardened_policies
from countersign.wire.guards.jail import jail
from countersign.wire.guards.label import label_policies
from countersign.wire.guards.laundering import laundering_policies
from countersign.wire.guards.leaving import leaving_policies
from countersign.wire.guards.objects import Guard, Site
from countersign.wire.guards.records import record_policies
from countersign.wire.guards.selfguard import self_policies
from countersign.wire.guards.shadows import shadow_policies
from countersign.wire.guards.volumes import volume_policies
from countersign.wire.guards.webhooks import webhook_configuration
from countersign.wire.shards import deal

__all__ = ["Guard", "Site", "guards"]


def guards(site: Site, identities: Sequence[AgentIdentity], environments: Sequence[ProtectedEnvironment]) -> tuple[Guard, ...]:
    """All of them in the order in which they are put in force: what guards the guards first, the webhook's rules last."""
    shards = deal(identities).shards
    ordered = sorted(environments, key=lambda environment: environment.meta.name)
    configuration = webhook_configuration(site, shards, ordered)
    return (
        *self_policies(site, configuration),
        *jail(site, identities),
        *shadow_policies(site, shards),
        *record_policies(site),
        *glass_policies(site),
        *laundering_policies(site, shards),
        *leaving_policies(site, ordered),
        *agent_policies(site, shards),
        *controller_policies(site, shards),
        *volume_policies(site, shards),
        *hardened_policies(site, shards, identities, ordered),
        *label_policies(site, shards, identities),
        configuration,
    )
