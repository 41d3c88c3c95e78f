"""A second webhook process beside the registered one: a replica whose view of the cluster a test can spoil."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Self

import httpx

from tests.controlplane import jsonlines, processes, waiting
from tests.controlplane.errors import last_lines_of
from tests.controlplane.localbackend import fetch, is_ready


class ExtraWebhook:
    """Runs already; use it as a context manager, or `stop()` it."""

    def __init__(self, base: str, record: Path, output: Path, errors: Path) -> None:
        self.base = base
        self.url = f"{base}/validate"
        self._record, self._output, self._errors = record, output, errors

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def review(self, admission_review: dict[str, Any], *, timeout: float = 15) -> dict[str, Any]:
        """What it answers to an AdmissionReview, as the API server would hear it.

        Raises:
            httpx.HTTPStatusError: not an answer of the kind that the API server accepts
        """
        answer = httpx.post(
            self.url,
            content=json.dumps(admission_review),
            headers={"Content-Type": "application/json"},
            verify=False,
            timeout=timeout,
            trust_env=False,
        )
        decoded: dict[str, Any] = answer.raise_for_status().json()
        return decoded

    def ready(self) -> bool:
        return is_ready(self.base)

    def wait_ready(self, timeout: float = 30) -> None:
        """
        Raises:
            StartFailed
        """
        waiting.until(
            self.ready,
            "the second webhook was to become ready",
            timeout=timeout,
            explain=lambda: last_lines_of(self._errors),
            give_up=lambda: not processes.is_alive(self._record),
        )

    def metrics(self) -> str:
        return fetch(f"{self.base}/metrics")

    def decisions(self) -> list[dict[str, Any]]:
        return jsonlines.read(self._output)

    def stop(self) -> None:
        processes.stop(self._record)
