"""What an attack is written with: somebody to attack as, something to attack, the blow, and the judgement of it."""

from __future__ import annotations

import http.client
import json
import os
import re
import secrets
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from tests.controlplane.api import OURS, Answer, Api, ApiError, path
from tests.controlplane.cluster import Cluster
from tests.e2e.story import Reply, Story
from tests.jailbreak._attack import Attack, Elsewhere
from tests.jailbreak._camp import Agent, Camp
from tests.jailbreak._ground import Ground

_HARM_WITHIN: Final = 15.0
_OURS: Final = re.compile(
    r"admission webhook \"[^\"]+\.kube-countersign\.dev\" denied|ValidatingAdmissionPolicy 'countersign-[a-z0-9-]+'|countersign authorizer"
)


@dataclass
class Stage:
    """One run of one attack: the control (`control` is true), or the real one.

    What it makes is unique to the run, and removed afterwards.
    """

    attack: Attack
    control: bool
    camp: Camp
    folder: Path
    evidence: list[str] = field(default_factory=list)
    _after: ExitStack = field(default_factory=ExitStack)
    _judged: bool = False

    # --- where we are -------------------------------------------------------------------------

    @property
    def ground(self) -> Ground:
        return self.camp.ground

    @property
    def foreign(self) -> bool:
        """Whether this is a team's own cluster: then nothing global may be touched."""
        return self.ground.own is None

    @property
    def admin(self) -> Api:
        """Who sets the stage: a human who may do everything, and is no agent."""
        return self.ground.admin

    @property
    def cluster(self) -> Cluster:
        """The harness's cluster, for attacks with Elsewhere.NOT."""
        assert self.ground.own is not None, "this attack reaches for the harness's cluster: it must be Elsewhere.NOT"
        return self.ground.own

    @cached_property
    def story(self) -> Story:
        """People who sign, and what they say of it (tests/e2e/story.py). The harness's cluster only."""
        story = Story(self.cluster, secrets.token_hex(3))
        self._after.callback(story.clear_up)
        return story

    def sign(self, request: str, *, people: int = 1) -> None:
        """bob, and carol, read the statement and sign it. The harness's cluster only."""
        self.story.signed(request, *self.story.harness_reviewers()[:people])

    def approved(self, url: str, *, by: Agent | None = None) -> str:
        """The agent's deletion of this has been asked for and signed for. Returns the change request. The harness's cluster only."""
        reply = self.strike("DELETE", url, by=by)
        assert reply.outcome == "Pending", str(reply)
        self.sign(reply.request)
        return reply.request

    # --- who attacks --------------------------------------------------------------------------

    @cached_property
    def agent(self) -> Agent:
        """The attacker: a new agent with cluster-admin's rights (on a team's cluster without impersonate, bind and escalate)."""
        return self._kept(self.camp.broad_agent())

    @cached_property
    def tame(self) -> Agent:
        """A new agent with the role that the chart has for agents."""
        return self._kept(self.camp.tame_agent())

    def another(self) -> Agent:
        """One more agent like `agent`."""
        return self._kept(self.camp.broad_agent())

    def agent_of(self, sponsor: str) -> Agent:
        """A new agent like `agent`, whose sponsor is somebody else. Only while everything is in force."""
        return self._kept(self.camp.agent_of(sponsor))

    def _kept(self, agent: Agent) -> Agent:
        self._after.callback(agent.api.close)
        return agent

    def kubectl(self, agent: Agent, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """The real kubectl as an agent."""
        file = self.folder / f"{agent.name}.kubeconfig"
        if not file.exists():
            self.ground.write_kubeconfig(file, agent.name, agent.token)
        given: dict[str, Any] = {"stdin": subprocess.DEVNULL} if stdin is None else {"input": stdin}
        env = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "KUBECACHEDIR": str(self.camp.folder / "kubecache")}
        command: list[str | Path] = [self.ground.kubectl(), "--kubeconfig", file, *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=90, check=False, env=env, **given)

    # --- what is attacked ---------------------------------------------------------------------

    def name(self, word: str) -> str:
        """A name that nobody has had."""
        return f"jailbreak-{word}-{secrets.token_hex(4)}"

    def namespace(self, word: str = "victim", *, labels: Mapping[str, str] | None = None) -> str:
        """A namespace of somebody else's, protected."""
        name = self.name(word)
        self.make(path("namespaces"), {"metadata": {"name": name, "labels": {**self.ground.labels, **(labels or {})}}})
        return name

    def claim(self, namespace: str, name: str = "ledger") -> str:
        """A PersistentVolumeClaim. Returns its path."""
        spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "storageClassName": "none"}
        self.admin.create(path("persistentvolumeclaims", namespace=namespace), {"metadata": {"name": name}, "spec": spec})
        return path("persistentvolumeclaims", name, namespace=namespace)

    def volume(self, *, name: str = "", policy: str = "Retain", remote: bool = False) -> str:
        """A PersistentVolume with no disk behind it; `remote`: it is no folder of a node, which agents may not write in `hardened`. Returns its path."""
        disk = {"csi": {"driver": "disk.example.com", "volumeHandle": "nobodys-disk"}} if remote else {"hostPath": {"path": "/nonexistent"}}
        spec = {
            "capacity": {"storage": "1Mi"},
            "accessModes": ["ReadWriteOnce"],
            **disk,
            "storageClassName": "none",
            "persistentVolumeReclaimPolicy": policy,
        }
        return self.make(path("persistentvolumes"), {"metadata": {"name": name or self.name("volume")}, "spec": spec})

    def custom_kind(self, *, versions: Sequence[str] = ("v1",)) -> tuple[str, str]:
        """A CustomResourceDefinition of nobody's, served, and one object of it, in the first version. Returns the paths of both."""
        word = f"jb{secrets.token_hex(4)}"
        group = f"{word}.example.com"
        schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
        spec = {
            "group": group,
            "scope": "Cluster",
            "names": {"kind": word.capitalize(), "plural": f"{word}s", "singular": word, "listKind": f"{word.capitalize()}List"},
            "versions": [{"name": each, "served": True, "storage": each == versions[0], "schema": schema} for each in versions],
        }
        definition = self.make(path("customresourcedefinitions"), {"metadata": {"name": f"{word}s.{group}"}, "spec": spec})
        collection = f"/apis/{group}/{versions[0]}/{word}s"
        body = {"apiVersion": f"{group}/{versions[0]}", "kind": word.capitalize(), "metadata": {"name": "precious"}}
        served = self.comes_true(lambda: self.admin.request("POST", collection, body).ok)
        assert served, f"the API server does not serve {collection}"
        return definition, f"{collection}/precious"

    def make(self, collection: str, body: dict[str, Any], **params: Any) -> str:
        """Creates an object as the admin, to be removed afterwards. Returns its path."""
        made = self.admin.create(collection, body, **params)
        url = f"{collection}/{made['metadata']['name']}"
        self.clean(url)
        return url

    def clean(self, url: str) -> None:
        """Removes this afterwards, whoever makes it."""
        self._after.callback(self.camp.remove, url)

    def afterwards(self, callback: Callable[..., object], *arguments: Any) -> None:
        """Calls this afterwards, whatever happens; last in, first out."""
        self._after.callback(callback, *arguments)

    # --- the blow -----------------------------------------------------------------------------

    def strike(
        self,
        method: str,
        url: str,
        body: Any = None,
        *,
        by: Agent | Api | None = None,
        content_type: str | None = None,
        headers: dict[str, str] | None = None,
        **params: Any,
    ) -> Reply:
        """The request that does the damage; as `agent` if nobody else is named. On a team's cluster it is a dry run, if the attack says so."""
        api = by.api if isinstance(by, Agent) else by or self.agent.api
        if self.dry:
            params |= {"dryRun": "All"}
        return Reply(api.request(method, url, body, params, content_type, headers))

    @property
    def dry(self) -> bool:
        return self.foreign and self.attack.elsewhere is Elsewhere.DRY_RUN

    def raw(
        self,
        method: str,
        target: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        by: Agent | None = None,
        chunks: Sequence[bytes] | None = None,
    ) -> Reply:
        """The same, letter by letter: the target is sent as it is written, as no client library would."""
        address = self.ground.address
        if not address.direct:
            # Shown in red as NOT RUN: through such a proxy it would be another request that was held.
            pytest.skip("the API server stands behind a proxy, which would tidy this request up")
        connection = http.client.HTTPSConnection(address.host, address.port, context=address.context, timeout=30)
        try:
            connection.putrequest(method, address.prefix + target, skip_accept_encoding=True)
            sent = {"Authorization": f"Bearer {(by or self.agent).token}", "Accept": "application/json", **(headers or {})}
            if body is not None:
                sent = {"Content-Type": "application/json", "Content-Length": str(len(body)), **sent}
            for key, value in sent.items():
                connection.putheader(key, value)
            connection.endheaders(body if chunks is None else iter(chunks), encode_chunked=chunks is not None)
            response = connection.getresponse()
            return Reply(Answer(response.status, _decoded(response.read()), []))
        finally:
            connection.close()

    # --- the judgement ------------------------------------------------------------------------

    def judge(self, reply: Reply, *, harm: Callable[[], bool] | None = None, by: str | None = None) -> None:
        """The control must have gone through, and done its harm within some seconds. The real run must have been refused by Countersign, without harm.

        `by`: words in the refusal where somebody else refuses (RBAC: "cannot impersonate resource").
        """
        self._judged = True
        if self.control:
            assert reply.ok, f"the control is to succeed, or the test proves nothing: {reply}"
            assert self.dry or harm is None or self.comes_true(harm), "the control was let through, but did no harm"
            self.evidence.append(f"done: {reply.answer.status}")
            return
        message = str(reply.answer.body.get("message", ""))
        assert not reply.ok, f"THE ATTACK GOT THROUGH: {reply}"
        if by is None:
            assert _OURS.search(message), f"refused, but not by Countersign: {reply}"
        else:
            assert by in message, f"refused, but not with the words {by!r}: {reply}"
        assert harm is None or not harm(), f"refused, and yet the harm is done: {reply}"
        self.evidence.append(one_line(message))

    def done(self, harm: Callable[[], bool], what: str, *, evidence: str = "") -> None:
        """For what is no single refusal: in the control the harm comes true, in the real run it does not (looked at once, at the end)."""
        self._judged = True
        if self.control:
            assert self.comes_true(harm), f"the control is to succeed, or the test proves nothing: {what}"
            self.evidence.append(f"done: {what}")
            return
        assert not harm(), f"THE ATTACK GOT THROUGH: {what}"
        self.evidence.append(evidence or f"not so: {what}")

    def detected(self, record: Callable[[], str], what: str, within: float = 30) -> None:
        """For attacks that are let through: in the real run there is a record within some seconds, in the control none.

        `record` returns the line that proves it, "" while there is none.
        """
        self._judged = True
        if self.control:
            time.sleep(1)
            found = record()
            assert not found, f"recorded although nobody was there to do it: {found}"
            self.evidence.append(f"unnoticed: {what}")
            return
        found = ""

        def there() -> bool:
            nonlocal found
            found = record()
            return bool(found)

        assert self.comes_true(there, within), f"NOBODY NOTICED: {what}"
        self.evidence.append(one_line(found))

    def passes(self, reply: Reply, what: str) -> None:
        """For what is out of reach: this goes through, and the table says so."""
        self._judged = True
        assert reply.ok, f"{what}: it was said to go through, and did not: {reply}"
        self.evidence.append(what)

    def comes_true(self, condition: Callable[[], bool], within: float = _HARM_WITHIN) -> bool:
        deadline = time.monotonic() + within
        while not condition():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.1)
        return True

    def is_gone(self, url: str) -> Callable[[], bool]:
        """The harm of a deletion: the object is away, or on its way out."""

        def gone() -> bool:
            answer = self.admin.request("GET", url)
            if answer.status == httpx.codes.NOT_FOUND:
                return True
            if not answer.ok:
                raise ApiError(answer, f"GET {url}")
            return "deletionTimestamp" in answer.body["metadata"]

        return gone

    def close(self) -> None:
        self._after.close()

    def demand_judgement(self) -> None:
        assert self._judged, "the test ended without a judgement: call judge, done, detected or passes"


def one_line(text: str) -> str:
    """The line that stands alone, without the API server's words before it, kubectl's habit of the first line."""
    for start in (
        r'.*admission webhook "[^"]+" denied the request: ',
        r".*(?=ValidatingAdmissionPolicy 'countersign-)",
        r".*(?=countersign authorizer: )",
    ):
        text = re.sub(start, "", text, count=1, flags=re.DOTALL)
    return text.strip().split("\n", 1)[0]


def ours(resource: str, name: str) -> str:
    """`reviewers.kube-countersign.dev/bob`."""
    return f"{resource}.{OURS}/{name}"


def _decoded(content: bytes) -> dict[str, Any]:
    try:
        body = json.loads(content)
    except ValueError:
        return {"message": content.decode(errors="replace")}
    return body if isinstance(body, dict) else {"message": content.decode(errors="replace")}
