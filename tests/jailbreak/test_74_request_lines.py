"""Requests that say the same in other letters: encoded names, doubled and trailing slashes, dots, capitals, method overrides, chunks, absolute targets.

Source: k8s.io/apiserver pkg/endpoints/request/requestinfo.go (authorization and admission must read the path as the router does).
"""

import pytest

from tests.controlplane.api import path
from tests.jailbreak._attack import WEBHOOK, Attack, away
from tests.jailbreak._stage import Stage

ATTACK = Attack(number=74, title="The same request in other letters (paths, encodings, methods)", guards=away(WEBHOOK))
# What the API server takes for a deletion.
TAKEN = {
    "as it is": "{url}",
    "an encoded letter": "/api/v1/namespaces/{encoded}",
    "an encoded slash": "/api/v1/namespaces%2F{name}",
    "a trailing slash": "{url}/",
    "an empty query": "{url}?",
    "a fragment": "{url}?a=%23b",
}
# What it takes for something else, or for nothing.
OTHERS = {
    "doubled slashes": ("DELETE", "/api//v1//namespaces//{name}"),
    "dots": ("DELETE", "/api/v1/namespaces/x/../{name}"),
    "capitals": ("DELETE", "/api/v1/Namespaces/{name}"),
    "the old watch path": ("DELETE", "/api/v1/watch/namespaces/{name}"),
    "the old proxy path": ("DELETE", "/api/v1/proxy/namespaces/{name}"),
    "a subresource": ("DELETE", "/api/v1/namespaces/{name}/status"),
    "finalize": ("DELETE", "/api/v1/namespaces/{name}/finalize"),
    "an old group": ("DELETE", "/apis/extensions/v1beta1/namespaces/{name}"),
    "a lower-case method": ("delete", "/api/v1/namespaces/{name}"),
    "the whole collection": ("DELETE", "/api/v1/namespaces?fieldSelector=metadata.name%3D{name}"),
}
OVERRIDES = ("X-HTTP-Method-Override", "X-Method-Override", "X-HTTP-Method")


@pytest.mark.parametrize("what", TAKEN)
def test_a_deletion(stage: Stage, what: str) -> None:
    name = stage.namespace()
    url = path("namespaces", name)
    target = TAKEN[what].format(url=url, name=name, encoded=f"%{ord(name[0]):02x}{name[1:]}")
    stage.judge(stage.raw("DELETE", target), harm=stage.is_gone(url))


def test_in_chunks(stage: Stage) -> None:
    url = path("namespaces", stage.namespace())
    headers = {"Transfer-Encoding": "chunked"}
    stage.judge(stage.raw("DELETE", url, headers=headers, chunks=[b"{}"]), harm=stage.is_gone(url))


@pytest.mark.parametrize("what", OTHERS)
def test_no_deletion(stage: Stage, what: str) -> None:
    """With and without us: the API server does not take it for one, and must not begin to."""
    name = stage.namespace()
    method, target = OTHERS[what]
    reply = stage.raw(method, target.format(name=name))
    _stands(stage, name, f"{what}: {reply.answer.status}")


@pytest.mark.parametrize("header", OVERRIDES)
def test_a_method_in_a_header(stage: Stage, header: str) -> None:
    name = stage.namespace()
    reply = stage.raw("POST", path("namespaces", name), b"{}", {header: "DELETE"})
    _stands(stage, name, f"{header}: {reply.answer.status}")


def _stands(stage: Stage, name: str, evidence: str) -> None:
    gone = stage.is_gone(path("namespaces", name))()
    assert not gone, f"THE ATTACK GOT THROUGH: {evidence}"
    stage.done(lambda: stage.control, "the API server itself takes it for no deletion", evidence=evidence)
