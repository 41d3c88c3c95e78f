"""How soon a webhook is ready and how large it is: another replica, started beside those of the cluster that is up."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass

import httpx

from tests.bench.measuring import BenchError, resident_megabytes
from tests.controlplane import binaries, ports, state
from tests.controlplane.localbackend import LocalBackend
from tests.controlplane.paths import ROOT, Layout
from tests.controlplane.progress import Progress

READY_WITHIN = 30.0


@dataclass(frozen=True, slots=True)
class Replica:
    ready_seconds: float
    resident_megabytes: float


def measure() -> Replica | str:
    """A replica on the local cluster; or the sentence that says why there is none.

    Raises:
        BenchError
    """
    layout = Layout.from_environment()
    known = state.load(layout)
    if known is None or not known.ready:
        return "no cluster is up: `make up`, then again"
    if known.kind != "local":
        return f"the cluster that is up is {known.kind}: this is measured on a local one (`make down up CLUSTER=local`, then again)"
    backend = LocalBackend(layout, known, binaries.ensure(binaries.LOCAL_CLUSTER, Progress(quiet=True)))
    (port,) = ports.choose(1)
    environment = {**backend.environment("webhook", port), "COUNTERSIGN_REPLICA": "bench"}
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "countersign", "webhook"], env=environment, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    try:
        _wait_ready(process, port, began)
        return Replica(round(time.monotonic() - began, 2), resident_megabytes(process.pid))
    finally:
        process.terminate()
        process.communicate(timeout=20)


def _wait_ready(process: subprocess.Popen[bytes], port: int, began: float) -> None:
    with httpx.Client(verify=False, trust_env=False, timeout=5) as client:
        text = "it does not listen"
        while time.monotonic() < began + READY_WITHIN and process.poll() is None:
            try:
                answer = client.get(f"https://127.0.0.1:{port}/readyz")
            except httpx.HTTPError:
                time.sleep(0.02)
                continue
            if answer.is_success:
                return
            text = answer.text
            time.sleep(0.02)
    raise BenchError(f"another replica of the webhook was not ready within {READY_WITHIN:.0f} s: {text} (pid {os.getpid()})")
