"""`python -m tests.demo` (make demo): starts a cluster of its own, plays the story in it, and takes it down again.

CLUSTER=local|kind   KEEP=1 keeps the cluster   PACE=seconds between two sentences (0: none)   COUNTERSIGN_STATE another folder for its state
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.controlplane import cache, files, up
from tests.controlplane.cluster import Cluster
from tests.controlplane.errors import HarnessError
from tests.controlplane.paths import ROOT, Layout
from tests.controlplane.progress import Progress
from tests.demo.stage import Stage, Surprise
from tests.demo.story import Story


def main() -> int:
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, signal.default_int_handler)
    try:
        stage = Stage.on(sys.stdout)
    except Surprise as error:
        print(error, file=sys.stderr)
        return 2
    try:
        return play(stage)
    except HarnessError as error:
        stage.bad(f"\nThe demo could not be played: {error}")
        return 1
    except KeyboardInterrupt:
        stage.plain("\nInterrupted.")
        return 130


def play(stage: Stage) -> int:
    """The exit code.

    Raises:
        HarnessError
    """
    layout = Layout((ROOT / os.environ.get("COUNTERSIGN_STATE", ".cluster-demo")).resolve())
    stage.plain("Countersign: no AI agent deletes an environment until a second human has signed for it.\n")
    with a_cluster(stage, layout) as cluster, a_folder(layout.state / "demo") as folder:
        begun = time.monotonic()
        try:
            steps = Story(stage, cluster, folder).play()
        except Surprise as surprise:
            stage.bad(f"\nThe demo stopped, since something differed. {surprise}")
            stage.plain(f"\nThe logs are in {_short(layout.logs)}; KEEP=1 make demo keeps them and the cluster for a look.")
            return 1
        _end(stage, steps, time.monotonic() - begun)
    return 0


@contextmanager
def a_cluster(stage: Stage, layout: Layout) -> Iterator[Cluster]:
    keep = bool(os.environ.get("KEEP"))
    place = cache.folder() / "locks" / f"demo-{layout.kind_name}"
    with files.lock(place, lambda: stage.plain("  waiting for another demo in this checkout to end")):
        kind = os.environ.get("CLUSTER") or "local"
        stage.plain(f"Starting a {kind} cluster for it in {_short(layout.state)} (the first time builds it: minutes)")
        try:
            cluster = Cluster.up(progress=Progress(stage.out), layout=layout)
            try:
                yield cluster
            finally:
                cluster.close()
        finally:
            if keep:
                stage.plain(f"\nThe cluster is kept: COUNTERSIGN_STATE={_short(layout.state)} make down ends it.")
            else:
                stage.plain("\nTaking the cluster down")
                with _uninterrupted():
                    up.down(layout, Progress(stage.out))


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """A second Ctrl-C must not leave half a cluster behind."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def a_folder(folder: Path) -> Iterator[Path]:
    """Everybody's home, removed with the keys in it."""
    shutil.rmtree(folder, ignore_errors=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _end(stage: Stage, steps: int, seconds: float) -> None:
    stage.plain("")
    stage.good(f"All {steps} steps went as told, in {seconds:.0f} s: refused, signed, let through, protected again, on record.")
    stage.plain(
        "\nWhere to go on\n"
        "  make up                a cluster with Countersign for you to play with; make down ends it\n"
        "  docs/signing.md        for those who sign: hardware keys, rejecting, waiting\n"
        "  docs/agents.md         for those who run agents: what an agent sees, what to tell it\n"
        "  docs/rules.md          the exact rules; docs/limits.md what this does not stop\n"
        "  README.md              installing it with Helm"
    )


def _short(path: Path) -> Path:
    return path.relative_to(ROOT) if path.is_relative_to(ROOT) else path


if __name__ == "__main__":
    sys.exit(main())
