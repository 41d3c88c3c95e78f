"""Makes tests/chart/schemas anew: what of Kubernetes' own OpenAPI documents, and of two operators' definitions, the chart's objects are held against.

`python -m tests.chart.make_schemas` (make schemas). The source of each file is a Go module, whose content Go's checksum database vouches for:
k8s.io/kubernetes has the OpenAPI of its API server in api/openapi-spec/v3. All descriptions and all kinds that nobody here writes are left out; what
is left is closed, so that a field that the API server would drop or refuse is a fault. The oldest version is there in full, each newer one as
what it changes.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from tests.chart.schemas import EXTENSIONS, FOLDER, VERSIONS, Json
from tests.controlplane import gotoolchain
from tests.controlplane.progress import Progress

KUBERNETES: Final[Mapping[str, str]] = {"1.33": "v1.33.13", "1.34": "v1.34.4", "1.35": "v1.35.4", "1.36": "v1.36.3"}
DEFINITIONS: Final = (
    ("github.com/prometheus-operator/prometheus-operator", "v0.85.0", "example/prometheus-operator-crd/"),
    ("github.com/cert-manager/cert-manager", "v1.21.2", "deploy/crds/"),
)
GROUPS: Final = {
    "": ("ConfigMap", "Namespace", "Pod", "ResourceQuota", "Secret", "Service", "ServiceAccount"),
    "admissionregistration.k8s.io": (
        "MutatingAdmissionPolicy",
        "MutatingAdmissionPolicyBinding",
        "MutatingWebhookConfiguration",
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
        "ValidatingWebhookConfiguration",
    ),
    "apiextensions.k8s.io": ("CustomResourceDefinition",),
    "apps": ("Deployment",),
    "autoscaling": ("HorizontalPodAutoscaler",),
    "batch": ("Job",),
    "flowcontrol.apiserver.k8s.io": ("FlowSchema", "PriorityLevelConfiguration"),
    "networking.k8s.io": ("NetworkPolicy",),
    "policy": ("PodDisruptionBudget",),
    "rbac.authorization.k8s.io": ("ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"),
    "monitoring.coreos.com": ("PodMonitor", "PrometheusRule", "ServiceMonitor"),
    "cert-manager.io": ("Certificate", "ClusterIssuer", "Issuer"),
}
STABLE: Final = re.compile(r"v[1-9][0-9]*")
REFERENCE: Final = "#/components/schemas/"
# What JSON Schema knows too; the rest is said to people, or to the API server's own machinery.
KEPT: Final = (
    "additionalProperties",
    "allOf",
    "anyOf",
    "enum",
    "items",
    "maximum",
    "maxItems",
    "minimum",
    "minItems",
    "not",
    "oneOf",
    "pattern",
    "required",
    "type",
)


class _Loader(yaml.CSafeLoader):
    """YAML 1.1 has a type for a lone "=", which stands among the operators of Alertmanager's matchers."""


_Loader.add_constructor("tag:yaml.org,2002:value", lambda _, node: node.value)


def main() -> int:
    go = gotoolchain.find(Progress())
    FOLDER.mkdir(exist_ok=True)
    before: dict[str, Json] = {}
    for version in VERSIONS:
        archive, source = _module(go, "k8s.io/kubernetes", KUBERNETES[version])
        kinds, definitions = _kubernetes(archive)
        changed: dict[str, Json | None] = {name: body for name, body in definitions.items() if before.get(name) != body}
        changed |= dict.fromkeys(before.keys() - definitions.keys())
        _write(FOLDER / f"{version}.json", {"source": source, "kinds": kinds, "definitions": changed})
        before = definitions
    sources, kinds, definitions = [], {}, {}
    for module, version, folder in DEFINITIONS:
        archive, source = _module(go, module, version)
        sources.append(source)
        for key, body in _custom(archive, folder).items():
            kinds[key] = definitions_name = key.replace("/", ".")
            definitions[definitions_name] = body
    _write(EXTENSIONS, {"source": "; ".join(sources), "kinds": kinds, "definitions": definitions})
    return 0


def _module(go: Path, name: str, version: str) -> tuple[Path, str]:
    answer = subprocess.run([go, "mod", "download", "-json", f"{name}@{version}"], cwd="/", capture_output=True, text=True, check=False)
    told = json.loads(answer.stdout or "{}")
    if answer.returncode or "Zip" not in told:
        raise SystemExit(f"go mod download {name}@{version}: {told.get('Error') or answer.stderr}")
    return Path(told["Zip"]), f"{name}@{version} {told['Sum']}"


def _write(file: Path, content: Json) -> None:
    """One definition a line, so that a new version shows as the lines that it changes."""
    parts = [f'"{key}": {json.dumps(value, sort_keys=True)}' for key, value in content.items() if key != "definitions"]
    lines = [
        f"{json.dumps(name)}: {json.dumps(body, sort_keys=True, separators=(',', ':'))}"
        for name, body in sorted(content["definitions"].items())
    ]
    file.write_text("{\n" + ",\n".join([*parts, '"definitions": {\n' + ",\n".join(lines) + "\n}"]) + "\n}\n")
    print(f"{file}: {len(lines)} definitions, {file.stat().st_size // 1024} KiB")


def _kubernetes(archive: Path) -> tuple[dict[str, str], dict[str, Json]]:
    schemas: dict[str, Json] = {}
    with zipfile.ZipFile(archive) as files:
        for name in files.namelist():
            if "/api/openapi-spec/v3/" in name and name.endswith("_openapi.json"):
                schemas |= json.loads(files.read(name)).get("components", {}).get("schemas", {})
    kinds = {
        f"{made['group']}/{made['version']}/{made['kind']}".lstrip("/"): name
        for name, schema in schemas.items()
        for made in schema.get("x-kubernetes-group-version-kind", [])
        if made["kind"] in GROUPS.get(made["group"], ()) and STABLE.fullmatch(made["version"])
    }
    closed: dict[str, Json] = {}
    waiting = sorted(kinds.values())
    while waiting:
        name = waiting.pop()
        if name not in closed:
            closed[name] = _closed(schemas[name])
            waiting += _referenced(closed[name])
    return dict(sorted(kinds.items())), closed


def _referenced(node: Any) -> Iterable[str]:
    if isinstance(node, list):
        return [name for item in node for name in _referenced(item)]
    if not isinstance(node, dict):
        return []
    here = [node["$ref"].rpartition("/")[2]] if isinstance(node.get("$ref"), str) else []
    return [*here, *(name for item in node.values() for name in _referenced(item))]


def _custom(archive: Path, folder: str) -> dict[str, Json]:
    """The closed schemas of custom kinds, by GROUP/VERSION/KIND."""
    found: dict[str, Json] = {}
    with zipfile.ZipFile(archive) as files:
        for name in files.namelist():
            if not (name.partition("/" + folder)[1] and name.endswith((".yaml", ".yml"))):
                continue
            for made in yaml.load_all(files.read(name), _Loader):
                spec = (made or {}).get("spec", {})
                if made and made.get("kind") == "CustomResourceDefinition" and spec["names"]["kind"] in GROUPS.get(spec["group"], ()):
                    for version in spec["versions"]:
                        if version["served"] and STABLE.fullmatch(version["name"]):
                            found[f"{spec['group']}/{version['name']}/{spec['names']['kind']}"] = custom(
                                version["schema"]["openAPIV3Schema"]
                            )
    return found


def custom(schema: Json) -> Json:
    """A definition's own schema, closed; what all objects have besides is open."""
    closed = _closed(schema)
    return {**closed, "properties": {**closed["properties"], "metadata": {"type": "object"}}}


def _closed(schema: Any) -> Any:
    """A JSON schema for strict reading. An object's fields are those named, unless it says otherwise."""
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return {"$ref": "#/definitions/" + schema["$ref"].removeprefix(REFERENCE)}
    only = schema.get("allOf", [])
    if len(only) == 1 and "$ref" in only[0] and "properties" not in schema:
        return _closed(only[0])  # OpenAPI 3.0's way to describe a reference
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    kept: Json = {}
    for word in KEPT:
        if word in schema:
            value = schema[word]
            kept[word] = [_closed(each) for each in value] if word in ("allOf", "anyOf", "oneOf") else value
            if word in ("items", "not", "additionalProperties"):
                kept[word] = _closed(value)
    if schema.get("nullable") and isinstance(kept.get("type"), str):
        kept["type"] = [kept["type"], "null"]
    if "properties" in schema:
        kept["properties"] = {name: _closed(body) for name, body in schema["properties"].items()}
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            kept.setdefault("additionalProperties", False)
    return kept


if __name__ == "__main__":
    sys.exit(main())
