"""How the cluster of the suites comes from one profile's installation to another's, and where one cannot be had."""

from __future__ import annotations

from typing import Final

from tests.controlplane.cluster import Cluster
from tests.jailbreak._attack import Profile

VALUES: Final = {
    Profile.STANDARD: {"profile": "standard"},
    Profile.HARDENED: {"profile": "hardened"},
    Profile.AUTHORIZER: {"profile": "standard"},
}


def obstacle(cluster: Cluster, profile: Profile) -> str:
    """Why this profile cannot be run here, "" if it can."""
    del cluster
    return "" if profile in VALUES else f"nobody says how to install the profile {profile}"


def switch(cluster: Cluster, before: Profile, now: Profile) -> None:
    """Raises HarnessError."""
    if before is Profile.AUTHORIZER:
        cluster.authorization.clear()
    if now is Profile.STANDARD:
        cluster.reset_values()
        return
    if before is Profile.AUTHORIZER:
        cluster.reset_values()
    if now is Profile.AUTHORIZER:
        cluster.add_authorizer(**VALUES[now])
    else:
        cluster.reconfigure(**VALUES[now])
