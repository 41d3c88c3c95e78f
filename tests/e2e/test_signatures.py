"""Which signatures are taken, and the exact reason why every other is not."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import pytest

from tests.controlplane import waiting
from tests.controlplane.api import path
from tests.controlplane.cluster import REJECT, Cluster
from tests.controlplane.people import REVIEWER_ROLE
from tests.e2e.people import TYPES, People, reviewer
from tests.e2e.story import Person, Reply, Story, manifest
from tests.support.authenticator import SoftwareAuthenticator, armor, dearmor


@pytest.fixture
def namespace(story: Story, people: People) -> str:
    return story.namespace()


@pytest.fixture
def request_(story: Story, namespace: str) -> str:
    """The change request of kiro's deletion, waiting."""
    return story.ask("kiro", path("namespaces", namespace))


@pytest.fixture
def refused(story: Story, request_: str, namespace: str) -> Callable[..., None]:
    """Holds an answer against the one reason it must have, and sees that it changed nothing."""

    def hold(reply: Reply, fault: str, *words: str) -> None:
        fault, _, signature = fault.partition(": ")
        assert reply.answer.status == 403, str(reply)
        assert reply.outcome == "Refused", str(reply)
        assert (reply.fault, reply.signature) == (fault, signature), str(reply)
        for word in words:
            assert word in reply.message, str(reply)
        assert story.approvals(request_) == []
        assert story.ask("kiro", path("namespaces", namespace)) == request_

    return hold


def text_of(story: Story, request: str) -> str:
    return str(story.request(request)["spec"]["statement"])


# --- taken ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", TYPES)
def test_every_accepted_type_of_key_signs(story: Story, people: People, namespace: str, request_: str, kind: str) -> None:
    reply = story.approve(request_, people.frank, key=kind)
    assert reply.ok, str(reply)
    status = story.wait_for(request_, "Approved")
    assert [(each["reviewer"], each["key"]) for each in status["approvals"]] == [(people.frank.name, kind)]
    story.passes("kiro", path("namespaces", namespace))


def test_a_dry_run_of_signing_is_checked_and_leaves_nothing(
    story: Story, people: People, request_: str, refused: Callable[..., None]
) -> None:
    good = story.signature(people.bob.key(), text_of(story, request_))
    assert story.bring(request_, people.bob, good, dryRun="All").ok
    borrowed = story.signature(people.carol.key(), text_of(story, request_))
    refused(story.bring(request_, people.bob, borrowed, dryRun="All"), "KeyNotRegistered")


# --- who brings it --------------------------------------------------------------------------------


def test_the_sponsors_is_refused(story: Story, people: People, request_: str, refused: Callable[..., None]) -> None:
    refused(
        story.approve(request_, people.alice),
        "IsASponsor",
        "alice is a sponsor of the agent that asked (system:serviceaccount:agents:kiro)",
        "a second person has to sign",
    )


def test_the_sponsors_is_refused_under_every_username(story: Story, people: People, request_: str) -> None:
    """kira's identity names heidi by one username, she signs with another."""
    namespace = story.namespace()
    request = story.ask(people.kira, path("namespaces", namespace))
    reply = story.approve(request, people.heidi)
    assert reply.fault == "IsASponsor", str(reply)
    assert story.approvals(request) == []
    assert story.approve(request_, people.heidi).ok, "she is no sponsor of kiro"


def test_an_agents_is_refused_whoever_signed_it(story: Story, people: People, request_: str, refused: Callable[..., None]) -> None:
    signature = story.signature(people.bob.key(), text_of(story, request_))
    refused(story.bring(request_, people.bob, signature, by="rogue"), "ByAnAgent", "An agent cannot bring an Approval")


def test_an_agent_without_rights_does_not_even_reach_the_webhook(story: Story, people: People, request_: str) -> None:
    signature = story.signature(people.bob.key(), text_of(story, request_))
    reply = story.bring(request_, people.bob, signature, by="kiro")
    assert reply.answer.status == 403
    assert "cannot create resource" in reply.message
    assert story.approvals(request_) == []


def test_a_service_accounts_is_refused(cluster: Cluster, story: Story, people: People, request_: str, refused: Callable[..., None]) -> None:
    account = cluster.new_service_account(story.name("ci"), REVIEWER_ROLE, namespace="agents")
    signature = story.signature(people.bob.key(), text_of(story, request_))
    refused(story.bring(request_, people.bob, signature, by=account), "ByAServiceAccount", f"agents:{account} is not a person")


def test_a_strangers_is_refused(story: Story, people: People, request_: str, refused: Callable[..., None]) -> None:
    refused(
        story.approve(request_, people.mallory), "NotRegistered", f"{people.mallory.user}@example.com is not a username of any Reviewer"
    )
    bobs = story.signature(people.bob.key(), text_of(story, request_))
    refused(story.bring(request_, people.bob, bobs, by=people.mallory.user), "NotRegistered")


def test_anothers_is_refused_though_the_signature_is_good(
    story: Story, people: People, request_: str, refused: Callable[..., None]
) -> None:
    signature = story.signature(people.bob.key(), text_of(story, request_))
    refused(story.bring(request_, people.bob, signature, by="carol"), "NotThisReviewer", "You are carol, the Approval says bob")


def test_nobodys_is_refused(story: Story, people: People, request_: str, refused: Callable[..., None]) -> None:
    nobody = Person("nobody", "bob", people.bob.keys)
    refused(story.approve(request_, nobody), "NotThisReviewer", "You are bob, the Approval says nobody")


# --- with which key -------------------------------------------------------------------------------


def test_a_borrowed_keys_is_refused(story: Story, people: People, request_: str, refused: Callable[..., None]) -> None:
    signature = story.signature(people.carol.key(), text_of(story, request_))
    refused(story.bring(request_, people.bob, signature), "KeyNotRegistered", "SHA256:", "which is not registered for bob")


def test_an_expired_keys_is_refused(story: Story, people: People, request_: str, refused: Callable[..., None]) -> None:
    refused(
        story.approve(request_, people.erin, key="old"), "KeyExpired", f"The key old of {people.erin.name} expired at 2020-01-01T00:00:00Z"
    )
    assert story.approve(request_, people.erin, key="main").ok


def test_a_revoked_keys_is_refused(cluster: Cluster, story: Story, people: People, request_: str, refused: Callable[..., None]) -> None:
    """Taking a key out is free to a human, and holds at once: before anything is signed, and for what it has signed already."""
    other = story.namespace()
    signed_before = story.ask("kiro", path("namespaces", other))
    reply = story.approve(signed_before, people.grace, key="main")
    assert reply.ok, str(reply)
    story.wait_for(signed_before, "Approved")

    url = path("reviewers", people.grace.name)
    kept = [key for key in cluster.api.get(url)["spec"]["keys"] if key["name"] != "main"]
    cluster.api.patch(url, {"spec": {"keys": kept}})

    again = story.delete("kiro", path("namespaces", other))
    assert again.outcome == "Pending", str(again)
    assert again.request == signed_before
    assert "(0 of 1, " in again.message
    refused(story.approve(request_, people.grace, key="main"), "KeyNotRegistered", f"which is not registered for {people.grace.name}")
    status = story.wait_for(signed_before, "Pending")
    assert status.get("approvals", []) == []
    assert story.approve(request_, people.grace, key="other").ok


def test_a_weak_key_is_refused_at_registration_and_at_signing(
    cluster: Cluster, story: Story, people: People, request_: str, refused: Callable[..., None]
) -> None:
    weak = cluster.new_key(f"weak-{story.run}", "rsa", 2048)
    registering = story.send("alice", "POST", path("reviewers"), reviewer(story.name("weak"), [story.name("weak-user")], {"weak": weak}))
    assert registering.answer.status == 422, str(registering)
    assert "This RSA key has 2048 bits, and 3072 is the least" in registering.message
    assert "register that" in registering.message
    signature = story.signature(weak, text_of(story, request_))
    refused(
        story.bring(request_, people.bob, signature),
        "SignatureRefused: Weak",
        "a key that is not accepted",
        "2048 bits, and 3072 is the least",
    )


@pytest.mark.parametrize(
    ("line", "words"),
    [
        pytest.param("ssh-dss AAAAB3NzaC1kc3MAAACBAJ", "DSA keys are too weak", id="dsa"),
        pytest.param("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDsx", "cannot be read", id="cut short"),
        pytest.param("ssh-ed25519-cert-v01@openssh.com AAAAIHNzaC1lZDI1NTE5", "Certificates are not accepted", id="certificate"),
        pytest.param("-----BEGIN OPENSSH PRIVATE KEY----- b3BlbnNzaC1rZXk=", "private key", id="private"),
    ],
)
def test_other_keys_are_refused_at_registration(story: Story, people: People, line: str, words: str) -> None:
    name = story.name("odd")
    spec = {"usernames": [name], "keys": [{"name": "odd", "publicKey": line}]}
    reply = story.send("alice", "POST", path("reviewers"), manifest("Reviewer", name, spec))
    assert reply.answer.status == 422, str(reply)
    assert words in reply.message


def test_one_key_is_one_person(story: Story, people: People) -> None:
    name = story.name("twin")
    reply = story.send("alice", "POST", path("reviewers"), reviewer(name, [name], {"mine": people.bob.key()}))
    assert reply.answer.status == 422, str(reply)
    assert "belongs to the Reviewer bob already" in reply.message


def test_an_untouched_hardware_key_is_refused(story: Story, people: People, request_: str, refused: Callable[..., None]) -> None:
    key = people.frank.keys["sk-ed25519"]
    assert isinstance(key, SoftwareAuthenticator)
    untouched = key.sign(text_of(story, request_).encode(), "approve@kube-countersign.dev", flags=0)
    refused(story.bring(request_, people.frank, untouched), "SignatureRefused: NoUserPresence", "without being touched")


# --- over what ------------------------------------------------------------------------------------


@pytest.mark.parametrize("namespace_string", ["file", REJECT, "approve@kube-countersign.de", "Approve@kube-countersign.dev"])
def test_the_wrong_namespace_strings_is_refused(
    story: Story, people: People, request_: str, refused: Callable[..., None], namespace_string: str
) -> None:
    signature = story.signature(people.bob.key(), text_of(story, request_), namespace_string)
    refused(
        story.bring(request_, people.bob, signature), "SignatureRefused: WrongNamespace", namespace_string, "approve@kube-countersign.dev"
    )


def test_an_approving_signature_does_not_reject(story: Story, people: People, request_: str, refused: Callable[..., None]) -> None:
    signature = story.signature(people.bob.key(), text_of(story, request_))
    refused(
        story.bring(request_, people.bob, signature, decision="Reject", comment="no"),
        "SignatureRefused: WrongNamespace",
        "reject@kube-countersign.dev",
    )


@pytest.mark.parametrize("tamper", ["another target", "no final newline", "one space more", "crlf"])
def test_a_signature_over_a_changed_text_is_refused(
    story: Story, people: People, request_: str, namespace: str, refused: Callable[..., None], tamper: str
) -> None:
    text = text_of(story, request_)
    changed = {
        "another target": text.replace(f'target.name: "{namespace}"', 'target.name: "sandbox"'),
        "no final newline": text.removesuffix("\n"),
        "one space more": text + " ",
        "crlf": text.replace("\n", "\r\n"),
    }[tamper]
    assert changed != text
    refused(
        story.bring(request_, people.bob, story.signature(people.bob.key(), changed)),
        "SignatureRefused: BadSignature",
        "The signature does not match the text",
    )


def test_a_changed_signature_is_refused(story: Story, people: People, request_: str, refused: Callable[..., None]) -> None:
    blob = bytearray(dearmor(story.signature(people.bob.key(), text_of(story, request_))))
    blob[-10] ^= 1
    refused(story.bring(request_, people.bob, armor(bytes(blob))), "SignatureRefused: BadSignature")


def test_another_change_requests_is_refused(story: Story, people: People, request_: str, refused: Callable[..., None]) -> None:
    other = story.ask("kiro", path("namespaces", story.namespace()))
    refused(story.bring(request_, people.bob, story.signature(people.bob.key(), text_of(story, other))), "SignatureRefused: BadSignature")


def test_a_request_that_is_not_there_is_named(story: Story, people: People, request_: str) -> None:
    signature = story.signature(people.bob.key(), text_of(story, request_))
    reply = story.bring("delete-namespace-nothing-00000000", people.bob, signature)
    assert reply.answer.status == 403
    assert reply.fault == "NoSuchChangeRequest"
    assert "copy the name from the refusal" in reply.message


def test_a_request_whose_text_is_not_what_its_fields_say_is_refused(story: Story, people: People, request_: str, namespace: str) -> None:
    """Written with the webhook's own credentials: whoever holds those must still not make bob sign one thing for another."""
    spec = story.request(request_)["spec"]
    harmless = spec["statement"].replace(f'"{namespace}"', '"scratch"')
    name = f"{request_}ff"
    forged = story.send(
        story.webhook_account(), "POST", path("changerequests"), manifest("ChangeRequest", name, spec | {"statement": harmless})
    )
    assert forged.ok, str(forged)
    for text in (harmless, spec["statement"]):
        reply = story.bring(name, people.bob, story.signature(people.bob.key(), text))
        assert reply.fault == "StatementDiffers", str(reply)
        assert "do not sign it" in reply.message
    assert story.approvals(name) == []


def _cut(armored: str) -> str:
    return "\n".join(armored.splitlines()[:2])


@pytest.mark.parametrize(
    ("spoil", "status"),
    [
        pytest.param(lambda _: "signed, bob", 403, id="words"),
        pytest.param(_cut, 403, id="cut off"),
        pytest.param(lambda good: good + good, 403, id="two of them"),
        pytest.param(lambda good: good.replace("SSH SIGNATURE", "PGP SIGNATURE"), 403, id="pgp"),
        pytest.param(lambda good: armor(dearmor(good) + b"\0"), 403, id="a byte more"),
        pytest.param(lambda good: base64.b64encode(good.encode()).decode(), 403, id="encoded twice"),
        pytest.param(lambda _: "", 422, id="empty"),
        pytest.param(lambda _: "x" * 16_385, 422, id="too long"),
    ],
)
def test_a_malformed_signature_is_refused(
    story: Story, people: People, request_: str, refused: Callable[..., None], spoil: Callable[[str], str], status: int
) -> None:
    good = story.signature(people.bob.key(), text_of(story, request_))
    reply = story.bring(request_, people.bob, spoil(good))
    if status == 403:
        refused(reply, "SignatureRefused: Malformed", "The signature cannot be read", "sign again with `ssh-keygen -Y sign`")
    else:
        assert reply.answer.status == status, str(reply)
        assert story.approvals(request_) == []


# --- afterwards -----------------------------------------------------------------------------------


def test_an_approval_never_changes_and_is_not_taken_back_by_deleting(cluster: Cluster, story: Story, people: People, request_: str) -> None:
    story.signed(request_, people.bob)
    [stored] = story.approvals(request_)
    url = path("approvals", stored["metadata"]["name"])
    change: dict[str, Any] = {"spec": {"decision": "Reject"}}
    for user in ("bob", "alice", "rogue"):
        api = cluster.api_as(user)
        assert api.request("PATCH", url, change, content_type="application/merge-patch+json").status in (403, 422)
        assert api.request("DELETE", url).status == 403
    assert story.approvals(request_)[0]["spec"] == stored["spec"]


def test_a_key_that_expires_after_signing_counts_no_more(
    cluster: Cluster, story: Story, people: People, request_: str, namespace: str
) -> None:
    """Shortening a key's life is free to a human, like taking it out."""
    story.signed(request_, people.ivan)
    story.wait_for(request_, "Approved")
    url = path("reviewers", people.ivan.name)
    before = cluster.api.get(url)["spec"]["keys"]
    ended = [key | ({"notAfter": "2021-01-01T00:00:00Z"} if key["name"] == "main" else {}) for key in before]
    cluster.api.patch(url, {"spec": {"keys": ended}})
    reply = story.delete("kiro", path("namespaces", namespace))
    assert reply.outcome == "Pending", str(reply)
    assert "(0 of 1, " in reply.message
    waiting.until(lambda: not story.request(request_)["status"].get("approvals"), "the status was to show no signature", timeout=20)
