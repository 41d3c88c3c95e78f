"""Docker, as far as kind and our own image need it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.controlplane import source
from tests.controlplane.errors import BuildFailed, ToolMissing, last_lines
from tests.controlplane.paths import ROOT

REPOSITORY = "countersign"
TAG_PREFIX = "dev-"
BASE_VARIABLE = "PYTHON_BASE_IMAGE"


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


def image_tag() -> str:
    """Changes with the image's inputs and with its base."""
    return f"{TAG_PREFIX}{source.digest(source.IMAGE_INPUTS, os.environ.get(BASE_VARIABLE, ''))}"


def build_image(tag: str) -> str:
    """Runs deploy/build-image unless there is an image of that tag, which is `image_tag()`'s; returns its name.

    PYTHON_BASE_IMAGE names another base image than the Dockerfile's own.

    Raises:
        BuildFailed: with the last lines
    """
    image = f"{REPOSITORY}:{tag}"
    if run("image", "inspect", image).returncode == 0:
        return image
    # Newer Dockers build with BuildKit and fail where its plugin is missing, unless told otherwise.
    with_buildx = run("buildx", "version").returncode == 0
    env = {**os.environ, "DOCKER_BUILDKIT": "1" if with_buildx else "0", "PYTHON": sys.executable}
    answer = subprocess.run(
        [ROOT / "deploy" / "build-image", image], env=env, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
    )
    if answer.returncode != 0:
        raise BuildFailed(
            f"deploy/build-image failed:\n{last_lines(answer.stdout + answer.stderr)}\n"
            f"If its base image cannot be pulled here, name another one (a Debian with Python 3.11) in {BASE_VARIABLE}."
        )
    for old in superseded(run("images", REPOSITORY, "--format", "{{.Tag}}").stdout.split()):
        run("image", "rm", f"{REPOSITORY}:{old}")
    return image


def superseded(tags: list[str], keep: int = 3) -> list[str]:
    """Of our own tags, newest first as `docker images` lists them, those that are old: each edit of the code makes an image of 200 MB."""
    ours = [tag for tag in tags if tag.startswith(TAG_PREFIX)]
    return ours[keep:]
