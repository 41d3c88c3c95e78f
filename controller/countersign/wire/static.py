"""The static manifest: what guards our guards from outside the API (KEP-5793; alpha in Kubernetes 1.36, beta in 1.37).

The API server reads it from files of its own host. It is in force before the first request, and unlike what lies in the API it is asked
about writes to admission policies too; nobody changes it through the API. Such policies have no parameters, and names of their own kind.
`python -m countersign.wire.static FILE [--check]` writes what the chart ships, with a place for the namespace.
"""

import argparse
import sys
from pathlib import Path
from typing import Final

from countersign.domain.names import GROUP
from countersign.wire.cel import USERNAME, every, literal, literals, optional_name, some
from countersign.wire.guards.objects import (
    API,
    CONFIGURATION,
    GARBAGE_COLLECTORS,
    Json,
    Rule,
    Site,
    condition,
    constraints,
    operation,
    refusal,
)

NAME: Final = "countersign-guards.static.k8s.io"
PLACE: Final = "NAMESPACE-OF-COUNTERSIGN"  # stands in the file for the namespace
_HEADER: Final = "# Generated from controller/countersign/wire/static.py by `make generate`. Do not edit.\n"
_KINDS: Final = (
    "mutatingadmissionpolicies",
    "mutatingadmissionpolicybindings",
    "mutatingwebhookconfigurations",
    "validatingadmissionpolicies",
    "validatingadmissionpolicybindings",
    "validatingwebhookconfigurations",
)
_FLOWS: Final = ("flowschemas", "prioritylevelconfigurations")


def manifests(namespace: str) -> list[Json]:
    """One policy and its binding: our guards are written by the operator alone, and collected with their owner."""
    operator = Site("", namespace, "", b"", mutating=False).operator
    name = optional_name()
    ours = some(f"{name} == {literal(CONFIGURATION)}", f"{name}.startsWith({literal(f'{CONFIGURATION}-')})")
    spec: Json = {
        "failurePolicy": "Fail",
        "matchConstraints": constraints(
            Rule("admissionregistration.k8s.io", _KINDS, ["CREATE", "UPDATE", "DELETE"]),
            Rule("flowcontrol.apiserver.k8s.io", _FLOWS, ["CREATE", "UPDATE", "DELETE"]),
        ),
        "matchConditions": [condition("one-of-ours", ours)],
        "validations": [
            refusal(
                some(
                    f"{USERNAME} == {literal(operator)}",
                    every(operation("DELETE"), f"{USERNAME} in {literals(GARBAGE_COLLECTORS)}"),
                ),
                f"What is named {CONFIGURATION} or {CONFIGURATION}-… is kept by Countersign's operator alone ({GROUP}); "
                "this policy lies in a file on the API server's host.",
            )
        ],
    }
    frame = {"apiVersion": API, "metadata": {"name": NAME}}
    binding = {"policyName": NAME, "validationActions": ["Deny"]}
    return [
        {**frame, "kind": "ValidatingAdmissionPolicy", "spec": spec},
        {**frame, "kind": "ValidatingAdmissionPolicyBinding", "spec": binding},
    ]


def text() -> str:
    """As YAML, with PLACE for the namespace."""
    import yaml  # noqa: PLC0415 - a tool of developers: the image needs no YAML

    return _HEADER + yaml.safe_dump_all(manifests(PLACE), sort_keys=False, width=140, allow_unicode=False)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m countersign.wire.static", description="Write the static manifest, or compare it.")
    parser.add_argument("file", type=Path)
    parser.add_argument("--check", action="store_true", help="write nothing; fail where the file differs")
    options = parser.parse_args(arguments)
    if not options.check:
        options.file.parent.mkdir(parents=True, exist_ok=True)
        options.file.write_text(text(), encoding="ascii")
        return 0
    if options.file.exists() and options.file.read_text(encoding="ascii") == text():
        return 0
    sys.stderr.write(f"{options.file} is not what the code says: run `make generate` and commit the result.\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
