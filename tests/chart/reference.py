"""What the comments of values.yaml say, carried to where else it is read: the schema's descriptions and docs/values.md. And which values are new.

`python -m tests.chart.reference [--check]`. values.yaml is written by hand, and so is what the schema allows; from them come, in the schema,
each `description`, and `propertyNames`, by which Helm lists the names that there are to whoever has misspelt one.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from tests.chart.carried import new_values

ROOT: Final = Path(__file__).resolve().parents[2]
CHART: Final = ROOT / "charts" / "countersign"
VALUES: Final = CHART / "values.yaml"
SCHEMA: Final = CHART / "values.schema.json"
PAGE: Final = ROOT / "docs" / "values.md"
ADDED: Final = CHART / "files" / "new-values.yaml"
# Helm gives it to every chart.
OF_HELM: Final = "global"
_KEY: Final = re.compile(r"^( *)([A-Za-z][A-Za-z0-9]*):")
_WIDTH: Final = 140

Schema = dict[str, Any]
Path_ = tuple[str, ...]

_HEAD: Final = """\
<!-- Generated from charts/countersign/values.yaml and values.schema.json by `make generate`. Do not edit. -->
# Values of the chart

No value is needed. Each is given by name, as in `--set clusterName=prod-eu-1`, or in a file with `--values FILE`. What is misspelt or cannot be is refused before
anything is installed, with the names that there are; the schema is [values.schema.json](../charts/countersign/values.schema.json).
"""


@dataclass(frozen=True, slots=True)
class Value:
    """One value, or a group of them. `leaf`: nothing below it is documented by itself."""

    path: Path_
    default: Any
    comment: str
    schema: Schema
    leaf: bool

    @property
    def name(self) -> str:
        return ".".join(self.path)


def comments(text: str) -> dict[Path_, str]:
    """The comment above each key of a YAML of block mappings."""
    found: dict[Path_, str] = {}
    above: list[str] = []
    way: list[tuple[int, str]] = []
    for line in text.splitlines():
        if line.lstrip().startswith("#"):
            above.append(line.strip().removeprefix("#").strip())
            continue
        if match := _KEY.match(line):
            indent = len(match.group(1))
            way = [*(step for step in way if step[0] < indent), (indent, match.group(2))]
            found[tuple(name for _, name in way)] = " ".join(above)
        above = []
    return found


def resolved(node: Schema, schema: Schema) -> Schema:
    """Where a `$ref` leads to, else the node itself."""
    target: Schema = schema["definitions"][node["$ref"].rsplit("/", 1)[-1]] if "$ref" in node else node
    return target


def closed(node: Schema) -> bool:
    return node.get("additionalProperties") is False


def documented(values: Mapping[str, Any], schema: Schema, said: Mapping[Path_, str]) -> Iterator[Value]:
    """Every value in the order of values.yaml; raises KeyError where the schema does not know one."""

    def walk(part: Mapping[str, Any], node: Schema, way: Path_) -> Iterator[Value]:
        for name, default in part.items():
            path, own = (*way, name), node["properties"][name]
            inner = resolved(own, schema)
            leaf = not (isinstance(default, dict) and default and closed(inner))
            yield Value(path, default, said.get(path, ""), own, leaf)
            if not leaf:
                yield from walk(default, inner, path)

    return walk(values, schema, ())


def described(schema: Schema, values: list[Value]) -> Schema:
    """The schema with the comments as descriptions; of what two groups share, the first one's."""
    done: set[int] = set()
    for value in values:
        if id(value.schema) not in done:
            done.add(id(value.schema))
            rest = {key: part for key, part in value.schema.items() if key != "description"}
            value.schema.clear()
            value.schema.update({"description": value.comment, **rest})
    _name_names(schema)
    return schema


def _name_names(node: Any) -> None:
    """In every closed object: which names there are."""
    if isinstance(node, list):
        for part in node:
            _name_names(part)
    elif isinstance(node, dict):
        if closed(node) and isinstance(node.get("properties"), dict):
            names = sorted(node["properties"].keys() - {OF_HELM}) + [OF_HELM] * (OF_HELM in node["properties"])
            position = list(node).index("additionalProperties") + 1
            entries = [(key, part) for key, part in node.items() if key != "propertyNames"]
            node.clear()
            node.update([*entries[:position], ("propertyNames", {"enum": names}), *entries[position:]])
        for part in node.values():
            _name_names(part)


def written(tree: Any, indent: int = 0, used: int = 0) -> str:
    """JSON with what fits into a line on one line."""
    short = json.dumps(tree, ensure_ascii=False)
    if not isinstance(tree, dict | list) or not tree or used + len(short) <= _WIDTH - indent:
        return short
    inside = " " * (indent + 2)
    if isinstance(tree, list):
        parts = [inside + written(part, indent + 2) for part in tree]
    else:
        keys = {key: json.dumps(key) + ": " for key in tree}
        parts = [inside + keys[key] + written(part, indent + 2, len(keys[key])) for key, part in tree.items()]
    begin, end = "[]" if isinstance(tree, list) else "{}"
    return begin + "\n" + ",\n".join(parts) + "\n" + " " * indent + end


# ── docs/values.md ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def page(schema: Schema, values: list[Value]) -> str:
    alone = [value for value in values if value.leaf and len(value.path) == 1]
    parts = [_HEAD, "## By themselves\n", _table(alone, schema)]
    for group in values:
        if not group.leaf and len(group.path) == 1:
            inside = [value for value in values if value.path[0] == group.name and value.leaf]
            parts += [f"## `{group.name}`\n", f"{group.comment}\n", _table(inside, schema)]
    return "\n".join(parts)


def _table(values: list[Value], schema: Schema) -> str:
    lines = ["| value | default | may be | what it is |", "| --- | --- | --- | --- |"]
    for value in values:
        default = f"`{json.dumps(value.default, ensure_ascii=False)}`"
        cells = [f"`{value.name}`", default, allowed(value.schema, schema), value.comment]
        lines.append("| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def allowed(node: Schema, schema: Schema) -> str:
    """What may stand there, in a few words."""
    node = resolved(node, schema)
    if sentence := form(node):
        return sentence
    if "enum" in node:
        return ", ".join(f"`{json.dumps(each)}`" if each == "" else f"`{each}`" for each in node["enum"])
    if node.get("type") == "integer" and "minimum" in node:
        return f"{node['minimum']} to {node['maximum']}"
    if "anyOf" in node:
        return " or ".join('`""`' if each.get("const") == "" else allowed(each, schema) for each in node["anyOf"])
    if node.get("type") == "array":
        of = allowed(node["items"], schema)
        return f"list of: {of}" if of not in {"string", "object"} else f"list of {of}s"
    return str(node["type"])


def form(node: Schema) -> str:
    """What is said of a text's form, by the branch of an `anyOf` that no value meets: Helm prints it beside the pattern."""
    said = [each["const"] for each in node.get("anyOf", ()) if "const" in each and each.get("not") == {"const": each["const"]}]
    return str(said[0]) if said else ""


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.chart.reference", description="Carry the comments of values.yaml on, or compare."
    )
    parser.add_argument("--check", action="store_true", help="write nothing; fail where a file differs")
    options = parser.parse_args(arguments)
    text, schema = VALUES.read_text(), json.loads(SCHEMA.read_text())
    try:
        values = list(documented(yaml.safe_load(text), schema, comments(text)))
    except KeyError as error:
        sys.stderr.write(f"{SCHEMA} does not know {error}, which stands in {VALUES}: say there what it may be.\n")
        return 1
    wanted = {SCHEMA: written(described(schema, values)) + "\n", PAGE: page(schema, values), ADDED: new_values(yaml.safe_load(text))}
    stale = [file for file, content in wanted.items() if not file.exists() or file.read_text() != content]
    for file in stale:
        if options.check:
            sys.stderr.write(f"{file} is not what values.yaml says: run `make generate` and commit the result.\n")
        else:
            file.write_text(wanted[file])
    return 1 if options.check and stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
