"""`python -m tests.controlplane up|down|logs|build|where`: what the Makefile calls."""

from __future__ import annotations

import argparse
import os
import sys

from tests.controlplane import binaries, state, up
from tests.controlplane.cluster import Cluster
from tests.controlplane.errors import HarnessError
from tests.controlplane.paths import Layout
from tests.controlplane.progress import Progress


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.controlplane", description=__doc__)
    parser.add_argument("command", choices=["up", "down", "logs", "build", "where"])
    parser.add_argument("--cluster", default=os.environ.get("CLUSTER") or "local", help="local (default) or kind; down takes what is up")
    parser.add_argument("--bare", action="store_true", help="up: the cluster and its people, without Countersign")
    arguments = parser.parse_args()
    try:
        run(arguments.command, arguments.cluster, bare=arguments.bare)
    except HarnessError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ninterrupted; run it again to go on, or `make down` to clear up", file=sys.stderr)
        return 130
    return 0


def run(command: str, cluster: str, *, bare: bool) -> None:
    """
    Raises:
        HarnessError
    """
    layout, progress = Layout.from_environment(), Progress()
    match command:
        case "up":
            kind = state.kind_of(cluster)
            progress.say(f"Starting a {kind} cluster {'without' if bare else 'with'} Countersign in {layout.state}")
            up.up(layout, kind, progress, bare=bare)
            progress.say("" if bare else up.summary(layout, kind))
        case "down":
            up.down(layout, progress)
        case "logs":
            Cluster.current(layout).collect_logs()
            progress.say("\n".join(str(file) for file in sorted(layout.logs.glob("*.*"))))
        case "build":
            names = binaries.LOCAL_CLUSTER if state.kind_of(cluster) == "local" else binaries.KIND_CLUSTER
            for name, file in binaries.ensure(names, progress).items():
                progress.say(f"  {name:<24} {file}")
        case _:
            progress.say(str(binaries.home(binaries.KUBERNETES)))


if __name__ == "__main__":
    sys.exit(main())
