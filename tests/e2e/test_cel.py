"""The API server reads the CEL that we write as we mean it: the simulation in tests/support/cel.py is held against the real one."""

from __future__ import annotations

import random
from collections.abc import Iterator

import httpx
import pytest

from countersign.domain.identify import glob
from countersign.wire.cel import glob_regex, literal
from tests.controlplane.api import Answer, path
from tests.controlplane.cluster import Cluster
from tests.e2e._faults import manifest, message, unique, until

POLICY = "admissionregistration.k8s.io/v1"
LETTERS = [*"\"'\\\n\r\t\x00\x07\x7f\x85`$(){}[]*?.|^/abux04 ", "\u2028", "é", "𝔘", "\ufffd", "\ud7ff", "\U0010ffff"]
GLOB_LETTERS = [*"ab*?.\\(\n$", "é"]


def texts() -> dict[str, str]:
    """The same in every run."""
    chance = random.Random(7)  # test data
    return {f"t{index}": "".join(chance.choices(LETTERS, k=chance.randint(0, 12))) for index in range(100)}


def globs() -> dict[str, tuple[str, str]]:
    """Patterns with a text each; half of the pairs match."""
    chance = random.Random(11)  # test data
    found: dict[bool, dict[str, tuple[str, str]]] = {True: {}, False: {}}
    while min(map(len, found.values())) < 30:
        pattern = "".join(chance.choices(GLOB_LETTERS, k=chance.randint(1, 6)))
        text = "".join(chance.choices(GLOB_LETTERS, k=chance.randint(0, 6)))
        half = found[bool(glob(pattern).fullmatch(text))]
        if len(half) < 30:
            half[f"g{len(found[True]) + len(found[False])}"] = (pattern, text)
    return found[True] | found[False]


@pytest.fixture(scope="module")
def probe(cluster: Cluster) -> Iterator[str]:
    """A policy of the test's own that lets a ConfigMap pass only where every expression of ours is true of it."""
    name = unique("cel-probe")
    wanted = [(key, f"object.data.{key} == {literal(text)}") for key, text in texts().items()]
    for key, (pattern, text) in globs().items():
        holds = bool(glob(pattern).fullmatch(text))
        wanted.append((key, f"object.data.{key}.matches({literal(glob_regex(pattern))}) == {str(holds).lower()}"))
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}
    spec = {
        "matchConstraints": {"resourceRules": [rule]},
        "matchConditions": [{"name": "the-probe", "expression": f"object.metadata.name == {literal(name)}"}],
        "validations": [{"expression": expression, "message": key} for key, expression in wanted],
    }
    bound = {"policyName": name, "validationActions": ["Deny"]}
    cluster.api.create(path("validatingadmissionpolicies"), manifest("ValidatingAdmissionPolicy", name, api=POLICY, spec=spec))
    cluster.api.create(
        path("validatingadmissionpolicybindings"), manifest("ValidatingAdmissionPolicyBinding", name, api=POLICY, spec=bound)
    )
    try:
        until(lambda: not sent(cluster, name, {"t0": "another text"}).ok, "the API server was to take up the policy")
        yield name
    finally:
        cluster.api.delete(path("validatingadmissionpolicybindings", name))
        cluster.api.delete(path("validatingadmissionpolicies", name))


def sent(cluster: Cluster, name: str, changed: dict[str, str]) -> Answer:
    data = {**texts(), **{key: text for key, (_, text) in globs().items()}, **changed}
    body = manifest("ConfigMap", name, data=data)
    return cluster.api.request("POST", path("configmaps", namespace="default"), body, {"dryRun": "All"})


def test_every_text_and_every_glob_is_read_as_it_is_meant(cluster: Cluster, probe: str) -> None:
    answer = sent(cluster, probe, {})
    assert answer.ok, message(answer)


@pytest.mark.parametrize("key", ["t1", "t50", "t99"])
def test_another_text_is_another(cluster: Cluster, probe: str, key: str) -> None:
    answer = sent(cluster, probe, {key: texts()[key] + " "})
    assert answer.status == httpx.codes.UNPROCESSABLE_ENTITY
    assert message(answer).endswith(f"denied request: {key}")


def test_a_glob_is_anchored_at_both_ends(cluster: Cluster, probe: str) -> None:
    key, (_, text) = next((key, pair) for key, pair in globs().items() if "*" not in pair[0] and glob(pair[0]).fullmatch(pair[1]))
    for other in (f"\n{text}", f"{text}\n"):
        assert message(sent(cluster, probe, {key: other})).endswith(f"denied request: {key}")
