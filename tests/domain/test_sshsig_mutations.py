"""No signature has a neighbour: whatever one changes in a valid one, in its bytes or in its text, proves nothing any more."""

from collections.abc import Iterator
from functools import cache

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from countersign.domain.sshsig import APPROVE, SignatureRefused, parse_signature, verify
from tests.support import sshkeygen
from tests.support.authenticator import SoftwareAuthenticator, armor, dearmor

MESSAGE = b"kube-countersign.dev/v1alpha1\n"
SIGNERS = ("ed25519", "ecdsa-256", "ecdsa-384", "ecdsa-521", "rsa-3072", "sk-ed25519", "sk-ecdsa")


@cache
def blob(signer: str) -> bytes:
    """A valid signature, the same throughout the process."""
    if signer.startswith("sk-"):
        authenticator = SoftwareAuthenticator("ed25519" if signer == "sk-ed25519" else "ecdsa")
        return dearmor(authenticator.sign(MESSAGE, APPROVE))
    return dearmor(sshkeygen.pair(signer).sign(MESSAGE, APPROVE))


def proves(armored: str) -> bool:
    """Any exception but the one that is promised fails the test."""
    try:
        verify(parse_signature(armored), MESSAGE, APPROVE)
    except SignatureRefused:
        return False
    return True


def neighbours(valid: bytes) -> Iterator[bytes]:
    """Each bit flipped, each byte left out, doubled, zeroed; every shorter beginning; some longer ends."""
    for bit in range(len(valid) * 8):
        yield valid[: bit // 8] + bytes([valid[bit // 8] ^ 1 << bit % 8]) + valid[bit // 8 + 1 :]
    for at in range(len(valid)):
        yield valid[:at]
        yield valid[:at] + valid[at + 1 :]
        yield valid[: at + 1] + valid[at:]
        yield valid[:at] + b"\0" + valid[at + 1 :]
    for tail in (b"\0", b"\n", b"=", b"\xff", b"\0" * 4, valid):
        yield valid + tail


@pytest.mark.parametrize("signer", SIGNERS)
def test_every_neighbour_of_a_signature(signer: str) -> None:
    valid = blob(signer)
    assert proves(armor(valid))
    others = {other for other in neighbours(valid) if other != valid}
    assert len(others) > 2000
    assert [other.hex() for other in others if proves(armor(other))] == []


@given(st.sampled_from(SIGNERS), st.data())
@settings(max_examples=500, deadline=None)
def test_any_splice(signer: str, data: st.DataObject) -> None:
    """Bytes replaced by others, by bytes from elsewhere in it, or by bytes of another signature."""
    valid = blob(signer)
    start = data.draw(st.integers(0, len(valid)))
    end = data.draw(st.integers(start, min(len(valid), start + 70)))
    donor = blob(data.draw(st.sampled_from(SIGNERS)))
    cut = data.draw(st.integers(0, len(donor)))
    inserted = data.draw(st.binary(max_size=70) | st.just(donor[cut : cut + end - start]))
    other = valid[:start] + inserted + valid[end:]
    assume(other != valid)
    assert not proves(armor(other))


@given(st.sampled_from(SIGNERS), st.data())
@settings(max_examples=500, deadline=None)
def test_any_change_of_the_text(signer: str, data: st.DataObject) -> None:
    """The armor carries the signature and is no part of it: text that proves something holds the very same bytes."""
    valid = armor(blob(signer))
    start = data.draw(st.integers(0, len(valid)))
    end = data.draw(st.integers(start, min(len(valid), start + 3)))
    inserted = data.draw(st.text(max_size=3) | st.text("\n\r\t =-ABab01+/", max_size=3))
    other = valid[:start] + inserted + valid[end:]
    if proves(other):
        assert "".join(other.split("\n")) == "".join(valid.split("\n"))
