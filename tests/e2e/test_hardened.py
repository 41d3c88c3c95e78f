"""The one thing of the hardened profile that is signed for: the deletion of a StatefulSet, and what covers it. (The rest: tests/jailbreak.)"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.controlplane.api import path
from tests.controlplane.cluster import Cluster
from tests.e2e._faults import allowed, approve, delete, delete_namespace, held, make_namespace, until, wait_allowed, wait_gone, wait_refused
from tests.e2e.test_ordinary_work import HARDENED, STANDARD, in_profile, stateful_set

pytestmark = pytest.mark.local_only(reason="changes the profile, which on kind takes a minute each time")


@pytest.fixture(scope="module")
def hardened(cluster: Cluster) -> Iterator[Cluster]:
    with in_profile(cluster, HARDENED):
        namespace, url = _made(cluster)  # the webhook's rules come last of all guards
        wait_refused(lambda: delete(cluster, "kiro", url, dry_run=True), "the deletion of a StatefulSet was to be held")
        cluster.api.delete(path("namespaces", namespace))
        yield cluster


def _made(cluster: Cluster) -> tuple[str, str]:
    """A namespace of somebody else's, and a StatefulSet in it by its URL."""
    namespace = make_namespace(cluster, "ledger")
    sets = path("statefulsets", namespace=namespace)
    cluster.api.create(sets, stateful_set("db"))
    return namespace, f"{sets}/db"


def test_it_waits_for_a_signature_and_passes_with_it(hardened: Cluster) -> None:
    namespace, url = _made(hardened)
    request = held(delete(hardened, "kiro", url))
    found = hardened.api.get(path("changerequests", request))
    assert (found["spec"]["target"]["group"], found["spec"]["target"]["resource"]) == ("apps", "statefulsets")
    approve(hardened, request)
    allowed(delete(hardened, "kiro", url))
    wait_gone(hardened.api, url)
    hardened.api.delete(path("namespaces", namespace))


def test_an_approved_namespace_covers_it(hardened: Cluster) -> None:
    namespace, url = _made(hardened)
    approve(hardened, held(delete_namespace(hardened, "kiro", namespace)))
    allowed(delete(hardened, "kiro", url))
    allowed(delete_namespace(hardened, "kiro", namespace))
    wait_gone(hardened.api, path("namespaces", namespace))


def test_a_collection_of_them_is_held_one_by_one(hardened: Cluster) -> None:
    namespace, url = _made(hardened)
    held(delete(hardened, "kiro", url.rpartition("/")[0]))
    assert hardened.api.exists(url)
    hardened.api.delete(path("namespaces", namespace))


def test_back_in_the_standard_profile_nothing_of_it_is_left(hardened: Cluster) -> None:
    """The operator takes its policies away, though nobody has them made any more."""
    namespace, url = _made(hardened)
    hardened.reconfigure(profile=STANDARD)

    def left() -> list[str]:
        kinds = ("validatingadmissionpolicies", "validatingadmissionpolicybindings")
        names = [each["metadata"]["name"] for kind in kinds for each in hardened.api.list(path(kind))]
        return [name for name in names if name.startswith("countersign-hardened-")]

    until(lambda: not left(), "the operator was to take its policies away", explain=lambda: str(left()))
    wait_allowed(lambda: delete(hardened, "kiro", url, dry_run=True), "the deletion of a StatefulSet was to be nobody's affair again")
    allowed(delete(hardened, "kiro", url))
    hardened.api.delete(path("namespaces", namespace))
