"""The suites in shares, each for a cluster of its own: whole files, so that what a file sets up is set up once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence


def of(share: str, files: Sequence[str]) -> set[str]:
    """The files of a share ("1/2"), of all the tests' files in their order. Every file is in exactly one share; they have about as many tests."""
    number, count = (int(part) for part in share.split("/"))
    if not 1 <= number <= count:
        raise ValueError(f"E2E_SHARE={share}: the first is 1/{count}, the last {count}/{count}")
    loads = [0] * count
    held: list[set[str]] = [set() for _ in range(count)]
    for file, tests in sorted(Counter(files).items(), key=lambda pair: (-pair[1], pair[0])):
        lightest = loads.index(min(loads))
        held[lightest].add(file)
        loads[lightest] += tests
    return held[number - 1]


def left_out(named: str, files: Sequence[str]) -> dict[str, int]:
    """How many tests each file has that is named ("test_schemas test_cel"). Raises ValueError for a name that no file bears."""
    counted = Counter(files)
    wanted = [f"{name}.py" for name in named.split()]
    if unknown := sorted(set(wanted) - set(counted)):
        raise ValueError(f"E2E_LEAVE_OUT names no file of tests/e2e: {', '.join(unknown)}")
    return {file: counted[file] for file in wanted}
