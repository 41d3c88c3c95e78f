"""The webhook's certificate is lost, garbled, brought by others and taken over from an older release, while agents go on asking.

Asked is in two ways at once: an agent's dry run through the API server, which must be held by our answer and never for want of one; and,
where the webhook's port can be reached from here, a handshake of our own that trusts the caBundle as it stood half a second ago.
"""

from __future__ import annotations

import base64
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import pytest

from countersign.adapters.authority import Issued, new_authority, new_certificate, server_names
from tests.controlplane import chart
from tests.controlplane.api import path
from tests.controlplane.chart import NAMESPACE
from tests.controlplane.cluster import Cluster
from tests.e2e._faults import until

SERVED = path("secrets", "countersign-webhook-tls", namespace=NAMESPACE)
AUTHORITY = path("secrets", "countersign-webhook-ca", namespace=NAMESPACE)
OURS = "our-certificate"
BROUGHT = path("secrets", OURS, namespace=NAMESPACE)
WAIT = ("wait", "secret/countersign-webhook-tls", r"--for=jsonpath={.data.ca-old\.crt}", "--timeout=60s")
FORGET = ("patch", "secret", "countersign-webhook-tls", "--type=json", "-p", '[{"op": "remove", "path": "/data/ca-old.crt"}]')
TAKES = 75.0
"""Seconds: the API servers' half minute, a round of the operator, a look of the replica, on a machine that does other things too."""


def now() -> datetime:
    """The certificates are for a cluster that runs by the real time."""
    return datetime.now(UTC)


class Asking:
    """Asks without a pause from the beginning of the block to its end, and fails there if a single request did."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._stop = threading.Event()
        self.failures: list[str] = []
        self.asked = self.shaken = 0
        self._threads = [threading.Thread(target=self._ask), threading.Thread(target=self._shake)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)
        if kind is None:
            assert self.failures == []
            assert self.asked > 10
            assert self.shaken > 10 or not self._cluster.is_local

    def _ask(self) -> None:
        agent = self._cluster.api_as("kiro")
        while not self._stop.is_set():
            answer = agent.request("DELETE", path("namespaces", "agents"), params={"dryRun": "All"})
            self.asked += 1
            message = str(answer.body.get("message", ""))
            if answer.status != 403 or "failed calling webhook" in message or "DRY RUN" not in message:
                self.failures.append(f"{answer.status} {message[:300]}")
            time.sleep(0.05)

    def _shake(self) -> None:
        while self._cluster.is_local and not self._stop.is_set():
            webhook = chart.registered(self._cluster.api)[0]["clientConfig"]
            trusting = ssl.create_default_context(cadata=base64.b64decode(webhook["caBundle"]).decode())
            host, port = urlsplit(webhook["url"]).hostname, urlsplit(webhook["url"]).port
            time.sleep(0.5)
            try:
                with (
                    socket.create_connection((host or "", port or 0), timeout=5) as plain,
                    trusting.wrap_socket(plain, server_hostname=host),
                ):
                    self.shaken += 1
            except OSError as error:  # ssl.SSLError among them
                self.failures.append(f"handshake: {error}")


def part(cluster: Cluster, name: str, secret: str = SERVED) -> bytes:
    return base64.b64decode(cluster.api.get(secret).get("data", {}).get(name, ""))


def wait_served(cluster: Cluster, what: str, *, other_than: bytes) -> None:
    """Until the Secret holds another pair than before, and each replica has had the time to read it."""
    until(lambda: cluster.api.exists(SERVED) and _whole(cluster) and part(cluster, "tls.crt") != other_than, what, timeout=TAKES)
    time.sleep(12)  # a replica looks every ten seconds


def _whole(cluster: Cluster) -> bool:
    return all(part(cluster, name).startswith(b"-----BEGIN") for name in ("tls.crt", "tls.key", "ca.crt"))


def trusted(cluster: Cluster) -> bytes:
    return base64.b64decode(chart.registered(cluster.api)[0]["clientConfig"]["caBundle"])


def condition(cluster: Cluster) -> Mapping[str, Any]:
    status = cluster.api.get(path("protectedenvironments", "default")).get("status", {})
    return next((each for each in status.get("conditions", []) if each["type"] == "CertificateGood"), {})


def names(cluster: Cluster) -> tuple[str, ...]:
    return server_names(NAMESPACE, chart.registered(cluster.api)[0]["clientConfig"].get("url", ""))


def write(cluster: Cluster, secret: str, parts: Mapping[str, bytes]) -> None:
    """A Secret, in one step."""
    data = {name: base64.b64encode(content).decode() for name, content in parts.items()}
    metadata = {"name": secret.rpartition("/")[2], "namespace": NAMESPACE}
    body = {"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "metadata": metadata, "data": data}
    if cluster.api.exists(secret):
        cluster.api.delete(secret)
    cluster.api.create(secret.rpartition("/")[0], body)


def parts(authority: Issued, leaf: Issued) -> dict[str, bytes]:
    return {"tls.crt": leaf.certificate_pem, "tls.key": leaf.key_pem, "ca.crt": authority.certificate_pem}


@contextmanager
def configured(cluster: Cluster, **certificates: Any) -> Iterator[None]:
    cluster.reconfigure(certificates=certificates)
    try:
        yield
    finally:
        cluster.reset_values()


def test_what_is_garbled_or_lost_heals_while_agents_ask(cluster: Cluster) -> None:
    before = part(cluster, "tls.crt")
    with Asking(cluster):
        cluster.api.patch(SERVED, {"data": {"tls.key": base64.b64encode(b"-----BEGIN PRIVATE KEY-----\nno\n").decode()}})
        wait_served(cluster, "the garbled Secret was to be made whole", other_than=before)
        garbled, authority = part(cluster, "tls.crt"), part(cluster, "ca.crt", AUTHORITY)
        cluster.api.delete(SERVED)
        cluster.api.delete(AUTHORITY)
        wait_served(cluster, "the lost Secrets were to be made anew", other_than=garbled)
        for command in (WAIT, FORGET):  # docs/certificates.md: the authority's key was stolen, and is to be worth nothing
            cluster.kubectl("admin", "-n", NAMESPACE, *command).check_returncode()
        until(lambda: authority not in trusted(cluster), "the former authority was to be trusted no more")
    assert part(cluster, "ca.crt", AUTHORITY) != authority
    until(lambda: condition(cluster).get("status") == "True", "default was to say that the certificate is good")


def test_a_brought_certificate_is_served_and_a_bad_one_is_not(cluster: Cluster) -> None:
    authority = new_authority(now())
    good, next_one = (new_certificate(authority, names(cluster), now()) for _ in range(2))
    nameless = new_certificate(authority, ("shop.example.com",), now())
    write(cluster, BROUGHT, parts(authority, good))
    with configured(cluster, source="provided", provided={"secretName": OURS}):
        until(lambda: part(cluster, "tls.crt") == good.certificate_pem, "what was brought was to be served", timeout=TAKES)
        until(lambda: not cluster.api.exists(AUTHORITY), "the operator's own authority was to be destroyed")
        time.sleep(12)
        with Asking(cluster):
            write(cluster, BROUGHT, parts(authority, nameless))
            until(lambda: condition(cluster).get("status") == "False", "default was to say what is wrong with it")
            assert "The certificate is for shop.example.com, and the API server calls" in condition(cluster)["message"]
            assert "The certificate in use stays" in condition(cluster)["message"]
            assert "countersign_certificate_good 0.0" in cluster.operator_metrics()
            told = [event for event in cluster.api.list(path("events", namespace=NAMESPACE)) if event["reason"] == "CertificateNotUsable"]
            assert any("shop.example.com" in event["message"] for event in told)
            assert part(cluster, "tls.crt") == good.certificate_pem
            write(cluster, BROUGHT, parts(authority, next_one))
            wait_served(cluster, "the next one was to be served", other_than=good.certificate_pem)
        assert condition(cluster)["status"] == "True"
        assert f"Put the next one into the Secret {NAMESPACE}/{OURS} before." in condition(cluster)["message"]
    cluster.api.delete(BROUGHT)
    wait_served(cluster, "the operator was to make its own again", other_than=next_one.certificate_pem)


def test_the_former_layout_is_taken_over_while_agents_ask(cluster: Cluster) -> None:
    """One Secret with the authority's key in it, as releases before made it; the operator of then is gone, the webhook serves."""
    until(lambda: cluster.api.exists(AUTHORITY), "the operator was to have an authority of its own")
    cluster.stop_operator()
    former = {name: part(cluster, name, AUTHORITY) for name in ("ca.crt", "ca.key")}
    write(cluster, SERVED, {**former, **{name: part(cluster, name) for name in ("tls.crt", "tls.key")}})
    cluster.api.delete(AUTHORITY)
    with Asking(cluster):
        cluster.start_operator()
        until(lambda: "ca.key" not in cluster.api.get(SERVED)["data"], "the authority's key was to leave the webhook's Secret")
        assert part(cluster, "ca.key", AUTHORITY) == former["ca.key"]
        time.sleep(12)
    following = part(cluster, "next.crt", AUTHORITY)
    assert following, "whose key the webhook could read is not to sign for longer than it must"
    assert former["ca.crt"] in trusted(cluster)
    assert following in trusted(cluster)


@pytest.fixture(autouse=True, scope="module")
def _tidy(cluster: Cluster) -> Iterator[None]:
    """What follows finds a certificate of the operator's own, whatever happened here."""
    yield
    if cluster.api.exists(BROUGHT):
        cluster.api.delete(BROUGHT)
