"""How the cluster of the suites comes from one profile's installation to another's, and where one cannot be had."""

from __future__ import annotations

from typing import Final

from tests.controlplane.cluster import Cluster
from tests.jailbreak._attack import Profile

VALUES: Final = {
    Profile.STANDARD: {"profile": "standard"},
    Profile.HARDENED: {"profile": "hardened"},
}


def obstacle(cluster: Cluster, profile: Profile) -> str:
    """Why this profile cannot be run here, "" if it can."""
    del cluster
    if profile in VALUES:
        return ""
    return "the harness cannot yet start an API server with an authorizer"


def switch(cluster: Cluster, before: Profile, now: Profile) -> None:
    """Raises HarnessError."""
    del before
    if now is Profile.STANDARD:
        cluster.reset_values()
    else:
        cluster.reconfigure(**VALUES[now])
