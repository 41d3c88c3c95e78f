"""Plain manifests in deploy/manifests, for who does without Helm: `python -m tests.chart.manifests [--check]`.

Rendered by the chart's own `helm template`. What is different is said in the head of each file.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import Any, Final

from tests.chart.rendering import CHART, NAMESPACE, Chart
from tests.controlplane import binaries
from tests.controlplane.paths import ROOT
from tests.controlplane.progress import Progress

FOLDER: Final = ROOT / "deploy" / "manifests"
DEFINITIONS: Final = FOLDER / "definitions.yaml"
VARIANTS: Final[dict[str, dict[str, Any]]] = {"countersign": {}, "countersign-hardened": {"profile": "hardened"}}
_MADE: Final = "# Generated from charts/countersign by `make generate`; do not change it here.\n"
_NAMESPACE: Final = f"""---
apiVersion: v1
kind: Namespace
metadata:
  name: {NAMESPACE}
  labels:
    app.kubernetes.io/part-of: countersign
    pod-security.kubernetes.io/enforce: restricted
"""
_SOURCE: Final = re.compile(r"^# Source: .*\n", re.MULTILINE)


def head(name: str) -> str:
    values = " ".join(f"--set {key}={value}" for key, value in VARIANTS[name].items()) or "no values"
    return f"""{_MADE}#
# Countersign without Helm: the chart with {values}. First the definitions, then this file:
#
#     kubectl apply --server-side -f deploy/manifests/definitions.yaml
#     kubectl wait --for condition=Established --timeout 60s -f deploy/manifests/definitions.yaml
#     kubectl apply --server-side -f deploy/manifests/{name}.yaml
#
# Put an image of your own where `image:` stands (twice): nobody has published one.
#
# What Helm does besides, and nobody does here: it refuses a second Countersign in the cluster, a Kubernetes that is too old, and values that
# cannot go together, before anything is changed; it says in its NOTES what comes next and which agents can impersonate (kubectl get
# agentidentities says that too); and `helm test`. To upgrade, apply the three commands with the newer files: what a newer version makes no more
# stays until you delete it. To take it away: kubectl delete -f deploy/manifests/{name}.yaml, and the definitions last, if at all: with them go
# Reviewers, requests and approvals.
"""


def contents(chart: Chart) -> dict[Path, str]:
    definitions = "".join(f"---\n{file.read_text().removeprefix('---').lstrip()}" for file in sorted((CHART / "crds").glob("*.yaml")))
    made = {DEFINITIONS: f"{_MADE}{definitions}"}
    for name, values in VARIANTS.items():
        made[FOLDER / f"{name}.yaml"] = head(name) + _NAMESPACE + plain(chart.render(values, "--no-hooks"))
    return made


def plain(rendered: str) -> str:
    """Without what Helm says of itself: these objects are not its own."""
    text = _SOURCE.sub("", rendered).replace("app.kubernetes.io/managed-by: Helm", "app.kubernetes.io/managed-by: kubectl")
    return re.sub(r"\n{2,}(?=---\n)", "\n", text).rstrip("\n") + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="only say whether they are up to date")
    check = parser.parse_args().check
    stale = []
    for file, text in contents(Chart(binaries.ensure(["helm"], Progress(quiet=True))["helm"])).items():
        if not file.exists() or file.read_text() != text:
            stale.append(str(file.relative_to(ROOT)))
            if not check:
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text)
    if check and stale:
        print(f"Not what the chart renders: {', '.join(stale)}. Run `make generate`.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
