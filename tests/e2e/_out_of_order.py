"""What the tests of faults have in common."""

from __future__ import annotations

from tests.controlplane.cluster import Cluster
from tests.e2e._faults import (
    allowed,
    approve,
    delete_namespace,
    held,
    make_namespace,
)


def approved_deletion(cluster: Cluster, *who: str, word: str = "signed") -> tuple[str, str]:
    """A namespace whose deletion by kiro would pass now, and its change request."""
    name = make_namespace(cluster, word)
    request = held(delete_namespace(cluster, "kiro", name))
    approve(cluster, request, *who)
    allowed(delete_namespace(cluster, "kiro", name, dry_run=True))
    return name, request
