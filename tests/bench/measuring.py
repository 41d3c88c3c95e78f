"""Servers and the load on them: each server is a process on one processor, the load generator runs on the others."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from tests.bench.reviews import Review
from tests.controlplane.paths import ROOT
from tests.support.pems import Authority, ec_key

HERE = Path(__file__).parent
START_WITHIN = 30.0
_TICKS = os.sysconf("SC_CLK_TCK")


class BenchError(Exception):
    """What went wrong, and what to do about it."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One run. `cpu_micros` is the server's processor time per request, which a busy machine disturbs least."""

    per_second: float
    p50_micros: float
    p99_micros: float
    cpu_micros: float


@dataclass(frozen=True, slots=True)
class Cell:
    """The medians of the runs of one server with one review at one number of connections; `spread` is the largest rate over the smallest."""

    server: str
    review: str
    connections: int
    per_second: float
    p50_micros: float
    p99_micros: float
    cpu_micros: float
    spread: float
    runs: int

    @classmethod
    def of(cls, server: str, review: str, connections: int, samples: Sequence[Sample]) -> Cell:
        rates = [sample.per_second for sample in samples]
        columns = {name: round(median(values), 1) for name, values in _columns(samples).items()}
        return cls(server, review, connections, **columns, spread=round(max(rates) / max(min(rates), 1e-9), 2), runs=len(samples))


def _columns(samples: Sequence[Sample]) -> Mapping[str, list[float]]:
    rows = [asdict(sample) for sample in samples]
    return {name: [row[name] for row in rows] for name in rows[0]}


@dataclass(frozen=True, slots=True)
class Server:
    name: str
    process: subprocess.Popen[bytes]
    port: int

    @property
    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    @property
    def resident_megabytes(self) -> float:
        return resident_megabytes(self.process.pid)


def resident_megabytes(pid: int) -> float:
    """VmRSS."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return round(int(line.split()[1]) / 1024, 1)
    raise BenchError(f"process {pid} has no VmRSS: it has ended")


class Lab:
    """A folder with a certificate, the reviews, the programs and the running servers."""

    def __init__(self, folder: Path, go: Path, reviews: Sequence[Review]) -> None:
        self.folder = folder
        self._bin = folder / "bin"
        self._go = go
        folder.mkdir(parents=True, exist_ok=True)
        authority = Authority()
        issued = authority.issue(ec_key())
        (folder / "ca.crt").write_bytes(authority.pem)
        (folder / "tls.crt").write_bytes(issued.chain)
        (folder / "tls.key").write_bytes(issued.key)
        for review in reviews:
            self._body(review).write_bytes(review.body)
        self._processors = sorted(os.sched_getaffinity(0))

    @property
    def shares_a_processor(self) -> bool:
        """With one processor the load generator takes from what it measures."""
        return len(self._processors) == 1

    def _body(self, review: Review) -> Path:
        return self.folder / f"{review.name}.json"

    def build(self) -> None:
        """Compile the load generator and the peer.

        Raises:
            BenchError
        """
        environment = {**os.environ, "GOTOOLCHAIN": "local", "GOFLAGS": "-buildvcs=false", "GOWORK": "off", "CGO_ENABLED": "0"}
        for name, package in (("load", "."), ("peer", "./peer")):
            answer = subprocess.run(
                [self._go, "build", "-o", self._bin / name, package],
                cwd=HERE / "load",
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
            if answer.returncode != 0:
                raise BenchError(f"{self._go} could not build tests/bench/load ({package}):\n{answer.stderr}")

    @contextmanager
    def server(self, name: str) -> Iterator[Server]:
        """`countersign`, `null` or `go`, until the block ends."""
        port_file, errors = self.folder / f"{name}.port", self.folder / f"{name}.log"
        port_file.unlink(missing_ok=True)
        if name == "go":
            command = [str(self._bin / "peer"), "-cert", str(self.folder / "tls.crt"), "-key", str(self.folder / "tls.key")]
            output = port_file
        else:
            command = [sys.executable, "-m", "tests.bench.target", name, str(self.folder)]
            output = self.folder / f"{name}.out"
        with output.open("wb") as out, errors.open("wb") as err:
            process = subprocess.Popen(self._pinned(self._processors[:1], command), stdout=out, stderr=err, cwd=ROOT)
        try:
            yield Server(name, process, self._port(process, port_file, errors))
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _port(self, process: subprocess.Popen[bytes], file: Path, errors: Path) -> int:
        deadline = time.monotonic() + START_WITHIN
        while time.monotonic() < deadline and process.poll() is None:
            if file.exists() and (text := file.read_text().strip()):
                return int(text)
            time.sleep(0.02)
        raise BenchError(f"a server did not start within {START_WITHIN:.0f} s:\n{errors.read_text()[-2000:]}")

    def run(self, server: Server, review: Review, connections: int, seconds: float) -> Sample:
        """One run.

        Raises:
            BenchError: an answer failed, or was not the one that is measured.
        """
        command = [str(self._bin / "load"), "-address", f"127.0.0.1:{server.port}", "-ca", str(self.folder / "ca.crt")]
        command += ["-body", str(self._body(review)), "-c", str(connections), "-d", f"{seconds}s"]
        command += ["-expect", review.expect if server.name == "countersign" else ""]
        before = server.cpu_seconds
        answer = subprocess.run(
            self._pinned(self._processors[1:] or self._processors, command),
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds + 60,
        )
        spent = server.cpu_seconds - before
        result: dict[str, Any] = json.loads(answer.stdout) if answer.returncode == 0 else {"failures": 1, "failure": answer.stderr}
        if result["failures"] or not result["requests"]:
            raise BenchError(f"{server.name}, {review.name}, {connections} connections: {result.get('failure') or 'no answers'}")
        return Sample(result["perSecond"], result["p50Micros"], result["p99Micros"], spent / result["sent"] * 1e6)

    @staticmethod
    def _pinned(processors: Sequence[int], command: Sequence[str]) -> list[str]:
        """A wrapper in Python: taskset is not everywhere."""
        pin = "import os,sys; os.sched_setaffinity(0, {int(n) for n in sys.argv[1].split(',')}); os.execvp(sys.argv[2], sys.argv[2:])"
        return [sys.executable, "-c", pin, ",".join(map(str, processors)), *command]


def open_files(wanted: int = 4096) -> None:
    """Raise the limit of open files as far as is allowed: 64 connections, twice."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, wanted), hard), hard))
