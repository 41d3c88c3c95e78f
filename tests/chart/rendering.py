"""`helm template`, as values in and objects out."""

import json
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.controlplane.paths import ROOT

CHART = ROOT / "charts" / "countersign"
NAMESPACE = "countersign"
NAMED = {"clusterName": "prod-eu-1"}
OUT_OF_CLUSTER = {**NAMED, "outOfCluster": {"url": "https://127.0.0.1:8443/validate"}}

Values = Mapping[str, Any]
Object = dict[str, Any]


class Refused(Exception):
    """Helm did not take the values."""


@dataclass(frozen=True, slots=True)
class Chart:
    helm: Path
    rendered: dict[str, str] = field(default_factory=dict)

    def objects(self, values: Values = NAMED, *, kubernetes: str = "") -> list[Object]:
        """What an installation consists of, without hooks; for helm's own idea of a Kubernetes, or for a version such as "1.33". Raises Refused."""
        key = kubernetes + json.dumps(values)
        if key not in self.rendered:
            self.rendered[key] = self._run("template", values, "--no-hooks", *(["--kube-version", kubernetes] if kubernetes else []))
        return [obj for obj in yaml.load_all(self.rendered[key], yaml.CSafeLoader) if obj]

    def hooks(self, values: Values = NAMED) -> list[Object]:
        """What Helm makes at times of its own. Raises Refused."""
        every = [obj for obj in yaml.load_all(self._run("template", values), yaml.CSafeLoader) if obj]
        return [obj for obj in every if "helm.sh/hook" in (obj["metadata"].get("annotations") or {})]

    def render(self, values: Values, *flags: str) -> str:
        """With flags of `helm template`; as text. Raises Refused."""
        return self._run("template", values, *flags)

    def find(self, kind: str, name: str, values: Values = NAMED) -> Object:
        """The one object of this kind and name. Raises Refused, and AssertionError where there is not one."""
        found = [obj for obj in self.objects(values) if (obj["kind"], obj["metadata"]["name"]) == (kind, name)]
        assert len(found) == 1, f"{len(found)} objects {kind} {name}"
        return found[0]

    def names(self, values: Values = NAMED) -> set[tuple[str, str]]:
        return {(obj["kind"], obj["metadata"]["name"]) for obj in self.objects(values)}

    def notes(self, values: Values = NAMED, *, namespace: str = NAMESPACE) -> str:
        """What Helm says at the end of an installation. Raises Refused."""
        return self._run("install", values, "--dry-run=client", "--namespace", namespace).partition("\nNOTES:\n")[2]

    def lint(self, values: Values = NAMED) -> str:
        """Raises Refused."""
        return self._run("lint", values, "--strict")

    def _run(self, command: str, values: Values, *flags: str) -> str:
        with tempfile.TemporaryDirectory() as home:
            file = Path(home) / "values.json"
            file.write_text(json.dumps(values))
            release = [CHART] if command == "lint" else ["countersign", CHART]
            homes = {f"HELM_{name}_HOME": home for name in ("CACHE", "CONFIG", "DATA")}
            answer = subprocess.run(
                [self.helm, command, *release, "--namespace", NAMESPACE, "--values", file, *flags],
                capture_output=True,
                text=True,
                stdin=subprocess.DEVNULL,
                env={"PATH": "", "HOME": home, **homes},
                timeout=60,
                check=False,
            )
        if answer.returncode != 0:
            raise Refused(answer.stderr + answer.stdout)
        return answer.stdout
