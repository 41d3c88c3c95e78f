"""`countersign log verify [--rotated] [--against FILE|cluster] [FILE|-]`: was a line of the decision log changed, or one lost."""

import argparse
import asyncio
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from countersign.domain.checkpoint import Head, lost
from countersign.domain.document import parse
from countersign.domain.errors import CountersignError
from countersign.domain.record import Verification, verify

_SHOWN: Final = 20
_CLUSTER: Final = "cluster"


def verify_command(arguments: Sequence[str], environment: Mapping[str, str] = os.environ) -> int:
    """0: every line is what was written. 1: at least one is not, with a sentence for each. 2: there is nothing to verify, or to verify against."""
    parser = argparse.ArgumentParser(prog="countersign log verify", description="Verify the webhook's decision log (its standard output).")
    parser.add_argument("file", nargs="?", default="-", metavar="FILE", help="the log, of one replica or of several; - for standard input")
    parser.add_argument(
        "--rotated",
        action="store_true",
        help="accept that old records are not in this file: the beginning of a process's, or all of one that has ended",
    )
    parser.add_argument(
        "--against",
        metavar="HEADS",
        help="also find what was cut off from an end: the heads that Countersign noted, `cluster` to read them there, or a file from "
        "`kubectl get configmap countersign-log-heads -n countersign -o json` (write it before you fetch the log)",
    )
    parser.add_argument(
        "--replicas",
        default="",
        metavar="PREFIX",
        help="with --against: only the heads of replicas whose names begin so, such as countersign-webhook, for a log that holds no others",
    )
    options = parser.parse_args(arguments)
    try:
        heads = _heads(options.against, options.replicas, environment) if options.against else ()
    except (CountersignError, ValueError, OSError) as error:
        return _say(2, f"the heads cannot be read: {error}")
    try:
        result = _verified(options.file, whole=not options.rotated)
    except OSError as error:
        return _say(2, f"{options.file} cannot be read: {error.strerror}.")
    return _report(result, heads, whole=not options.rotated)


def _heads(source: str, replicas: str, environment: Mapping[str, str]) -> tuple[Head, ...]:
    """Raises OSError, ValueError, CountersignError."""
    from countersign.adapters import notes  # noqa: PLC0415  # only here is anything but the standard library needed
    from countersign.wire.notes import parse_heads  # noqa: PLC0415  # as above

    async def live() -> tuple[Head, ...]:
        from countersign.bootstrap import open_cluster  # noqa: PLC0415  # as above

        collection = notes.collection_in(environment.get("COUNTERSIGN_NAMESPACE") or "countersign")
        async with open_cluster(environment) as (api, _):
            return (await notes.read_heads(api, collection)).heads

    found = asyncio.run(live()) if source == _CLUSTER else parse_heads(parse(Path(source).read_bytes())).heads
    found = tuple(head for head in found if head.replica.startswith(replicas))
    if not found:
        raise ValueError("no head is noted there; the operator notes the first within a minute (its log says what stands in the way)")
    return found


def _verified(file: str, *, whole: bool) -> Verification:
    if file == "-":
        return verify(_text(sys.stdin.buffer), whole=whole)
    with Path(file).open("rb") as stream:
        return verify(_text(stream), whole=whole)


def _report(result: Verification, heads: Sequence[Head], *, whole: bool) -> int:
    if not result.records:
        return _say(2, "There is no record in it. Give the webhook's standard output, for instance from `kubectl logs`.")
    for fault in result.faults[:_SHOWN]:
        _say(1, fault.sentence)
    if result.faults:
        more = f" ({len(result.faults) - _SHOWN} more not shown)" if len(result.faults) > _SHOWN else ""
        return _say(1, f"{len(result.faults)} of {result.records} records are not as they were written{more}.")
    missing = lost(heads, result.chains, whole=whole)
    for sentence in missing[:_SHOWN]:
        _say(1, sentence)
    if missing:
        return _say(1, f"{len(missing)} of {len(heads)} heads that were noted are not in the log.")
    processes = "1 process" if len(result.chains) == 1 else f"{len(result.chains)} processes"
    sys.stdout.write(f"{result.records} records of {processes}: every line is as it was written, and none is missing.\n")
    for name, chain in result.chains.items():
        sys.stdout.write(f"  {name}: its last record is number {chain.expected - 1}, with the hash {chain.head}\n")
    sys.stdout.write(
        f"All {len(heads)} heads that were noted are in it: nothing that they stand for was cut off.\n"
        if heads
        else "Records cut off from the end of a process show only there: compare with what was noted before (--against).\n"
    )
    return 0


def _text(stream: Iterable[bytes]) -> Iterable[str]:
    return (line.decode("utf-8", "replace") for line in stream)


def _say(status: int, sentence: str) -> int:
    sys.stderr.write(sentence[:1].upper() + sentence[1:] + "\n")
    return status
