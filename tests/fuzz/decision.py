"""`python -m tests.fuzz.decision SECONDS [--most LIVES]`: random lives until the time is up or one shows a fault; one JSON line at the end."""

import argparse
import json
import sys
import time
import traceback
from collections.abc import Iterable
from typing import Final

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.fuzz import asking
from tests.fuzz.machine import Life

LIVES, STEPS = 25, 30
TELL_EVERY = 15.0
MUST_BE_SEEN: Final = ("Approved", "CoveredByNamespace", "Excepted", "NotHeld", "Pending", "Rejected", "WouldRefuse")
"""In a run of any length. A fuzzer that is never let through has shown nothing."""

ANY_LENGTH: Final = 20_000


def run(seconds: float, most: float, *, phases: Iterable[Phase]) -> tuple[int, str]:
    """How many lives, and the fault."""
    lives, begun = 0, time.monotonic()
    told = begun
    chosen = settings(
        max_examples=LIVES,
        stateful_step_count=STEPS,
        deadline=None,
        database=None,
        derandomize=False,  # Hypothesis repeats itself where it finds itself in a CI
        phases=tuple(phases),
        suppress_health_check=list(HealthCheck),
    )
    while time.monotonic() < begun + seconds and lives < most:
        try:
            run_state_machine_as_test(Life, settings=chosen)
        except Exception:  # noqa: BLE001  # whatever a life ends with is the finding: it is returned, and ends the run with 1
            return lives, traceback.format_exc()
        lives += LIVES
        if time.monotonic() > told + TELL_EVERY:
            told = time.monotonic()
            print(f"  {told - begun:.0f} s: {lives} lives, {sum(asking.seen.values())} decisions", file=sys.stderr, flush=True)
    return lives, ""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.decision", description=__doc__)
    parser.add_argument("seconds", type=float)
    parser.add_argument("--most", type=float, default=float("inf"), help="lives")
    parser.add_argument(
        "--quick", action="store_true", help="whether there is a fault is all that is asked: do not look for its shortest story"
    )
    arguments = parser.parse_args()
    seconds, quick = arguments.seconds, arguments.quick
    lives, fault = run(seconds, arguments.most, phases=[Phase.generate] if quick else [Phase.generate, Phase.shrink])
    missing = [reason for reason in MUST_BE_SEEN if asking.seen.total() > ANY_LENGTH and not asking.seen[reason] and not fault]
    if missing:
        fault = f"the lives never came to {', '.join(missing)}: they show less than they should"
    if fault and not quick:
        print(fault, file=sys.stderr)
    print(json.dumps({"executions": sum(asking.seen.values()), "lives": lives, "answers": dict(asking.seen), "fault": fault[-2000:]}))
    return 1 if fault else 0


if __name__ == "__main__":
    sys.exit(main())
