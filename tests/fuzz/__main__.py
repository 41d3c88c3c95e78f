"""`make fuzz SECONDS=60`: the random lives and every reader, the time divided among them; what was found, and how much was tried."""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from tests.fuzz.readers import TARGETS

ROOT: Final = Path(__file__).parents[2]
WORK: Final = ROOT / ".fuzz"
"""What the fuzzers found by themselves; the next run goes on from it."""

HERE: Final = Path(__file__).parent
DECISION: Final = "decision"
LIVES_SHARE: Final = 0.4
RED, PLAIN = ("\033[31m", "\033[0m") if sys.stdout.isatty() else ("", "")
ON_EACH_INPUT: Final = ("-timeout=10", "-rss_limit_mb=2048", "-max_len=16384")


@dataclass(frozen=True)
class Result:
    target: str
    seconds: float
    executions: int
    edges: int
    inputs: int
    finding: str


def lives(seconds: float) -> Result:
    begun = time.monotonic()
    answer = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.decision", str(seconds)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        env=_environment(),
    )
    lines = answer.stdout.splitlines()
    told: dict[str, Any] = json.loads(lines[-1]) if lines else {"executions": 0, "lives": 0, "fault": "it did not run", "answers": {}}
    shown = ", ".join(f"{number} {reason}" for reason, number in sorted(told["answers"].items(), key=lambda pair: -pair[1]))
    print(f"  {told['lives']} lives; the decisions: {shown}")
    return Result(DECISION, time.monotonic() - begun, told["executions"], 0, told["lives"], told["fault"])


def reader(target: str, seconds: float) -> Result:
    """One fuzzer of libFuzzer's kind. Raises OSError."""
    kept, found = HERE / "corpus" / target, WORK / target
    found.mkdir(parents=True, exist_ok=True)
    begun = time.monotonic()
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "tests.fuzz.readers",
        target,
        *ON_EACH_INPUT,
        f"-max_total_time={max(int(seconds), 1)}",
    ]
    command += [
        "-print_final_stats=1",
        f"-dict={HERE / 'dictionaries' / target}.dict",
        f"-artifact_prefix={WORK}/finding-{target}-",
        found,
        kept,
    ]
    log = WORK / f"{target}.log"
    with log.open("w") as output:
        status = subprocess.run(command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT, check=False, env=_environment()).returncode
    text = log.read_text(errors="replace")
    executions = int(_last(r"stat::number_of_executed_units: (\d+)", text))
    edges, inputs = int(_last(r"cov: (\d+)", text)), int(_last(r"corp: (\d+)", text))
    finding = "" if status == 0 else _finding(text, log)
    return Result(target, time.monotonic() - begun, executions, edges, inputs, finding)


def _finding(text: str, log: Path) -> str:
    why = re.search(r"=== Uncaught Python exception: ===\n(.*)", text)
    file = re.search(r"Test unit written to (\S+)", text)
    place = (
        f"the input: {file[1]}. Mend it, and keep the input in tests/fuzz/corpus under a name that says what it is"
        if file
        else f"see {log}"
    )
    return f"{why[1] if why else 'it ended before its time'}\n    {place}"


def _last(pattern: str, text: str) -> str:
    found: list[str] = re.findall(pattern, text)
    return found[-1] if found else "0"


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), str(ROOT))))}


def run(targets: Sequence[str], seconds: float) -> int:
    """The exit code."""
    readers = [target for target in targets if target != DECISION]
    missing = readers if find_spec("atheris") is None else []
    readers = [target for target in readers if target not in missing]
    results: list[Result] = []
    share = seconds * (LIVES_SHARE if readers else 1) if DECISION in targets else 0.0
    if DECISION in targets:
        print(f"== {DECISION}: random lives of a cluster, each decision held against an oracle ({share:.0f} s)", flush=True)
        results.append(lives(share))
    for target in readers:
        each = (seconds - share) / len(readers)
        print(f"== {target}: {TARGETS[target]} ({each:.0f} s)", flush=True)
        results.append(reader(target, each))
        print(f"  {results[-1].executions} inputs tried, {results[-1].edges} edges covered", flush=True)
    print(f"\n  {'target':<12} {'seconds':>8} {'executions':>11} {'per second':>11} {'edges':>6} {'corpus':>7}  findings")
    for result in results:
        edges = str(result.edges) if result.edges else "-"
        print(
            f"  {result.target:<12} {result.seconds:8.0f} {result.executions:11} {result.executions / max(result.seconds, 1):11.0f} {edges:>6} "
            f"{result.inputs:7}  {'one' if result.finding else 'none'}"
        )
    for result in results:
        if result.finding:
            print(f"\n{RED}FOUND in {result.target}: {result.finding}{PLAIN}")
    if missing:
        print(
            f"\n{RED}NOT FUZZED: {', '.join(missing)}. atheris has wheels for CPython 3.11 to 3.13 on Linux x86_64 only, and this is Python "
            f"{sys.version_info.major}.{sys.version_info.minor} on {os.uname().machine}. The kept corpus is read by `make unit` all the same.{PLAIN}"
        )
    return 1 if any(result.finding for result in results) else 0


def minimise(target: str) -> int:
    """What of `.fuzz/TARGET` adds to the kept corpus, in `.fuzz/minimal-TARGET`: to be looked at, named, and kept or not."""
    folder = WORK / f"minimal-{target}"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(HERE / "corpus" / target, folder)
    before = {file.name for file in folder.iterdir()}
    command: list[str | Path] = [sys.executable, "-m", "tests.fuzz.readers", target, "-merge=1", *ON_EACH_INPUT, folder, WORK / target]
    subprocess.run(command, cwd=ROOT, check=True, env=_environment(), stderr=subprocess.DEVNULL)
    new = [file for file in sorted(folder.iterdir()) if file.name not in before]
    print(f"{len(new)} inputs of {WORK / target} cover what the kept ones do not:")
    for file in new:
        print(f"  {file.stat().st_size:6} bytes  {file}")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", help=f"some of {DECISION}, {', '.join(TARGETS)}; left out: all")
    parser.add_argument("--seconds", type=float, default=60.0, help="for all of them together (60)")
    parser.add_argument("--minimise", action="store_true", help="fuzz nothing: show which found inputs would add to the kept corpus")
    arguments = parser.parse_args()
    unknown = [target for target in arguments.targets if target not in (DECISION, *TARGETS)]
    if unknown:
        parser.error(f"there is no target {', '.join(unknown)}")
    targets = arguments.targets or [DECISION, *TARGETS]
    if arguments.minimise:
        return max(minimise(target) for target in targets if target != DECISION)
    WORK.mkdir(exist_ok=True)
    return run(targets, arguments.seconds)


if __name__ == "__main__":
    sys.exit(main())
