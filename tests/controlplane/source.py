"""A digest of the code that runs in the cluster: what has changed is rolled out by the next `up`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from tests.controlplane.paths import ROOT

PACKAGE = "controller/countersign"
IMAGE_INPUTS = (PACKAGE, "deploy/Dockerfile", "deploy/build-image", "deploy/image", "pyproject.toml", "requirements.lock")


def files(names: Iterable[str]) -> list[Path]:
    """All files under these places of the checkout, without what Python compiles."""
    found: list[Path] = []
    for name in names:
        place = ROOT / name
        found += sorted(file for file in place.rglob("*") if file.is_file()) if place.is_dir() else [place]
    return [file for file in found if "__pycache__" not in file.parts and file.exists()]


def digest(names: Iterable[str], *also: str) -> str:
    """Twelve hex digits of these files' names and contents, and of what else matters."""
    content = hashlib.sha256("\0".join(also).encode())
    for file in files(names):
        content.update(f"{file.relative_to(ROOT)}\0".encode())
        content.update(hashlib.sha256(file.read_bytes()).digest())
    return content.hexdigest()[:12]
