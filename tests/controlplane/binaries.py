"""The programs of the control plane: built from their Go modules once, kept by the hash of what they are made from.

`kubernetes` and `helm` are two modules, so that a new helm does not throw away the API server, and so that
CACHE/kubernetes-HASH can serve a builder of kind node images too (it looks for its binaries in `bin/`). `conformance` is a third, since
only `make conformance` wants it.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.controlplane import cache, gotoolchain
from tests.controlplane.errors import BuildFailed, ToolMissing, last_lines_of
from tests.controlplane.files import lock
from tests.controlplane.paths import HERE
from tests.controlplane.progress import Progress

KUBERNETES_VERSION = "v1.36.3"
_VERSION = "k8s.io/component-base/version"
_MAJOR, _MINOR, _ = KUBERNETES_VERSION.removeprefix("v").split(".")
STRIPPED = "-s -w"
STAMPED = f"{STRIPPED} -X {_VERSION}.gitVersion={KUBERNETES_VERSION} -X {_VERSION}.gitMajor={_MAJOR} -X {_VERSION}.gitMinor={_MINOR}"
# CGO_ENABLED as in every other build of these modules: another setting is another compiler cache, and ten more minutes.
BUILD_ENVIRONMENT = {"CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly -buildvcs=false", "GOTOOLCHAIN": "local", "GOWORK": "off"}


@dataclass(frozen=True, slots=True)
class Tool:
    """One whose name ends in `.test` is compiled from its package's tests."""

    name: str
    package: str
    linker_flags: str = STRIPPED

    @property
    def verb(self) -> tuple[str, ...]:
        return ("test", "-c") if self.name.endswith(".test") else ("build",)


@dataclass(frozen=True, slots=True)
class Module:
    """A go.mod under tools/ and what is built from it."""

    name: str
    tools: tuple[Tool, ...]

    @property
    def source(self) -> Path:
        return HERE / "tools" / self.name


KUBERNETES = Module(
    "kubernetes",
    (
        Tool("etcd", "go.etcd.io/etcd/server/v3"),
        Tool("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver", STAMPED),
        Tool("kube-controller-manager", "k8s.io/kubernetes/cmd/kube-controller-manager", STAMPED),
        Tool("kubectl", "k8s.io/kubernetes/cmd/kubectl", STAMPED),
    ),
)
HELM = Module("helm", (Tool("helm", "helm.sh/helm/v4/cmd/helm"), Tool("kind", "sigs.k8s.io/kind")))
CONFORMANCE = Module("conformance", (Tool("e2e.test", "k8s.io/kubernetes/test/e2e", STAMPED),))
MODULES = (KUBERNETES, HELM, CONFORMANCE)
LOCAL_CLUSTER = ("etcd", "kube-apiserver", "kube-controller-manager", "kubectl", "helm")
KIND_CLUSTER = ("kubectl", "helm", "kind")
CONFORMANCE_TESTS = ("e2e.test",)


def digest(module: Module, target: str) -> str:
    """Sixteen hex digits for all that decides what the binaries are: the two module files, the flags, the machine's kind."""
    content = hashlib.sha256()
    for name in ("go.mod", "go.sum"):
        content.update(hashlib.sha256((module.source / name).read_bytes()).digest())
    content.update(repr((module.tools, sorted(BUILD_ENVIRONMENT.items()), target)).encode())
    return content.hexdigest()[:16]


def home(module: Module) -> Path:
    """The folder of this module's binaries in the cache."""
    return cache.folder() / f"{module.name}-{digest(module, f'{platform.system()}-{platform.machine()}'.lower())}"


def ensure(names: Iterable[str], progress: Progress) -> dict[str, Path]:
    """The named programs, built where they are not there yet.

    COUNTERSIGN_BINARIES names a folder of finished ones instead; `kind` is taken from the PATH where it lies there.

    Raises:
        ToolMissing, BuildFailed, DiskFull
    """
    wanted = list(names)
    found: dict[str, Path] = {}
    if "kind" in wanted and (kind := shutil.which("kind")):
        found["kind"] = Path(kind)
    remaining = [name for name in wanted if name not in found]
    ready = os.environ.get("COUNTERSIGN_BINARIES")
    if ready:
        return found | _in_folder(Path(ready).expanduser().resolve(), remaining)
    for module in MODULES:
        tools = [tool for tool in module.tools if tool.name in remaining]
        found |= _built(module, tools, progress)
    return found


def _in_folder(folder: Path, names: Iterable[str]) -> dict[str, Path]:
    paths = {name: folder / name for name in names}
    missing = [name for name, path in paths.items() if not os.access(path, os.X_OK) or not path.is_file()]
    if missing:
        raise ToolMissing(
            f"COUNTERSIGN_BINARIES is {folder}, which has no executable {', '.join(missing)}. "
            "Put them there, or unset the variable: then they are built from source."
        )
    return paths


def _built(module: Module, tools: list[Tool], progress: Progress) -> Mapping[str, Path]:
    folder = home(module)
    paths = {tool.name: folder / "bin" / tool.name for tool in tools}
    if all(path.exists() for path in paths.values()):
        return paths
    cache.require_space(cache.folder())
    go = gotoolchain.find(progress)
    with lock(folder.with_suffix(".lock"), lambda: progress.say(f"  waiting for another process that builds {module.name}")):
        unfinished = folder / "unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        for tool in tools:
            if not paths[tool.name].exists():
                with progress.step(f"compiling {tool.name} (once; kept in {folder.parent})"):
                    _compile(go, module, tool, unfinished / tool.name, paths[tool.name])
    return paths


def _compile(go: Path, module: Module, tool: Tool, unfinished: Path, finished: Path) -> None:
    nice: list[str | Path] = ["nice"] if shutil.which("nice") else []
    log = unfinished.with_suffix(".log")
    command = [*nice, go, *tool.verb, "-ldflags", tool.linker_flags, "-o", unfinished, tool.package]
    with cache.reporting_full_disk(finished):
        with log.open("wb") as output:
            status = _run(command, module.source, output.fileno())
        if status != 0:
            text = log.read_text(errors="replace")
            if "no space left on device" in text:
                raise cache.disk_full(finished)
            raise BuildFailed(
                f"compiling {tool.name} failed ({go} {' '.join(tool.verb)} {tool.package}, in {module.source}):\n{last_lines_of(log)}"
            )
        finished.parent.mkdir(exist_ok=True)
        unfinished.replace(finished)


def _run(command: list[str | Path], folder: Path, output: int) -> int:
    process = subprocess.Popen(
        command, cwd=folder, env={**os.environ, **BUILD_ENVIRONMENT}, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
    )
    try:
        return process.wait()
    finally:
        process.terminate()
        process.wait()
