"""The table at the end: what was tried, what answered it, and how one knows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest

from tests.controlplane.paths import ROOT
from tests.jailbreak._attack import Attack

FILE: Final = ROOT / "build" / "jailbreak.md"
_EVIDENCE: Final = 110
_HEADS: Final = ("#", "attack", "profile", "answer", "evidence", "control")


@dataclass
class Runs:
    """What became of the runs of one attack of one kind; an attack may have several tests."""

    passed: int = 0
    failed: list[str] = field(default_factory=list)
    not_run: list[str] = field(default_factory=list)
    evidence: list[str] = field(default_factory=list)


@dataclass
class Row:
    attack: Attack
    real: Runs = field(default_factory=Runs)
    control: Runs = field(default_factory=Runs)

    @property
    def failed(self) -> bool:
        return bool(self.real.failed or self.control.failed)

    @property
    def not_run(self) -> str:
        """Why it was not run at all, or not in full."""
        reasons = [*self.real.not_run, *self.control.not_run]
        return reasons[0] if reasons else ""

    @property
    def answer(self) -> str:
        if self.real.failed:
            return "OPEN"
        if self.real.passed and not self.real.not_run:
            return self.attack.answer.value
        return "IN PART" if self.real.passed else "NOT RUN"

    @property
    def evidence(self) -> str:
        told = self.real.failed or self.real.evidence or self.real.not_run
        return told[0] if told else ""

    @property
    def proof(self) -> str:
        """Of the control."""
        if self.control.failed:
            return f"FAILED: {self.control.failed[0]}"
        if self.control.passed:
            return self.control.evidence[0] if self.control.evidence else "done"
        return "not run"

    def cells(self) -> tuple[str, ...]:
        attack = self.attack
        return (str(attack.number), attack.title, attack.profile.value, self.answer, self.evidence, self.proof)


class Table:
    def __init__(self, attacks: Sequence[Attack]) -> None:
        self._rows = {attack.number: Row(attack) for attack in sorted(attacks, key=lambda attack: attack.number)}
        self.ran = False

    def note(self, attack: Attack, *, control: bool, report: pytest.TestReport) -> None:
        """Take in one phase (set-up, call, tear-down) of one test."""
        self.ran = True
        row = self._rows[attack.number]
        runs = row.control if control else row.real
        if report.skipped:
            runs.not_run.append(_reason(report))
        elif report.failed:
            runs.failed.append(_failure(report))
        elif report.when == "call":
            runs.passed += 1
        elif report.when == "teardown":
            # The stage writes its evidence down when it is torn down.
            runs.evidence += [line for key, value in report.user_properties if key == "evidence" for line in value]  # type: ignore[attr-defined]  # its own list

    # --- showing ------------------------------------------------------------------------------

    def show(self, terminal: pytest.TerminalReporter, *, where: str) -> None:
        rows = list(self._rows.values())
        open_ = [row for row in rows if row.failed]
        missing = [row for row in rows if row.not_run]
        title = f"jailbreak on {where}: {len(rows)} attacks"
        terminal.section(title, red=bool(open_), bold=True)
        widths = _widths(rows)
        terminal.line(_line(_HEADS, widths))
        for row in rows:
            bad = row.failed or bool(row.not_run)
            terminal.line(_line(row.cells(), widths), red=bad)
        if missing:
            terminal.section(f"NOT RUN: {len(missing)} attacks", red=True, bold=True)
            for row in missing:
                terminal.line(f"{row.attack.number:3} {row.attack.title}: {row.not_run}", red=True)
        write(FILE, rows, where)
        terminal.line(f"{FILE.relative_to(ROOT)} holds it as Markdown.")


def _reason(report: pytest.TestReport) -> str:
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return reason.removeprefix("Skipped: ")


def _failure(report: pytest.TestReport) -> str:
    crash = getattr(report.longrepr, "reprcrash", None)
    message = crash.message if crash is not None else str(report.longrepr)
    return f"{report.when}: {message.strip().splitlines()[0] if message.strip() else '?'}"


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"


def _widths(rows: Sequence[Row]) -> list[int]:
    limits = (3, 60, 10, 12, _EVIDENCE, 40)
    cells = [_HEADS, *(row.cells() for row in rows)]
    return [min(limit, max(len(line[index]) for line in cells)) for index, limit in enumerate(limits)]


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(_cut(cell, width).ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()


def write(file: Path, rows: Sequence[Row], where: str) -> None:
    lines = [f"# Jailbreak on {where}", "", f"| {' | '.join(_HEADS)} |", f"|{'---|' * len(_HEADS)}"]
    lines += [f"| {' | '.join(_escaped(cell) for cell in row.cells())} |" for row in rows]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join([*lines, ""]))


def _escaped(cell: str) -> str:
    return cell.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")
