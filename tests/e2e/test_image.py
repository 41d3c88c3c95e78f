"""The image that the cluster's pods run: what is in it, what is not, and who it runs as."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.controlplane import docker
from tests.controlplane.api import path
from tests.controlplane.cluster import Cluster
from tests.controlplane.paths import ROOT

pytestmark = pytest.mark.kind_only(reason="asks Docker about the image that pods run")

MEGABYTES_AT_MOST = 150
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# By file name: shells, what makes or fetches programs, what installs.
UNWELCOME = {
    *("sh", "bash", "dash", "ash", "busybox", "zsh", "env", "perl"),
    *("cc", "gcc", "g++", "cpp", "clang", "tcc", "as", "ld", "make", "go", "rustc"),
    *("apt", "apt-get", "dpkg", "pip", "pip3", "curl", "wget", "git", "su", "mount"),
}
# What Docker puts into every container.
OF_DOCKER = (".dockerenv", "dev", "proc", "sys", "etc/hostname", "etc/hosts", "etc/resolv.conf", "etc/mtab")


@pytest.fixture(scope="module")
def image() -> str:
    return docker.build_image(docker.image_tag())


def test_it_is_what_the_pods_run(cluster: Cluster, image: str) -> None:
    pods = cluster.api.list(path("pods", namespace="countersign"))
    assert {container["image"] for pod in pods for container in pod["spec"]["containers"]} == {image}


@pytest.fixture(scope="module")
def inspected(image: str) -> dict[str, Any]:
    [described] = json.loads(docker.run("image", "inspect", image).stdout)
    return dict(described)


@pytest.fixture(scope="module")
def files(image: str) -> Iterator[list[tarfile.TarInfo]]:
    container = docker.run("container", "create", image).stdout.strip()
    exported = subprocess.run(["docker", "container", "export", container], capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(exported)) as archive:
        yield [file for file in archive.getmembers() if not file.name.startswith(OF_DOCKER)]
    docker.run("container", "rm", container)


def test_small(inspected: dict[str, Any]) -> None:
    assert inspected["Size"] / 1e6 <= MEGABYTES_AT_MOST


def test_as_nobody(inspected: dict[str, Any]) -> None:
    assert inspected["Config"]["User"] == "65532:65532"
    assert inspected["Config"]["Entrypoint"] == ["python3", "-m", "countersign"]


def test_labels(inspected: dict[str, Any]) -> None:
    labels = {name.removeprefix("org.opencontainers.image."): value for name, value in inspected["Config"]["Labels"].items()}
    assert labels["title"] == PROJECT["name"]
    assert labels["version"] == PROJECT["version"]
    assert labels["licenses"] == PROJECT["license"]
    assert {"description", "revision", "base.name"} <= set(labels)


def test_nothing_but_python_runs(files: list[tarfile.TarInfo]) -> None:
    assert not [file.name for file in files if Path(file.name).name in UNWELCOME and not file.isdir()]
    programs = [file for file in files if file.isreg() and file.mode & 0o111 and ".so" not in Path(file.name).name]
    beside_python = [file.name for file in programs if not file.name.startswith(("usr/bin/python3", "usr/local/bin/python3"))]
    # Scripts of the standard library, which nothing but Python could run.
    assert not [name for name in beside_python if not name.endswith(".py")]


def test_nobody_can_change_it_or_become_root(files: list[tarfile.TarInfo]) -> None:
    own = [file for file in files if not file.issym()]
    assert own
    assert not [file.name for file in own if file.mode & 0o7022 or (file.uid, file.gid) != (0, 0)]


def test_what_it_is_made_of_can_be_scanned(files: list[tarfile.TarInfo]) -> None:
    """Scanners read packages from these: Debian's by dpkg's files, Python's by their metadata."""
    names = {file.name for file in files}
    assert {f"var/lib/dpkg/status.d/{package}" for package in ("libc6", "libssl3")} <= names
    locked = [
        line.partition("==")[0] for line in (ROOT / "requirements.lock").read_text().splitlines() if "==" in line and line[0].isalpha()
    ]
    known = {name.split("/")[1].partition("-")[0].lower().replace("_", "-") for name in names if name.endswith(".dist-info/METADATA")}
    platform = {"colorama"}  # locked for other platforms
    assert {name.lower().replace("_", "-").replace(".", "-") for name in locked} - known <= platform


@pytest.mark.parametrize(("argument", "shown"), [("--version", PROJECT["version"]), ("--help", "usage: countersign COMMAND")])
def test_speaks_as_anybody_on_a_read_only_root(image: str, argument: str, shown: str) -> None:
    restricted = ("--read-only", "--user", "12345:0", "--cap-drop", "ALL", "--network", "none", "--security-opt", "no-new-privileges")
    answer = docker.run("run", "--rm", *restricted, image, argument)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.startswith(shown)


@pytest.mark.parametrize("process", ["webhook", "operator"])
def test_both_processes_are_in_it(image: str, process: str) -> None:
    answer = docker.run("run", "--rm", "--read-only", image, process)
    assert answer.returncode == 2
    assert "COUNTERSIGN_API_SERVER" in answer.stderr


def test_a_dependency_with_another_hash_is_not_installed(tmp_path: Path) -> None:
    lock = (ROOT / "requirements.lock").read_text()
    [begin] = [number for number, line in enumerate(lock.splitlines()) if line.startswith("idna==")]
    name, first, *_ = lock.splitlines()[begin:]
    (tmp_path / "deploy").mkdir()
    shutil.copy(ROOT / "deploy/build-image", tmp_path / "deploy")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    digest = first.partition("sha256:")[2].split()[0]
    (tmp_path / "requirements.lock").write_text(f"{name}\n    --hash=sha256:{'0' * len(digest)}\n")
    environment = {**os.environ, "PYTHON": sys.executable}
    build = subprocess.run(
        [tmp_path / "deploy/build-image", "countersign:never"], env=environment, capture_output=True, text=True, check=False
    )
    assert build.returncode != 0
    assert "DO NOT MATCH THE HASHES" in build.stderr
