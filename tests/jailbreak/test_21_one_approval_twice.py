"""Twenty requests at once try to use one approval more than once, while the object is made anew as soon as it is gone.

Source: kubernetes/kubernetes#76346 (admission may be asked several times for one request, so nothing can be counted there).
"""

import threading

import httpx

from tests.jailbreak._attack import WEBHOOK, Attack, Elsewhere, away
from tests.jailbreak._stage import Stage

ATTACK = Attack(
    number=21,
    title="Retry or race to use one approval twice",
    guards=away(WEBHOOK),
    elsewhere=Elsewhere.NOT,
    because="needs a reviewer's signature",
)
RACERS = 8


def test_a_race(stage: Stage) -> None:
    namespace = stage.namespace()
    url = stage.claim(namespace)
    if not stage.control:
        stage.approved(url)
    agents_work = threading.Event()
    deletions: list[int] = []

    def race() -> None:
        with stage.ground.as_bearer(stage.agent.name, stage.agent.token) as api:
            while not agents_work.is_set():
                deletions.append(api.request("DELETE", url).status)

    racers = [threading.Thread(target=race) for _ in range(RACERS)]
    for racer in racers:
        racer.start()
    uids = {_uid(stage, url)}
    stage.comes_true(lambda: _made_anew(stage, namespace, url, uids) and len(uids) > 3, within=4)
    agents_work.set()
    for racer in racers:
        racer.join()
    assert httpx.codes.OK in deletions, "the approved deletion passes once"
    assert len(uids) > 1, "the object was made anew"
    stage.done(
        lambda: len(uids) > 2, "an object was deleted that nobody had signed for", evidence=f"{len(deletions)} requests, one deletion"
    )


def _uid(stage: Stage, url: str) -> str:
    answer = stage.admin.request("GET", url)
    return str(answer.body["metadata"]["uid"]) if answer.ok else ""


def _made_anew(stage: Stage, namespace: str, url: str, uids: set[str]) -> bool:
    """Somebody else makes the claim again whenever it is gone."""
    if not stage.admin.exists(url):
        stage.claim(namespace)
    uids.add(_uid(stage, url))
    uids.discard("")
    return True


def test_the_same_request_again(stage: Stage) -> None:
    """Sent again after it has worked, by path, with another tool, under another version of the options."""
    namespace = stage.namespace()
    url = stage.claim(namespace)
    if not stage.control:
        stage.approved(url)
        assert stage.agent.api.request("DELETE", url).ok, "the approved deletion passes"
        assert stage.comes_true(lambda: not stage.admin.exists(url))
        stage.claim(namespace)
    options = {"apiVersion": "policy/v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0}
    stage.judge(stage.strike("DELETE", url, options), harm=stage.is_gone(url))
