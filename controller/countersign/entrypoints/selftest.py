"""`countersign selftest [--within SECONDS]`: whether an agent's deletion of a namespace is held back, tried out by a throw-away agent.

What `helm test` runs. Its rights are those of templates/tests/selftest.yaml.
"""

import argparse
import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Final

from countersign.bootstrap import open_selftest
from countersign.domain.errors import CountersignError
from countersign.service.selftest import WITHIN, Verdict

_FAILED: Final = 1
_UNUSABLE: Final = 2


def selftest_command(arguments: Sequence[str], environment: Mapping[str, str] = os.environ) -> int:
    """0: it is held back (or recorded, in mode Audit). 1: it is not. 2: it could not be found out. With a sentence in any case."""
    parser = argparse.ArgumentParser(
        prog="countersign selftest",
        description="Try out whether an agent's deletion of a namespace is held back: as a throw-away agent, by a dry run.",
    )
    parser.add_argument("--within", type=float, default=WITHIN, metavar="SECONDS", help=f"how long to wait for it ({WITHIN:.0f})")
    options = parser.parse_args(arguments)
    try:
        verdict = asyncio.run(_run(environment, options.within))
    except CountersignError as error:
        sys.stderr.write(f"NOT TESTED: {error}\n")
        return _UNUSABLE
    sys.stdout.write("\n".join(verdict.lines) + "\n")
    return 0 if verdict.passed else _FAILED


async def _run(environment: Mapping[str, str], within: float) -> Verdict:
    async with open_selftest(environment, within=within) as test:
        return await test.run()
