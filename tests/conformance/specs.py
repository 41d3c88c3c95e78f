"""The conformance specs that need no node, run by the real e2e.test: several processes at once, since they mostly wait."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Final

from tests.controlplane.errors import HarnessError, last_lines_of

# One process each. The first wave makes no custom kinds: the quota controller stops to look around whenever one comes or goes.
# The namespace specs are [Serial].
WAVES: Final = (
    ("ResourceQuota", "MutatingAdmissionPolicy", "ValidatingAdmissionPolicy", "Watchers", "ServiceAccounts"),
    ("FieldValidation", "CustomResourceDefinition resources", "Garbage collector"),
    ("Namespaces",),
)
# What needs a node, or a clock that nobody has.
SKIPPED: Final = "pods are removed|mount|token|pod |OIDC|keep the rc around|both valid owner|orphan pods created by rc"
EXPECTED: Final = 50
LONGEST: Final = 900.0
_FLAGS: Final = (
    "--provider=skeleton",
    "--num-nodes=0",
    "--allowed-not-ready-nodes=-1",
    "--disable-log-dump",
    "--ginkgo.no-color",
    "--ginkgo.succinct",
    f"--ginkgo.skip={SKIPPED}",
)


@dataclass(frozen=True)
class Spec:
    name: str
    passed: bool
    seconds: float
    message: str = ""


@dataclass(frozen=True)
class Run:
    """One configuration's outcome."""

    configuration: str
    seconds: float
    specs: tuple[Spec, ...]

    @property
    def passed(self) -> frozenset[str]:
        return frozenset(spec.name for spec in self.specs if spec.passed)

    @property
    def failed(self) -> tuple[Spec, ...]:
        return tuple(spec for spec in self.specs if not spec.passed)


def run(configuration: str, binary: Path, kubeconfig: Path, folder: Path) -> Run:
    """Runs them all against the cluster of a kubeconfig; logs and reports go into `folder`.

    Raises:
        HarnessError: a process ended without a report
    """
    folder.mkdir(parents=True, exist_ok=True)
    begun = time.monotonic()
    found: list[tuple[Spec, ...]] = []
    for wave in WAVES:
        with ThreadPoolExecutor(len(wave)) as together:
            found += together.map(lambda group: _group(group, binary, kubeconfig, folder), wave)
    return Run(configuration, time.monotonic() - begun, tuple(sorted(chain.from_iterable(found), key=lambda spec: spec.name)))


def _group(group: str, binary: Path, kubeconfig: Path, folder: Path) -> tuple[Spec, ...]:
    stem = re.sub(r"\W", "", group)
    report, log = folder / f"{stem}.json", folder / f"{stem}.log"
    report.unlink(missing_ok=True)
    focus = rf"--ginkgo.focus=\] {group}\b.*\[Conformance\]"
    command: list[str | Path] = [binary, f"--kubeconfig={kubeconfig}", *_FLAGS, focus, f"--ginkgo.json-report={report}"]
    env = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
    with log.open("wb") as output:
        try:
            subprocess.run(
                command, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=env, check=False, timeout=LONGEST
            )
        except subprocess.TimeoutExpired as error:
            raise HarnessError(f"the conformance tests of {group} did not end within {LONGEST:.0f} s\n{last_lines_of(log)}") from error
    if not report.exists():
        raise HarnessError(f"the conformance tests of {group} left no report\n{last_lines_of(log)}")
    specs = read_report(json.loads(report.read_text()))
    report.unlink()  # it lists the 7,500 specs that were skipped, too: 13 MB
    return specs


def read_report(suites: list[Mapping[str, Any]]) -> tuple[Spec, ...]:
    """The specs that ran, of a report of ginkgo's."""
    reports = [report for suite in suites for report in suite.get("SpecReports") or ()]
    return tuple(_spec(report) for report in reports if report["LeafNodeType"] == "It" and report["State"] not in ("skipped", "pending"))


def _spec(report: Mapping[str, Any]) -> Spec:
    name = " ".join((*(report.get("ContainerHierarchyTexts") or ()), report["LeafNodeText"])).removesuffix(" [Conformance]")
    failure = report.get("Failure") or {}
    return Spec(name, report["State"] == "passed", report["RunTime"] / 1e9, str(failure.get("Message", "")))
