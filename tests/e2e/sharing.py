"""The suites in shares, each for a cluster of its own: whole files, so that what a file sets up is set up once."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

MEASURED: Final = Path(__file__).with_name("seconds.json")
"""How long each file took, as `E2E_MEASURE=yes make e2e` found it on two cores; what is not in it is taken for a second a test."""


def measured() -> Mapping[str, float]:
    seconds: Mapping[str, float] = json.loads(MEASURED.read_text())
    return seconds


def keep(seconds: Mapping[str, float]) -> None:
    """What was not run this time keeps its seconds."""
    MEASURED.write_text(
        json.dumps({**measured(), **{file: round(took) for file, took in seconds.items()}}, indent=2, sort_keys=True) + "\n"
    )


def of(share: str, files: Sequence[str], seconds: Mapping[str, float]) -> set[str]:
    """The files of a share ("1/2"), of all the tests' files in their order. Every file is in exactly one share; they take about as long."""
    number, count = (int(part) for part in share.split("/"))
    if not 1 <= number <= count:
        raise ValueError(f"E2E_SHARE={share}: the first is 1/{count}, the last {count}/{count}")
    loads = [0.0] * count
    held: list[set[str]] = [set() for _ in range(count)]
    expected = {file: seconds.get(file, float(tests)) for file, tests in Counter(files).items()}
    for file, took in sorted(expected.items(), key=lambda pair: (-pair[1], pair[0])):
        lightest = loads.index(min(loads))
        held[lightest].add(file)
        loads[lightest] += took
    return held[number - 1]


def left_out(only: str, files: Sequence[str]) -> dict[str, int]:
    """How many tests each file has that is not named ("test_pods test_helm"); none where nothing is. Raises ValueError for a name of no file."""
    wanted = {f"{name}.py" for name in only.split()}
    counted = Counter(files)
    if unknown := sorted(wanted - set(counted)):
        raise ValueError(f"E2E_ONLY names no file of these suites: {', '.join(unknown)}")
    return {file: count for file, count in counted.items() if wanted and file not in wanted}
