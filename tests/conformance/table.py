"""What the runs say when they are held side by side."""

from __future__ import annotations

from collections.abc import Sequence

from tests.conformance.specs import EXPECTED, Run


def markdown(runs: Sequence[Run]) -> str:
    head = ("| configuration | specs | passed | failed | seconds |", "|---|---|---|---|---|")
    rows = (f"| {run.configuration} | {len(run.specs)} | {len(run.passed)} | {len(run.failed)} | {run.seconds:.0f} |" for run in runs)
    return "\n".join((*head, *rows)) + "\n"


def complaints(runs: Sequence[Run]) -> list[str]:
    """Sentences. The first run is the one without Countersign: what is green there has to be green everywhere."""
    baseline, *others = runs
    found = []
    if len(baseline.specs) < EXPECTED:
        found.append(
            f"Only {len(baseline.specs)} specs ran without Countersign, and there are {EXPECTED}: the comparison would say too little."
        )
    found += [
        f"{baseline.configuration}: {spec.name} fails without Countersign as well: {_short(spec.message)}" for spec in baseline.failed
    ]
    for run in others:
        messages = {spec.name: spec.message for spec in run.specs}
        for name in sorted(baseline.passed - run.passed):
            found.append(f"{run.configuration}: {name} is not green any more: {_short(messages.get(name, 'it did not run'))}")
    return found


def _short(message: str) -> str:
    return " ".join(message.split())[:400]
