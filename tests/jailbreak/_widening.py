"""An environment that counts whom agents could become as agents, for the attacks under another's name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.controlplane.api import path
from tests.e2e.story import Reply
from tests.jailbreak._stage import Stage


@contextmanager
def wide(stage: Stage, ask: Callable[[str], Reply]) -> Iterator[str]:
    """The path of a namespace in it. `ask` is a dry run of the blow at a namespace, by which it is seen that the API server goes by it."""
    with stage.story.environment("wide", required=1) as environment:
        stage.admin.patch(path("protectedenvironments", environment), {"spec": {"whenAgentsCanImpersonate": "Widen"}})
        url = path("namespaces", stage.story.in_environment(environment))
        assert stage.comes_true(lambda: not ask(url).ok, within=30), "the API server was to go by the environment that widens"
        yield url
        stage.story.remove(url)
