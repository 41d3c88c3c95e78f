"""What was waited for in vain, or says "ask again", is tried once more, and told; what was answered wrongly is not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.controlplane.paths import ROOT

SUITE = """
from tests.controlplane import waiting

tried = []


def test_it():
    tried.append(None)
    {body}
"""


@pytest.mark.parametrize(
    ("body", "ends", "told"),
    [
        ("waiting.until(lambda: len(tried) > 1, 'the second time', timeout=0)", "1 passed, 1 rerun", True),
        ("waiting.until(lambda: False, 'never', timeout=0)", "1 failed, 1 rerun", True),
        (
            "assert len(tried) > 1, 'not held: 503 COULD NOT DECIDE, x: the approvals could not be read (storage is (re)initializing)'",
            "1 passed, 1 rerun",
            True,
        ),
        (
            "assert len(tried) > 1, 'not held: 503 COUNTERSIGN COULD NOT DECIDE, so nothing was changed: nothing was heard'",
            "1 failed",
            False,
        ),
        ("assert len(tried) > 1", "1 failed", False),
        ("assert len(tried) > 1, 'THE ATTACK GOT THROUGH: 200'", "1 failed", False),
        ("raise ValueError('StartFailed')", "1 failed", False),
    ],
)
def test_only_what_may_be_the_machine(tmp_path: Path, body: str, ends: str, told: bool) -> None:
    (tmp_path / "test_suite.py").write_text(SUITE.format(body=body))
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "tests.e2e.conftest",
        "-p",
        "no:cacheprovider",
        f"--rootdir={tmp_path}",
        str(tmp_path),
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_ADDOPTS": ""}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.splitlines()[-1].startswith(ends), done.stdout + done.stderr
    assert ("TRIED AGAIN: 1 cases that" in done.stdout) is told
