"""Names that nobody can read, and what is empty, endless or huge: a clear refusal or a right answer, in bounded time, never an error of ours."""

from __future__ import annotations

import copy
import json
import time
import unicodedata
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.controlplane.api import Answer, Api, path
from tests.controlplane.cluster import Cluster
from tests.controlplane.kubeconfig import Credentials
from tests.controlplane.pki import Authority
from tests.e2e.people import People
from tests.e2e.story import Reply, Story, manifest

UNSEEN = {
    "a newline": "bob\nstatement: x",
    "a NUL": "bob\x00",
    "an escape sequence": "bob\x1b[2K\x1b[1G",
    "a carriage return": "bob\rmallory",
    "zero width": "bo\u200bb",
    "a byte order mark": "\ufeffbob",
    "from right to left": "\u202ebob",
    "a line separator": "bob\u2028x",
    "a tag character": "bob\U000e0041",
    "a hard space": "bob\u00a0x",
    "spaces around": " bob ",
}
SEEN = {
    "Cyrillic": "b\u043eb",
    "decomposed": "bo\u0301b",
    "an emoji": "bob\U0001f984",
    "253 characters": "b" * 253,
    "254 characters": "b" * 254,
    "1024 characters": "b" * 1024,
    "1025 characters": "b" * 1025,
    "a hundred thousand": "b" * 100_000,
    "nothing": "",
    "a path": "../../x",
    "percent": "%2e%2e%2f%00",
    "a list": '["kiro/User:*"]',
    "quotes": "\"'`$(x)${x}{{x}}",
    "CEL": "'] || true || ['",
    "a backslash": "bob\\u000a\\",
    "markup": "<script>x</script>",
}
TEXTS = UNSEEN | SEEN
FAST = 5.0  # seconds; each takes some milliseconds on an idle machine
REFUSALS = {httpx.codes.BAD_REQUEST, httpx.codes.FORBIDDEN, httpx.codes.NOT_FOUND, httpx.codes.UNPROCESSABLE_ENTITY}

Spec = dict[str, Any]
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINUZe6rWX1fkKq3b8m6J8sN1eE9H9C9gYb1m3y8m3v0e"
BASES: dict[str, tuple[str, Spec]] = {
    "Reviewer": ("reviewers", {"usernames": ["nobody@example.com"]}),
    "AgentIdentity": ("agentidentities", {"sponsors": ["alice"], "subjects": [{"kind": "User", "name": "nobody-agent"}]}),
    "ProtectedEnvironment": ("protectedenvironments", {"protectFrom": "Agents", "namespaces": {"selector": {"matchLabels": {"x": "y"}}}}),
    "Approval": ("approvals", {"changeRequest": "none", "reviewer": "bob", "decision": "Approve", "signature": "x"}),
}


def put(*way: str | int) -> Callable[[Spec, str], None]:
    """What writes a text at a place of a spec, making the way to it."""

    def write(spec: Spec, text: str) -> None:
        part: Any = spec
        for step, following in pairwise(way):
            if isinstance(part, dict) and step not in part:
                part[step] = [None] if isinstance(following, int) else {}
            if isinstance(part, list) and part[step] is None:  # type: ignore[index]  # an index where the part is a list
                part[step] = {}  # type: ignore[index]  # as above
            part = part[step]
        part[way[-1]] = text

    return write


def as_key(*way: str) -> Callable[[Spec, str], None]:
    def write(spec: Spec, text: str) -> None:
        part = spec
        for step in way:
            part = part.setdefault(step, {})
        part[text] = "x" if way[-1] != "extra" else ["x"]

    return write


def in_subject(field: str) -> Callable[[Spec, str], None]:
    def write(spec: Spec, text: str) -> None:
        spec["subjects"][0] |= {"name": {"name": text}, "groups": {"groups": [text]}, "extra": {"extra": {"key": [text]}}}.get(
            field, {"extra": {text: ["x"]}}
        )

    return write


# Where a person or an agent is named: what nobody can see must be refused there.
PLACES: list[tuple[str, str, Callable[[Spec, str], None], bool]] = [
    ("Reviewer", "usernames", put("usernames", 0), True),
    ("Reviewer", "teams", put("teams", 0), True),
    ("Reviewer", "keys.name", lambda spec, text: spec.update(keys=[{"name": text, "publicKey": KEY}]), True),
    ("Reviewer", "keys.publicKey", lambda spec, text: spec.update(keys=[{"name": "k", "publicKey": text}]), True),
    ("Reviewer", "keys.notAfter", lambda spec, text: spec.update(keys=[{"name": "k", "publicKey": KEY, "notAfter": text}]), True),
    ("AgentIdentity", "sponsors", put("sponsors", 0), True),
    ("AgentIdentity", "subjects.name", in_subject("name"), True),
    ("AgentIdentity", "subjects.groups", in_subject("groups"), True),
    ("AgentIdentity", "subjects.extra", in_subject("extra"), True),
    ("AgentIdentity", "subjects.extra's key", in_subject("key"), True),
    ("AgentIdentity", "subjects.namespace", lambda spec, text: spec.update(subjects=[{"kind": "ServiceAccount", "name": "*", "namespace": text}]), True),
    ("ProtectedEnvironment", "selector's key", as_key("namespaces", "selector", "matchLabels"), False),
    ("ProtectedEnvironment", "selector's value", put("namespaces", "selector", "matchLabels", "x"), False),
    ("ProtectedEnvironment", "exclude", lambda spec, text: spec["namespaces"].update(exclude=[text]), True),
    ("ProtectedEnvironment", "except", lambda spec, text: spec.update({"except": [{"kind": "User", "name": text}]}), True),
    ("ProtectedEnvironment", "resources.group", lambda spec, text: spec.update(resources=[{"group": text, "resource": "things"}]), True),
    ("ProtectedEnvironment", "resources.resource", lambda spec, text: spec.update(resources=[{"group": "x.y", "resource": text}]), True),
    ("ProtectedEnvironment", "teams", lambda spec, text: spec.update(approvals={"teams": [text]}), True),
    ("ProtectedEnvironment", "useWithin", lambda spec, text: spec.update(approvals={"useWithin": text}), True),
    ("ProtectedEnvironment", "ownWork", lambda spec, text: spec.update(ownWork=text), True),
    ("Approval", "changeRequest", put("changeRequest"), True),
    ("Approval", "reviewer", put("reviewer"), True),
    ("Approval", "comment", put("comment"), False),
    ("Approval", "signature", put("signature"), True),
]  # fmt: skip


def prompt(ask: Callable[[], Answer]) -> Answer:
    began = time.monotonic()
    answer = ask()
    assert time.monotonic() - began < FAST
    return answer


def readable(answer: Answer) -> None:
    """Whoever reads the answer in a terminal sees what is in it."""
    for text in (str(answer.body.get("message", "")), *answer.warnings):
        odd = {char for char in text if unicodedata.category(char) in {"Cc", "Cf", "Cs"} and char != "\n"}
        assert not odd, ascii(text)


@pytest.mark.parametrize(("kind", "place", "write", "strict"), [pytest.param(*row, id=f"{row[0]} {row[1]}") for row in PLACES])
def test_odd_texts_in_our_kinds(cluster: Cluster, kind: str, place: str, write: Callable[[Spec, str], None], strict: bool) -> None:
    plural, base = BASES[kind]
    for what, text in TEXTS.items():
        spec = copy.deepcopy(base)
        write(spec, text)
        answer = prompt(lambda spec=spec: cluster.api.request("POST", path(plural), manifest(kind, "odd", spec), {"dryRun": "All"}))  # type: ignore[misc]  # bound at once
        message = str(answer.body.get("message", ""))
        assert answer.ok or answer.status in REFUSALS, f"{what}: {answer.status} {message}"
        assert "COULD NOT DECIDE" not in message, what
        assert "an error of its own" not in message, what
        if "kube-countersign.dev" in message and "admission webhook" in message:
            readable(answer)
        if strict and what in UNSEEN:
            assert not answer.ok, f"{place} took {what}"


def test_a_look_alike_is_warned_of(cluster: Cluster) -> None:
    body = manifest("Reviewer", "twin", {"usernames": ["b\u043eb@example.com"]})
    answer = cluster.api.request("POST", path("reviewers"), body, {"dryRun": "All"})
    told = " ".join(answer.warnings) + str(answer.body.get("message", ""))
    assert "'b\\u043eb@example.com' differs from 'bob@example.com' only by characters that look alike" in told, told


@pytest.mark.parametrize("count", [65, 1000])
def test_more_keys_than_a_person_may_have(cluster: Cluster, count: int) -> None:
    keys = [{"name": f"k{number}", "publicKey": KEY} for number in range(count)]
    body = manifest("Reviewer", "janitor", {"usernames": ["j@example.com"], "keys": keys})
    answer = prompt(lambda: cluster.api.request("POST", path("reviewers"), body, {"dryRun": "All"}))
    assert answer.status == httpx.codes.UNPROCESSABLE_ENTITY
    assert f"spec.keys: Too many: {count}: must have at most 64 items" in answer.body["message"]


# --- requesters -------------------------------------------------------------------------------

ODD_PEOPLE = {
    what: text
    for what, text in TEXTS.items()
    if what not in ("nothing", "1025 characters", "a hundred thousand")  # no certificate names nobody; for the others see below
}


def certificate_of(cluster: Cluster, name: str, *groups: str) -> Api:
    """As somebody whose client certificate bears this name; no library minds what stands in it, nor does the API server."""
    authority = Authority.load(cluster.paths.pki / "ca.crt", cluster.paths.pki / "ca.key")
    parts = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group, _validate=False) for group in groups]
    subject = x509.Name([*parts, x509.NameAttribute(NameOID.COMMON_NAME, name, _validate=False)])
    pair = authority._issue(subject, [], [ExtendedKeyUsageOID.CLIENT_AUTH])
    server = cluster._backend.server
    return Api(Credentials(server, "odd", pair=pair))


@pytest.fixture(scope="module")
def from_people(story: Story) -> Iterator[str]:
    with story.environment("odd", protect_from="People", required=1) as environment:
        yield environment


@pytest.mark.local_only(reason="signs client certificates with the cluster's own authority")
@pytest.mark.filterwarnings("ignore:Attribute's length must be:UserWarning")
@pytest.mark.parametrize("name", ODD_PEOPLE.values(), ids=ODD_PEOPLE)
def test_a_requester_of_an_odd_name(cluster: Cluster, story: Story, people: People, from_people: str, name: str) -> None:
    """Is held back as anybody, told of in one line, signed for by somebody else, and nobody whom the name looks like."""
    namespace = story.in_environment(from_people)
    url = path("namespaces", namespace)
    with certificate_of(cluster, name, "system:masters") as odd:
        reply = Reply(prompt(lambda: odd.request("DELETE", url)))
        assert reply.outcome == "Pending", str(reply)
        readable(reply.answer)
        request = story.request(reply.request)
        assert request["spec"]["requester"]["username"] == name
        assert request["spec"]["required"] == 2, "nobody who is registered, whoever it reads like: one signature more"
        statement = str(request["spec"]["statement"])
        lines = statement.splitlines()
        assert statement.isascii()
        assert len([line for line in lines if line.startswith("requester.username: ")]) == 1
        assert all(line == lines[0] or ": " in line for line in lines), "no line but those of fields"
        assert story.decisions(namespace)[-1]["user"] == name
        story.signed(reply.request, people.bob, people.carol)
        assert odd.request("DELETE", url).ok


@pytest.mark.local_only(reason="signs client certificates with the cluster's own authority")
@pytest.mark.filterwarnings("ignore:Attribute's length must be:UserWarning")
@pytest.mark.parametrize("length", [1025, 5000])
def test_a_name_that_no_change_request_can_hold(cluster: Cluster, story: Story, from_people: str, length: int) -> None:
    """Is refused for good: nobody could be asked to sign for it. (Past 4096 the webhook does not read it, and the API server has its own words.)"""
    url = path("namespaces", story.in_environment(from_people))
    with certificate_of(cluster, "b" * length, "system:masters") as odd:
        answer = prompt(lambda: odd.request("DELETE", url))
    words = "cannot be put before people to sign" if length < 4096 else "the server rejected our request"
    assert not answer.ok
    assert words in str(answer.body["message"])
    assert cluster.api.exists(url)


@pytest.mark.local_only(reason="signs client certificates with the cluster's own authority")
@pytest.mark.parametrize(
    "name", ["system:serviceaccount:agents:kiro\u200b", "system:serviceaccount:agents:k\u0456ro", "system:serviceaccount:agents:kiro "]
)
def test_nobody_is_an_agent_by_looking_like_one(cluster: Cluster, story: Story, name: str) -> None:
    """Nor uses what was signed for the agent: names are compared byte by byte."""
    with certificate_of(cluster, name, "system:masters") as odd:
        answer = odd.request("DELETE", path("namespaces", story.namespace()), params={"dryRun": "All"})
    assert answer.ok, "Agents are held back here, and this is none"


@pytest.mark.local_only(reason="signs client certificates with the cluster's own authority")
def test_a_requester_of_many_groups(cluster: Cluster, story: Story, from_people: str) -> None:
    url = path("namespaces", story.in_environment(from_people))
    groups = [f"group-{number:04}" for number in range(300)]
    with certificate_of(cluster, "crowded", "system:masters", *groups, "\u202eodd\n", "") as odd:
        reply = Reply(prompt(lambda: odd.request("DELETE", url)))
    assert reply.outcome == "Pending", str(reply)


# --- huge objects -----------------------------------------------------------------------------


def test_an_object_at_etcds_limit(cluster: Cluster, story: Story) -> None:
    """A deletion's review holds it; a megabyte is judged as any other."""
    home = story.namespace()
    claim = {
        "metadata": {
            "name": "huge",
            "annotations": {f"example.com/{number}": "\u00e4" * 2000 for number in range(60)},
            "finalizers": ["example.com/x"],
        },
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "storageClassName": "none"},
    }
    collection = path("persistentvolumeclaims", namespace=home)
    cluster.api.create(collection, claim)
    labels = {f"example.com/l{number}": "v" * 63 for number in range(8500)}
    cluster.api.patch(f"{collection}/huge", {"metadata": {"labels": labels}})
    size = len(json.dumps(cluster.api.get(f"{collection}/huge")))
    assert size > 1_000_000, size
    reply = Reply(prompt(lambda: cluster.api_as("kiro").request("DELETE", f"{collection}/huge")))
    assert reply.outcome == "Pending", str(reply)
    assert len(story.request(reply.request)["spec"]["statement"]) < 16_384
    cluster.api.patch(f"{collection}/huge", {"metadata": {"finalizers": None}})


def test_a_name_of_253_characters(cluster: Cluster, story: Story) -> None:
    home = story.namespace()
    name = "a" * 251 + "-z"
    claim = {
        "metadata": {"name": name},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "storageClassName": "none"},
    }
    collection = path("persistentvolumeclaims", namespace=home)
    cluster.api.create(collection, claim)
    reply = Reply(prompt(lambda: cluster.api_as("kiro").request("DELETE", f"{collection}/{name}")))
    assert reply.outcome == "Pending", str(reply)
    assert len(reply.request) <= 253
    assert story.request(reply.request)["spec"]["target"]["name"] == name
