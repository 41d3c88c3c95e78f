"""Somebody at a shell prompt. The demo and the docs' commands run through this: what is shown is what bash was given."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.controlplane.paths import Layout


@dataclass(frozen=True, slots=True)
class Ran:
    """What a terminal would have shown, both streams in their order, and the exit code."""

    text: str
    code: int


@dataclass(frozen=True, slots=True)
class Person:
    """One user of a cluster in a folder that is home and working directory: kubeconfig set, kubectl and `python` in the PATH."""

    name: str
    folder: Path
    environment: Mapping[str, str]

    @classmethod
    def at(cls, layout: Layout, name: str, folder: Path) -> Person:
        """`name` has a kubeconfig in the cluster's state folder; the SSH key of that name, if any, is the one in ~/.ssh."""
        ssh = folder / ".ssh"
        ssh.mkdir(mode=0o700, parents=True, exist_ok=True)
        for source in (layout.ssh / name, layout.ssh / f"{name}.pub"):
            if source.exists():
                copy = ssh / f"id_ed25519{source.suffix}"
                shutil.copyfile(source, copy)
                copy.chmod(0o600)
        path = [layout.bin, Path(sys.executable).parent, os.environ["PATH"]]
        environment = {
            "PATH": os.pathsep.join(map(str, path)),
            "HOME": str(folder),
            "KUBECONFIG": str(layout.user(name)),
            # Another cluster of the same port must not be mistaken for this one.
            "KUBECACHEDIR": str(layout.state / "kubecache"),
            "LC_ALL": "C.UTF-8",
        }
        return cls(name, folder, environment)

    def run(self, command: str, *, timeout: float = 120) -> Ran:
        """
        Raises:
            subprocess.TimeoutExpired
        """
        done = subprocess.run(
            ["bash", "-c", f"set -o pipefail\n{command}"],
            cwd=self.folder,
            env=dict(self.environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
        )
        return Ran(done.stdout, done.returncode)
