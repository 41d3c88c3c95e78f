"""`make chaos`: Countersign on a kind cluster of three nodes, under load, while things break. A table, and 1 where a promise was broken.

`make chaos CHAOS='frozen drain'` runs the faults whose names hold one of these words; `outages` is the part where Countersign is out altogether.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime

from tests.chaos import report
from tests.chaos.faults import FAULTS, Fault, Stage
from tests.chaos.ledger import Ledger
from tests.chaos.load import PRECIOUS, WORKPLACE, Load
from tests.chaos.nodes import Nodes
from tests.chaos.outages import Outages
from tests.chaos.report import Check, Row
from tests.controlplane import people
from tests.controlplane.api import path
from tests.controlplane.cluster import Cluster, running_cluster
from tests.controlplane.errors import HarnessError
from tests.controlplane.kindbackend import WORKERS_VARIABLE
from tests.controlplane.paths import ROOT
from tests.controlplane.progress import Progress

OUTAGES = "outages"
RESULTS = ROOT / "build" / "chaos"
WORKERS = "2"
LEAD = 2.0
"""Seconds of load before a fault, and after its recovery."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("words", nargs="*", help=f"some of the faults, by words of their names, or {OUTAGES}; left out: all")
    words: list[str] = parser.parse_args().words
    wanted = [fault for fault in FAULTS if not words or any(word in fault.name for word in words)]
    if not wanted and OUTAGES not in words:
        parser.error(f"there is no such fault: {', '.join(fault.name for fault in FAULTS)}")
    os.environ.setdefault(WORKERS_VARIABLE, WORKERS)
    os.environ.setdefault("COUNTERSIGN_STATE", ".cluster-chaos")
    try:
        with running_cluster("kind") as cluster:
            return run(cluster, wanted, Progress(), outages=not words or OUTAGES in words)
    except HarnessError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1


def run(cluster: Cluster, faults: Sequence[Fault], progress: Progress, *, outages: bool) -> int:
    """The exit code. Raises HarnessError."""
    begun = time.monotonic()
    stage = Stage(cluster, Nodes(cluster))
    if len(stage.nodes.workers) < int(WORKERS):
        raise HarnessError("the cluster that is up has too few nodes: `make down` in its state folder, then again")
    uids = prepare(cluster)
    rows = [during(fault, stage, progress) for fault in faults]
    checks: list[Check] = []
    if outages:
        parts = Outages(stage, progress)
        parts.run()
        checks = parts.checks
    for name, uid in uids.items():
        if not _is_there(cluster, name, uid):
            checks.append(Check("afterwards", f"the namespace {name} is the one that it was", 0.0, "it is gone, and nobody had signed"))
    seconds = time.monotonic() - begun
    about = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{os.cpu_count()} cores, {platform.system()} {platform.release()}",
        "kubernetes": str(cluster.api.get("/version")["gitVersion"]),
        "nodes": len(stage.nodes.names),
        "seconds": round(seconds),
    }
    tables = "\n".join([*([report.markdown(rows)] if rows else []), *([report.outages_markdown(checks)] if checks else [])])
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "results.json").write_text(json.dumps(report.results(rows, checks, about), indent=1))
    (RESULTS / "table.md").write_text(tables)
    progress.say(f"\n{tables}")
    broken = report.complaints(rows, checks)
    for complaint in broken:
        progress.say(f"BROKEN: {complaint}")
    progress.say(f"make chaos {'FAILED' if broken else 'passed'} in {seconds:.0f} s; see {RESULTS}")
    return 1 if broken else 0


def prepare(cluster: Cluster) -> dict[str, str]:
    """Whoever works, and where. Returns the precious namespaces with their UIDs."""
    cluster.new_human("dave@example.com", role="cluster-admin")
    for name in (WORKPLACE, *PRECIOUS):
        people.create_namespace(cluster.api, name)
    return {name: str(cluster.api.get(path("namespaces", name))["metadata"]["uid"]) for name in PRECIOUS}


def _is_there(cluster: Cluster, name: str, uid: str) -> bool:
    answer = cluster.api.request("GET", path("namespaces", name))
    return answer.ok and answer.body["metadata"]["uid"] == uid and "deletionTimestamp" not in answer.body["metadata"]


def during(fault: Fault, stage: Stage, progress: Progress) -> Row:
    """One fault under load, until everything is as it was."""
    ledger = Ledger(touches_server=fault.touches_server)
    whole: float | None = None
    failed = ""
    load = Load(stage.cluster, ledger)
    with progress.step(fault.name), load:
        time.sleep(LEAD)
        begun = time.monotonic()
        try:
            fault.act(stage)
            stage.wait_whole()
            stage.wait_operator()
            whole = time.monotonic() - begun
        except HarnessError as error:
            failed = str(error)
        time.sleep(LEAD)
    row = report.row(fault.name, ledger, begun=begun, whole=whole, gentle=fault.gentle, within=fault.within)
    row.complaints.extend([*load.failures, *([failed] if failed else [])])
    _keep(fault, ledger, begun)
    for complaint in row.complaints:
        progress.say(f"  BROKEN: {complaint}")
    return row


def _keep(fault: Fault, ledger: Ledger, begun: float) -> None:
    """Whatever was not the usual answer, for whoever looks into it."""
    lines = [
        f"{each.begun - begun:7.2f} {each.ended - begun:7.2f} {each.verdict:<8} {each.who}: {each.what}: {each.said}"
        for each in ledger.asked
        if each.verdict != "right"
    ]
    RESULTS.mkdir(parents=True, exist_ok=True)
    with suppress(OSError):
        (RESULTS / f"{'-'.join(fault.name.replace('/', ' ').split())}.log").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    sys.exit(main())
