"""A second Countersign in a cluster is told so; one that is alone, or out of the cluster, is not."""

from __future__ import annotations

import pytest

from countersign.domain.document import JsonObject
from countersign.service.second import another_ones_namespace, sentence
from tests.support.api import MemoryApi

CONFIGURATION = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/countersign"


def webhook(namespace: str) -> JsonObject:
    return {"name": "a", "clientConfig": {"service": {"namespace": namespace, "name": "countersign-webhook"}}}


@pytest.mark.parametrize(
    ("webhooks", "other"),
    [
        ([], ""),
        ([webhook("countersign"), webhook("countersign")], ""),
        ([webhook("countersign"), webhook("elsewhere")], "elsewhere"),
        ([{"name": "a", "clientConfig": {"url": "https://127.0.0.1:1/validate"}}], ""),
    ],
)
async def test_by_what_the_configuration_names(webhooks: list[JsonObject], other: str) -> None:
    api = MemoryApi((CONFIGURATION, {"webhooks": webhooks}))
    assert await another_ones_namespace(api, "countersign") == other


async def test_without_a_configuration_it_is_the_first() -> None:
    assert await another_ones_namespace(MemoryApi(), "countersign") == ""


def test_the_sentence_names_both_and_the_remedy() -> None:
    said = sentence("first", "second")
    assert "The Countersign of the namespace first guards this cluster" in said
    assert "this one, in second, takes over" in said
    assert "take the other away" in said
