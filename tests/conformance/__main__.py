"""`make conformance`, `make conformance CONFORMANCE='standard/Agents hardened/Everyone'`: a table, and a failure where a spec is no longer green."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict

from tests.conformance import table
from tests.conformance.installations import CONFIGURATIONS, WITHOUT, ready
from tests.conformance.specs import Run, run
from tests.controlplane import binaries
from tests.controlplane.errors import HarnessError
from tests.controlplane.paths import ROOT, Layout
from tests.controlplane.progress import Progress

STATE = ROOT / ".cluster-conformance"
REPORTS = ROOT / "build" / "conformance"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__)
    parser.add_argument("configurations", nargs="*", help=f"some of {', '.join(CONFIGURATIONS)}; left out: all. {WITHOUT} always runs.")
    wanted: list[str] = parser.parse_args().configurations
    if unknown := [each for each in wanted if each not in CONFIGURATIONS]:
        parser.error(f"there is no configuration {', '.join(unknown)}")
    try:
        return compare([each for each in CONFIGURATIONS if each == WITHOUT or not wanted or each in wanted], Progress())
    except HarnessError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1


def compare(configurations: Sequence[str], progress: Progress) -> int:
    """The exit code. Raises HarnessError."""
    binary = binaries.ensure(binaries.CONFORMANCE_TESTS, progress)["e2e.test"]
    shutil.rmtree(REPORTS, ignore_errors=True)
    runs: list[Run] = []
    for configuration in configurations:
        progress.say(f"== {configuration}")
        folder = REPORTS / configuration.replace("/", "-")
        with ready(configuration, Layout(STATE), progress) as installed:
            with progress.step("the conformance specs"):
                runs.append(run(configuration, binary, installed.layout.user(installed.tester), folder))
            shutil.copytree(installed.layout.logs, folder / "logs", dirs_exist_ok=True)
        (folder / "run.json").write_text(json.dumps(asdict(runs[-1]), indent=1))
        progress.say(f"  {len(runs[-1].passed)} passed, {len(runs[-1].failed)} failed")
    progress.say("\n" + table.markdown(runs))
    (REPORTS / "table.md").write_text(table.markdown(runs))
    complaints = table.complaints(runs)
    for complaint in complaints:
        progress.say(complaint)
    progress.say("make conformance " + (f"FAILED; see {REPORTS}" if complaints else "passed"))
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
