"""The logs of kind nodes, brought to the same files that the local cluster writes.

Fetched when somebody asks, by one `docker exec` a node. What has been fetched once stays, so that the log of a pod that has been
replaced since is not lost as long as it was collected before.
"""

from __future__ import annotations

import io
import subprocess
import tarfile
from collections.abc import Iterable
from pathlib import Path

from tests.controlplane.errors import HarnessError
from tests.controlplane.paths import Layout

AUDIT = "kubernetes/audit.log"
# Pods of kube-system and of ours, by the beginning of their folder's name in the node's /var/log/pods.
SOURCES = {
    "kube-apiserver": "kube-system_kube-apiserver-",
    "kube-controller-manager": "kube-system_kube-controller-manager-",
    "etcd": "kube-system_etcd-",
    "operator": "countersign_countersign-operator-",
    "webhook": "countersign_countersign-webhook-",
}


def lines(text: str, stream: str) -> list[str]:
    """One stream's lines of a container log as the CRI writes it: `TIME stdout|stderr F|P text`, P for a part of a long line."""
    found: list[str] = []
    part = ""
    for entry in text.splitlines():
        fields = entry.split(" ", 3)
        if len(fields) < 3 or fields[1] != stream:
            continue
        part += fields[3] if len(fields) == 4 else ""
        if fields[2] == "F":
            found.append(part)
            part = ""
    return found


def collect(layout: Layout, nodes: Iterable[str]) -> None:
    """
    Raises:
        HarnessError: one of the nodes is not there
    """
    saved = layout.logs / "node"
    for node in nodes:
        _fetch(node, saved)
    for name, beginning in SOURCES.items():
        files = sorted(saved.glob(f"pods/{beginning}*/*/*.log"), key=_age)
        if name == "webhook":
            _write(layout.decisions_log, files, "stdout")
            _write(layout.logs / "webhook.log", files, "stderr")
        else:
            _write(layout.logs / f"{name}.log", files, "stdout", "stderr")
    audit = saved / AUDIT
    if audit.exists():
        audit.replace(layout.audit_log)


def _age(file: Path) -> tuple[str, str]:
    """By its first line's time, then by name: pods replaced come before those that replaced them."""
    with file.open(errors="replace") as stream:
        return stream.readline().split(" ", 1)[0], str(file)


def _write(target: Path, files: Iterable[Path], *streams: str) -> None:
    texts = [file.read_text(errors="replace") for file in files]
    found = [line for text in texts for stream in streams for line in lines(text, stream)]
    target.write_text("".join(f"{line}\n" for line in found))


def _fetch(node: str, folder: Path) -> None:
    wanted = " ".join(f"pods/{beginning}*" for beginning in SOURCES.values())
    # The logs are being written while they are read; GNU tar calls that an error (1), which it is not here.
    script = f"cd /var/log && tar --create --dereference --ignore-failed-read {wanted} {AUDIT} 2>/dev/null; [ $? -le 2 ]"
    answer = subprocess.run(["docker", "exec", node, "sh", "-c", script], capture_output=True, stdin=subprocess.DEVNULL, check=False)
    if answer.returncode != 0 or not answer.stdout:
        raise HarnessError(f"no logs from the node {node}: {answer.stderr.decode(errors='replace').strip()}")
    with tarfile.open(fileobj=io.BytesIO(answer.stdout)) as archive:
        archive.extractall(folder, filter="data")
