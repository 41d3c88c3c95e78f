"""Docker, as far as kind and our own image need it."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

from tests.controlplane.errors import BuildFailed, ToolMissing, last_lines
from tests.controlplane.paths import ROOT
from tests.controlplane.progress import Progress

REPOSITORY = "countersign"
BASE_VARIABLE = "PYTHON_BASE_IMAGE"
# All that the image is made of; a change of any of it is another tag, and so another rollout.
INPUTS = ("controller", "deploy", "pyproject.toml", "requirements.lock", "README.md", "LICENSE")


def run(*arguments: str | Path, timeout: float = 600) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=timeout, check=False)


def require() -> None:
    """
    Raises:
        ToolMissing: no Docker engine answers
    """
    try:
        answer = run("version", "--format", "{{.Server.Version}}", timeout=30)
    except FileNotFoundError as error:
        raise ToolMissing("CLUSTER=kind needs Docker, which is not in the PATH; `make up` without CLUSTER=kind works without it") from error
    if answer.returncode != 0:
        raise ToolMissing(
            f"CLUSTER=kind needs a running Docker engine; none answers:\n{last_lines(answer.stderr, 3)}\n"
            "Start it, or use `make up` without CLUSTER=kind, which works without Docker."
        )


def _files() -> list[Path]:
    found: list[Path] = []
    for name in INPUTS:
        place = ROOT / name
        found += sorted(file for file in place.rglob("*") if file.is_file()) if place.is_dir() else [place]
    return [file for file in found if "__pycache__" not in file.parts and file.exists()]


def image_tag() -> str:
    """Twelve hex digits of the image's inputs and of its base."""
    content = hashlib.sha256(os.environ.get(BASE_VARIABLE, "").encode())
    for file in _files():
        content.update(f"{file.relative_to(ROOT)}\0".encode())
        content.update(hashlib.sha256(file.read_bytes()).digest())
    return f"dev-{content.hexdigest()[:12]}"


def build_image(progress: Progress) -> str:
    """Builds deploy/Dockerfile unless there is an image of these very inputs; returns its name.

    PYTHON_BASE_IMAGE names another base image than the Dockerfile's own.

    Raises:
        BuildFailed: with the last lines
    """
    image = f"{REPOSITORY}:{image_tag()}"
    if run("image", "inspect", image).returncode == 0:
        return image
    base = os.environ.get(BASE_VARIABLE)
    arguments = ["--build-arg", f"BASE={base}"] if base else []
    # Docker 23 and newer build with buildx only, unless told otherwise.
    with_buildx = run("buildx", "version").returncode == 0
    with progress.step(f"building the image {image}"):
        answer = subprocess.run(
            ["docker", "build", "--file", "deploy/Dockerfile", "--tag", image, *arguments, "."],
            cwd=ROOT,
            env={**os.environ, "DOCKER_BUILDKIT": "1" if with_buildx else "0"},
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    if answer.returncode != 0:
        raise BuildFailed(f"docker build of deploy/Dockerfile failed:\n{last_lines(answer.stdout + answer.stderr)}")
    return image
