"""Thousands of connections that say nothing keep the webhook from answering, or a signal stalls it, in the hope that the API server gives up waiting and lets things pass.

Source: SIG Security's admission control threat model, T1 and T2 (flooding, long-running requests).
"""

import os
import signal
import socket
from urllib.parse import urlsplit

from tests.controlplane import processes
from tests.controlplane.api import path
from tests.jailbreak._attack import WEBHOOK, Attack, Elsewhere, away
from tests.jailbreak._stage import Stage

ATTACK = Attack(
    number=6,
    title="Flood or stall the webhook until it times out",
    guards=away(WEBHOOK),
    elsewhere=Elsewhere.NOT,
    because="reaches for the webhook's port and process",
    local_only="reaches for the webhook's process",
)
CROWD = 800  # more than the handshakes that it takes at once, and than a program may have files open where nobody said so


def test_a_flood_of_connections(stage: Stage) -> None:
    url = path("namespaces", stage.namespace())
    crowd = [_silent(stage) for _ in range(0 if stage.control else CROWD)]
    try:
        stage.judge(stage.strike("DELETE", url), harm=stage.is_gone(url))
    finally:
        for connection in crowd:
            connection.close()


def test_a_process_that_stands_still(stage: Stage) -> None:
    url = path("namespaces", stage.namespace())
    if not stage.control:
        webhook = processes.read(stage.cluster.paths.run / "webhook")
        assert webhook is not None
        os.kill(webhook.pid, signal.SIGSTOP)
        stage.afterwards(os.kill, webhook.pid, signal.SIGCONT)
    stage.judge(stage.strike("DELETE", url), harm=stage.is_gone(url), by="failed calling webhook")


def _silent(stage: Stage) -> socket.socket:
    [configuration] = [
        each for each in stage.admin.list(path("validatingwebhookconfigurations")) if each["metadata"]["name"] == "countersign"
    ]
    address = urlsplit(configuration["webhooks"][0]["clientConfig"]["url"])
    return socket.create_connection((address.hostname or "", address.port or 0), timeout=10)
