from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.controlplane.cluster import Cluster, running_cluster


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Joins the cluster that is up in the state folder; else starts one."""
    with running_cluster() as cluster:
        yield cluster
