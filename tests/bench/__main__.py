"""`make bench`: decisions per second over TLS, beside floors in the same run; and how soon and how large a webhook is.

Every answer is checked. Rounds are interleaved and their order is turned round each time, so that a machine that warms up or gets busy
disturbs all alike. What is printed are medians; all of it stands in .bench/results.json.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from tests.bench import oncluster, pods, posture, tamper
from tests.bench.measuring import BenchError, Cell, Lab, Sample, Server, open_files
from tests.bench.oncluster import Replica
from tests.bench.reviews import Review, reviews
from tests.bench.world import ENVIRONMENTS, IDENTITIES
from tests.controlplane import gotoolchain
from tests.controlplane.errors import HarnessError
from tests.controlplane.paths import ROOT
from tests.controlplane.progress import Progress

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "3"))
SECONDS = float(os.environ.get("BENCH_SECONDS", "1.2"))
CONNECTIONS = (1, 8, 64)
FOLDER = ROOT / ".bench"
BUSY = 0.5  # the load average above which figures are worth little
READY_GOAL, RESIDENT_GOAL = 3.0, 150.0  # seconds, MB
TITLES = {
    "countersign": f"Countersign ({IDENTITIES} identities, {ENVIRONMENTS} environments; what an API server would be asked is in memory)",
    "null": "floor: the same server with an application that decides nothing",
    "go": "peer: Go net/http and encoding/json, one processor, decides nothing",
}


def main() -> int:
    progress = Progress(sys.stderr)
    open_files()
    bodies = reviews()
    busy = os.getloadavg()[0]
    lab = Lab(FOLDER, gotoolchain.find(progress), bodies)
    with progress.step("building the load generator"):
        lab.build()
    with progress.step("another replica on the cluster that is up"):
        replica = oncluster.measure()
    with ExitStack() as stack:
        servers = [stack.enter_context(lab.server(name)) for name in TITLES]
        cells = _measure(lab, servers, bodies, progress)
        sizes = {server.name: server.resident_megabytes for server in servers}
    _report_circumstances(lab, busy)
    _report_cells(cells, bodies)
    _report_sizes(replica, sizes, _lines(FOLDER / "countersign.out"))
    _save(cells, replica, sizes, busy)
    return 0


def _measure(lab: Lab, servers: Sequence[Server], bodies: Sequence[Review], progress: Progress) -> list[Cell]:
    plan = [
        (server, review, connections)
        for review in bodies
        for connections in CONNECTIONS
        for server in servers
        # The floors do not know one large review from another.
        if server.name == "countersign" or review.name != "36k-allowed"
    ]
    samples: dict[tuple[str, str, int], list[Sample]] = {}
    for server, review, _ in plan:
        lab.run(server, review, 1, 0.2)  # each server has seen each review once before anything counts
    for number in range(ROUNDS):
        with progress.step(f"round {number + 1} of {ROUNDS}: {len(plan)} runs of {SECONDS:g} s"):
            for server, review, connections in plan if number % 2 == 0 else reversed(plan):
                sample = lab.run(server, review, connections, SECONDS)
                samples.setdefault((server.name, review.name, connections), []).append(sample)
    return [Cell.of(*key, found) for key, found in samples.items()]


def _report_circumstances(lab: Lab, busy: float) -> None:
    print(f"\n{platform.machine()}, {os.cpu_count()} processors, Python {platform.python_version()}, load before it began {busy:.1f}")
    if lab.shares_a_processor:
        print("ONE PROCESSOR: the load generator takes its time from the server, so these figures are too low.")
    if busy > BUSY:
        print("THE MACHINE WAS BUSY with other things: read the CPU per request, and of the rest only how servers compare.")


def _report_cells(cells: Sequence[Cell], bodies: Sequence[Review]) -> None:
    print(f"HTTP/1.1 over TLS, connections kept; medians of {ROUNDS} interleaved rounds.\n")
    for name, title in TITLES.items():
        print(f"  {name:<12} {title}")
    for review in bodies:
        print(f"\n{review.title} ({len(review.body)} bytes)\n")
        print("  server        conns   per second   of null   p50 us   p99 us   CPU us/request   spread")
        for connections in CONNECTIONS:
            for cell in (cell for cell in cells if (cell.review, cell.connections) == (review.name, connections)):
                print(
                    f"  {cell.server:<12} {cell.connections:>6} {cell.per_second:>12,.0f} {_share(cell, cells):>9} "
                    f"{cell.p50_micros:>8,.0f} {cell.p99_micros:>8,.0f} {cell.cpu_micros:>16,.0f} {cell.spread:>8.2f}"
                )


def _report_sizes(replica: Replica | str, sizes: Mapping[str, float], recorded: int) -> None:
    print(f"\nSize after this load: {', '.join(f'{name} {size:.0f} MB' for name, size in sizes.items())}.")
    print(f"Decision log: {recorded:,} records, written before the answers.")
    if isinstance(replica, str):
        print(f"NOT MEASURED: time to ready and size on a cluster, because {replica}.")
    else:
        ready, size = replica.ready_seconds, replica.resident_megabytes
        print(f"On the cluster that is up: ready {ready:.2f} s after its start ({_met(ready, READY_GOAL)} the goal of {READY_GOAL:.0f} s),")
        print(f"{size:.0f} MB resident ({_met(size, RESIDENT_GOAL)} the goal of {RESIDENT_GOAL:.0f} MB).")


def _share(cell: Cell, cells: Sequence[Cell]) -> str:
    size = cell.review.partition("-")[0]
    floor = next((c for c in cells if (c.server, c.review, c.connections) == ("null", size, cell.connections)), None)
    return f"{cell.per_second / floor.per_second:.2f}" if floor else "-"


def _met(value: float, goal: float) -> str:
    return "within" if value <= goal else "MISSES"


def _lines(file: Path) -> int:
    with file.open("rb") as stream:
        return sum(1 for _ in stream)


def _save(cells: Sequence[Cell], replica: Replica | str, sizes: Mapping[str, float], busy: float) -> None:
    tree = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"architecture": platform.machine(), "processors": os.cpu_count(), "python": platform.python_version()},
        "loadBefore": busy,
        "rounds": ROUNDS,
        "secondsOfARun": SECONDS,
        "cells": [asdict(cell) for cell in cells],
        "residentMegabytes": sizes,
        "replica": asdict(replica) if isinstance(replica, Replica) else {"notMeasured": replica},
    }
    (FOLDER / "results.json").write_text(json.dumps(tree, indent=2) + "\n")
    print(f"Written to {(FOLDER / 'results.json').relative_to(ROOT)}.")


if __name__ == "__main__":
    try:
        alone = {"posture": posture.main, "tamper": tamper.main, "pods": pods.main}.get(" ".join(sys.argv[1:]))
        sys.exit(alone() if alone else main() | posture.main())
    except (BenchError, HarnessError) as error:
        print(f"The benchmark could not be run: {error}", file=sys.stderr)
        sys.exit(1)
