"""Where things lie: the checkout, and the state folder of one cluster in it."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent


@dataclass(frozen=True, slots=True)
class Layout:
    """The state folder of one cluster (`.cluster`, or what COUNTERSIGN_STATE names); `make down` removes it whole."""

    state: Path

    @classmethod
    def from_environment(cls) -> Layout:
        return cls((ROOT / os.environ.get("COUNTERSIGN_STATE", ".cluster")).resolve())

    @property
    def state_file(self) -> Path:
        return self.state / "state.json"

    @property
    def kubeconfig(self) -> Path:
        """The admin's."""
        return self.state / "kubeconfig"

    @property
    def users(self) -> Path:
        return self.state / "users"

    @property
    def ssh(self) -> Path:
        return self.state / "ssh"

    @property
    def bin(self) -> Path:
        return self.state / "bin"

    @property
    def logs(self) -> Path:
        return self.state / "logs"

    @property
    def pki(self) -> Path:
        return self.state / "pki"

    @property
    def authorization(self) -> Path:
        """What the API server is told about whom to ask for authorization; it reads it again when it changes."""
        return self.state / "authorization"

    @property
    def run(self) -> Path:
        """One file per process of ours: its pid and when it started."""
        return self.state / "run"

    @property
    def tokens(self) -> Path:
        return self.state / "tokens"

    @property
    def values_file(self) -> Path:
        """The helm values in force."""
        return self.state / "values.json"

    @property
    def decisions_log(self) -> Path:
        return self.logs / "decisions.jsonl"

    @property
    def audit_log(self) -> Path:
        return self.logs / "audit.log"

    def user(self, name: str) -> Path:
        """The kubeconfig of a user; `admin` is the cluster's own."""
        return self.kubeconfig if name == "admin" else self.users / f"{name}.kubeconfig"

    @property
    def kind_name(self) -> str:
        """The kind cluster's name: derived from the path, so that two checkouts never meet."""
        return f"countersign-{hashlib.sha256(str(self.state).encode()).hexdigest()[:8]}"

    def make(self) -> None:
        for folder in (self.state, self.users, self.ssh, self.bin, self.logs, self.pki, self.run, self.tokens):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
