"""`countersign log verify [--rotated] [FILE|-]`: was a line of the decision log changed, or one lost."""

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from countersign.domain.record import Verification, verify

_SHOWN: Final = 20


def verify_command(arguments: Sequence[str]) -> int:
    """0: every line is what was written. 1: at least one is not, with a sentence for each. 2: there is nothing to verify."""
    parser = argparse.ArgumentParser(prog="countersign log verify", description="Verify the webhook's decision log (its standard output).")
    parser.add_argument("file", nargs="?", default="-", metavar="FILE", help="the log, of one replica or of several; - for standard input")
    parser.add_argument("--rotated", action="store_true", help="accept that the beginning of a process's records is not in this file")
    options = parser.parse_args(arguments)
    try:
        result = _verified(options.file, whole=not options.rotated)
    except OSError as error:
        return _say(2, f"{options.file} cannot be read: {error.strerror}.")
    return _report(result)


def _verified(file: str, *, whole: bool) -> Verification:
    if file == "-":
        return verify(_text(sys.stdin.buffer), whole=whole)
    with Path(file).open("rb") as stream:
        return verify(_text(stream), whole=whole)


def _report(result: Verification) -> int:
    if not result.records:
        return _say(2, "There is no record in it. Give the webhook's standard output, for instance from `kubectl logs`.")
    for fault in result.faults[:_SHOWN]:
        _say(1, fault.sentence)
    if result.faults:
        more = f" ({len(result.faults) - _SHOWN} more not shown)" if len(result.faults) > _SHOWN else ""
        return _say(1, f"{len(result.faults)} of {result.records} records are not as they were written{more}.")
    processes = "1 process" if len(result.chains) == 1 else f"{len(result.chains)} processes"
    sys.stdout.write(f"{result.records} records of {processes}: every line is as it was written, and none is missing.\n")
    for name, chain in result.chains.items():
        sys.stdout.write(f"  {name}: its last record is number {chain.expected - 1}, with the hash {chain.head}\n")
    sys.stdout.write("Records cut off from the end of a process show only there: compare with a number and hash that were noted before.\n")
    return 0


def _text(stream: Iterable[bytes]) -> Iterable[str]:
    return (line.decode("utf-8", "replace") for line in stream)


def _say(status: int, sentence: str) -> int:
    sys.stderr.write(sentence[:1].upper() + sentence[1:] + "\n")
    return status
