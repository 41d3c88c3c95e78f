from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.webhook import Start, Webhook, webhooks


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a webhook with limits of its own."""
    with webhooks(tmp_path) as begin:
        yield begin


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Webhook]:
    """One webhook with the limits that it ships with, for all tests that leave it as it is."""
    with webhooks(tmp_path_factory.mktemp("shared")) as begin:
        yield begin()
