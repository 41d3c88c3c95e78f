"""Logs of one JSON object a line: the decision log, the audit log."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def read(file: Path) -> list[dict[str, Any]]:
    """All whole lines; one that is being written at this moment has no newline yet and is left for the next time.

    Raises:
        ValueError: a line is not JSON, which is an error of whoever wrote it
    """
    try:
        text = file.read_text()
    except FileNotFoundError:
        return []
    whole, _, _ = text.rpartition("\n")
    return [json.loads(line) for line in whole.splitlines() if line]
