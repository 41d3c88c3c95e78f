"""Signatures of every kind, made by ssh-keygen or the software authenticator: what proves something, and what each fault is called."""

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import NoReturn

import pytest
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_ssh_private_key
from hypothesis import given, settings
from hypothesis import strategies as st

from countersign.domain import sshsig
from countersign.domain.sshkey import parse_public_key
from countersign.domain.sshsig import APPROVE, REJECT, SignatureFault, SignatureRefused, parse_signature, verify
from tests.support import sshkeygen
from tests.support.authenticator import (
    USER_PRESENT,
    USER_VERIFIED,
    SoftwareAuthenticator,
    Sshsig,
    armor,
    blob_of,
    dearmor,
    signed_data,
    ssh_mpint,
    ssh_string,
    take_apart,
)

MESSAGE = b'kube-countersign.dev/v1alpha1\noperation: "DELETE"\n'
HASHES = ("sha256", "sha512")
P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


@cache
def hardware(kind: str) -> SoftwareAuthenticator:
    return SoftwareAuthenticator("ed25519" if kind == "ed25519" else "ecdsa")


def rsa_key(name: str) -> RSAPrivateKey:
    key = load_ssh_private_key(sshkeygen.pair(name).path.read_bytes(), None)
    assert isinstance(key, RSAPrivateKey)
    return key


def fault(armored: str, message: bytes = MESSAGE, namespace: str = APPROVE) -> SignatureRefused:
    with pytest.raises(SignatureRefused) as caught:
        verify(parse_signature(armored), message, namespace)
    return caught.value


# --- what proves something


@pytest.mark.parametrize("hash_algorithm", HASHES)
@pytest.mark.parametrize("name", sshkeygen.ACCEPTED)
def test_a_signature_of_ssh_keygen(name: str, hash_algorithm: str) -> None:
    pair = sshkeygen.pair(name)
    signature = parse_signature(pair.sign(MESSAGE, APPROVE, hash_algorithm))
    verify(signature, MESSAGE, APPROVE)
    assert signature.key == parse_public_key(pair.public_key)
    assert (signature.namespace, signature.hash_algorithm) == (APPROVE, hash_algorithm)


@pytest.mark.parametrize("hash_algorithm", HASHES)
@pytest.mark.parametrize("flags", [USER_PRESENT, USER_PRESENT | USER_VERIFIED])
@pytest.mark.parametrize("kind", ["ed25519", "ecdsa"])
def test_a_signature_of_a_touched_hardware_key(kind: str, flags: int, hash_algorithm: str) -> None:
    armored = hardware(kind).sign(MESSAGE, REJECT, hash_algorithm, flags=flags)
    signature = parse_signature(armored)
    verify(signature, MESSAGE, REJECT)
    assert signature.key == parse_public_key(hardware(kind).public_key)
    assert signature.key.hardware
    assert (signature.flags, signature.counter) == (flags, hardware(kind).counter)


@pytest.mark.parametrize("algorithm", ["rsa-sha2-256", "rsa-sha2-512"])
def test_both_sha2_signatures_of_rsa(algorithm: str) -> None:
    """ssh-keygen makes rsa-sha2-512 only; other signers make the other."""
    armored = rsa_signature("rsa-3072", algorithm)
    signature = parse_signature(armored)
    verify(signature, MESSAGE, APPROVE)
    assert signature.algorithm == algorithm


@pytest.mark.parametrize("message", [b"", b"\n", b"\0" * 5000, bytes(range(256)), "Ünïcode ✓\r\n".encode()])
def test_any_bytes_can_be_signed(message: bytes) -> None:
    verify(parse_signature(sshkeygen.pair("ed25519").sign(message, APPROVE)), message, APPROVE)


@pytest.mark.parametrize("width", [64, 70, 76, 100000])
def test_the_width_of_lines_is_free(width: int) -> None:
    armored = sshkeygen.pair("ed25519").sign(MESSAGE, APPROVE)
    rewrapped = armor(dearmor(armored), width)
    assert parse_signature(rewrapped) == parse_signature(armored)
    assert parse_signature(rewrapped.removesuffix("\n")) == parse_signature(armored)


def test_either_half_of_an_ecdsa_pair_is_valid() -> None:
    """(r, s) and (r, n - s): ssh-keygen makes either and takes both, and so do we. Signature bytes are nobody's identity."""
    pair = sshkeygen.pair("ecdsa-256")
    armored = pair.sign(MESSAGE, APPROVE)
    parts = take_apart(armored)
    r, s = ecdsa_numbers(parts.inner)
    other = replace(parts, inner=ecdsa_inner(r, P256_ORDER - s)).armored()
    assert other != armored
    verify(parse_signature(other), MESSAGE, APPROVE)
    assert sshkeygen.verifies(pair.public_key, MESSAGE, other, APPROVE)


# --- what does not


SIGNERS = (*sshkeygen.ACCEPTED, "sk-ed25519", "sk-ecdsa")


def sign(signer: str, namespace: str) -> str:
    if signer.startswith("sk-"):
        return hardware(signer.removeprefix("sk-")).sign(MESSAGE, namespace)
    return sshkeygen.pair(signer).sign(MESSAGE, namespace)


@pytest.mark.parametrize("signer", SIGNERS)
def test_another_text(signer: str) -> None:
    armored = sign(signer, APPROVE)
    for other in (MESSAGE.replace(b"DELETE", b"UPDATE"), MESSAGE + b"\n", MESSAGE.removesuffix(b"\n"), b""):
        assert fault(armored, other).reason is SignatureFault.BAD_SIGNATURE


@pytest.mark.parametrize("signer", SIGNERS)
def test_another_namespace(signer: str) -> None:
    armored = sign(signer, REJECT)
    refusal = fault(armored)
    assert refusal.reason is SignatureFault.WRONG_NAMESPACE
    assert f"-n {APPROVE}" in str(refusal)
    # Written over in the signature, it is no longer what was signed.
    assert fault(replace(take_apart(armored), namespace=APPROVE).armored()).reason is SignatureFault.BAD_SIGNATURE


@pytest.mark.parametrize(
    "namespace", ["file", "git", f"{APPROVE} ", APPROVE.upper(), APPROVE[:-1], f"x{APPROVE}", f"{APPROVE},{REJECT}", "*"]
)
def test_a_namespace_that_resembles_ours(namespace: str) -> None:
    assert fault(sshkeygen.pair("ed25519").sign(MESSAGE, namespace)).reason is SignatureFault.WRONG_NAMESPACE


@pytest.mark.parametrize("name", ["ed25519", "ecdsa-256", "ecdsa-384", "ecdsa-521", "rsa-3072"])
def test_a_borrowed_key(name: str) -> None:
    """Mallory signs and puts Bob's public key inside."""
    bob, mallory = sshkeygen.pair(name), sshkeygen.pair(f"{name}/mallory")
    armored = replace(take_apart(mallory.sign(MESSAGE, APPROVE)), key=blob_of(bob.public_key)).armored()
    assert parse_signature(armored).key == parse_public_key(bob.public_key)
    assert fault(armored).reason is SignatureFault.BAD_SIGNATURE
    assert not sshkeygen.verifies(bob.public_key, MESSAGE, armored, APPROVE)


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa"])
def test_a_borrowed_hardware_key(kind: str) -> None:
    bob, mallory = hardware(kind), SoftwareAuthenticator("ed25519" if kind == "ed25519" else "ecdsa")
    armored = replace(take_apart(mallory.sign(MESSAGE, APPROVE)), key=bob.blob).armored()
    assert fault(armored).reason is SignatureFault.BAD_SIGNATURE


def test_a_hardware_key_made_for_another_application_is_another_key() -> None:
    signer = SoftwareAuthenticator("ed25519", "ssh:one")
    renamed = replace(signer, application="ssh:two")
    armored = signer.sign(MESSAGE, APPROVE)
    verify(parse_signature(armored), MESSAGE, APPROVE)
    assert sshkeygen.verifies(signer.public_key, MESSAGE, armored, APPROVE)
    assert fault(replace(take_apart(armored), key=renamed.blob).armored()).reason is SignatureFault.BAD_SIGNATURE


@pytest.mark.parametrize("flags", [0, USER_VERIFIED])
@pytest.mark.parametrize("kind", ["ed25519", "ecdsa"])
def test_a_hardware_key_that_nobody_touched(kind: str, flags: int) -> None:
    armored = hardware(kind).sign(MESSAGE, APPROVE, flags=flags)
    refusal = fault(armored)
    assert refusal.reason is SignatureFault.NO_USER_PRESENCE
    assert "touched" in str(refusal)
    assert sshkeygen.verifies(hardware(kind).public_key, MESSAGE, armored, APPROVE)  # a fact about ssh-keygen, the reason for our check


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa"])
def test_a_touch_cannot_be_added_afterwards(kind: str) -> None:
    parts = take_apart(hardware(kind).sign(MESSAGE, APPROVE, flags=0))
    touched = parts.inner[:-5] + bytes([USER_PRESENT]) + parts.inner[-4:]
    assert fault(replace(parts, inner=touched).armored()).reason is SignatureFault.BAD_SIGNATURE


@pytest.mark.parametrize("bit", [1, 3, 4, 5, 6, 7])
def test_flags_that_mean_something_else(bit: int) -> None:
    """Reserved bits, a key that may be copied off its device (3, 4), data that an SSH signature does not carry (6, 7)."""
    refusal = fault(hardware("ed25519").sign(MESSAGE, APPROVE, flags=USER_PRESENT | 1 << bit))
    assert refusal.reason is SignatureFault.UNSUPPORTED
    assert f"{USER_PRESENT | 1 << bit:#04x}" in str(refusal)


def rsa_signature(name: str, algorithm: str) -> str:
    hash_of = {"ssh-rsa": hashes.SHA1(), "rsa-sha2-256": hashes.SHA256(), "rsa-sha2-512": hashes.SHA512()}
    raw = rsa_key(name).sign(signed_data(MESSAGE, APPROVE), PKCS1v15(), hash_of[algorithm])
    return Sshsig(blob_of(sshkeygen.pair(name).public_key), ssh_string(algorithm) + ssh_string(raw), APPROVE).armored()


def test_sha1_is_weak() -> None:
    armored = rsa_signature("rsa-3072", "ssh-rsa")
    refusal = fault(armored)
    assert refusal.reason is SignatureFault.WEAK
    assert "SHA-1" in str(refusal)
    assert not sshkeygen.verifies(sshkeygen.pair("rsa-3072").public_key, MESSAGE, armored, APPROVE)


@pytest.mark.parametrize(("name", "part"), [("rsa-2048", "2048 bits, and 3072 is the least"), ("dsa", "DSA keys are too weak")])
def test_weak_keys(name: str, part: str) -> None:
    pair = sshkeygen.pair(name)
    armored = pair.sign(MESSAGE, APPROVE)
    refusal = fault(armored)
    assert refusal.reason is SignatureFault.WEAK
    assert part in str(refusal)
    assert sshkeygen.verifies(pair.public_key, MESSAGE, armored, APPROVE)  # so it is for us to refuse


def test_the_other_hash_of_rsa_is_another_signature() -> None:
    parts = take_apart(rsa_signature("rsa-3072", "rsa-sha2-256"))
    raw = parts.inner[len(ssh_string("rsa-sha2-256")) :]
    assert fault(replace(parts, inner=ssh_string("rsa-sha2-512") + raw).armored()).reason is SignatureFault.BAD_SIGNATURE


def test_rsa_signatures_are_as_long_as_their_key() -> None:
    """RFC 8332, section 3, lets a verifier accept one without its leading zeros; ssh-keygen does, and so has two spellings of one signature."""
    key, pair = rsa_key("rsa-3072"), sshkeygen.pair("rsa-3072")
    messages = (b"%d" % number for number in range(100_000))
    signed = ((message, key.sign(signed_data(message, APPROVE), PKCS1v15(), hashes.SHA512())) for message in messages)
    message, raw = next((message, raw) for message, raw in signed if raw[0] == 0)
    whole, stripped = (
        Sshsig(blob_of(pair.public_key), ssh_string("rsa-sha2-512") + ssh_string(spelling), APPROVE).armored()
        for spelling in (raw, raw.lstrip(b"\0"))
    )
    verify(parse_signature(whole), message, APPROVE)
    refusal = fault(stripped, message)
    assert refusal.reason is SignatureFault.MALFORMED
    assert "leading zeros" in str(refusal)
    assert sshkeygen.verifies(pair.public_key, message, stripped, APPROVE)


def ecdsa_numbers(inner: bytes) -> tuple[int, int]:
    rest = inner[len(ssh_string("ecdsa-sha2-nistp256")) + 4 :]
    size = int.from_bytes(rest[:4], "big")
    return int.from_bytes(rest[4 : 4 + size], "big"), int.from_bytes(rest[8 + size :], "big")


def ecdsa_inner(r: int, s: int, tail: bytes = b"") -> bytes:
    return ssh_string("ecdsa-sha2-nistp256") + ssh_string(ssh_mpint(r) + ssh_mpint(s) + tail)


def malformed() -> Iterator[tuple[str, str, SignatureFault, str]]:
    """(name, armored, reason, a part of the sentence)"""
    bad, unsupported, weak = SignatureFault.MALFORMED, SignatureFault.UNSUPPORTED, SignatureFault.WEAK
    armored = sshkeygen.pair("ed25519").sign(MESSAGE, APPROVE)
    parts = take_apart(armored)
    head, *body, foot = armored.removesuffix("\n").split("\n")

    def lines(*text: str) -> str:
        return "\n".join(text) + "\n"

    yield "nothing", "", bad, "does not begin with"
    yield "too long", armored + "\n" * 16384, bad, "longer than 16384"
    yield "Windows line ends", armored.replace("\n", "\r\n"), bad, "CR LF"
    yield "no first line", lines(*body, foot), bad, "does not begin with"
    yield "no last line", lines(head, *body), bad, "does not begin with"
    yield "only the first line", head, bad, "does not begin with"
    yield "one line for both ends", lines(f"{head}{foot}"), bad, "does not begin with"
    yield "an empty body", lines(head, foot), bad, "ends too early"
    yield "another thing's armor", armored.replace("SSH SIGNATURE", "SSH2 SIGNATURE"), bad, "does not begin with"
    yield "indented", lines(*(f"  {line}" for line in (head, *body, foot))), bad, "does not begin with"
    yield "indented inside", lines(head, *(f"  {line}" for line in body), foot), bad, "not base64"
    yield "folded by YAML", armored.replace("\n", " "), bad, "does not begin with"
    yield "a line before it", f"Signature:\n{armored}", bad, "does not begin with"
    yield "a line after it", f"{armored}Good night\n", bad, "does not begin with"
    yield "two of them", armored + armored, bad, "not base64"
    yield "an empty line within", lines(head, body[0], "", *body[1:], foot), bad, "empty line"
    yield "an empty line at the end", f"{armored}\n", bad, "does not begin with"
    yield "a lone surrogate", lines(head, "\ud800", foot), bad, "not base64"
    yield "the statement itself", MESSAGE.decode(), bad, "does not begin with"
    yield "a public key", sshkeygen.pair("ed25519").public_key, bad, "does not begin with"
    blob = parts.blob() + b"x" * (1 + -len(parts.blob()) % 3)
    loose = armor(blob).replace("A==\n", "B==\n")
    yield "loose bits in its base64", loose, bad, "more than one reading"
    yield "padding in the middle", lines(head, "U1NIU0lH=", *body, foot), bad, "not base64"

    yield "other magic", replace(parts, magic=b"SSHSIg").armored(), bad, "not an SSHSIG"
    yield "version 0", replace(parts, version=0).armored(), unsupported, "version 0"
    yield "version 2", replace(parts, version=2).armored(), unsupported, "version 2"
    yield "reserved data", replace(parts, reserved=b"x").armored(), unsupported, "reserved data"
    yield "something behind it", replace(parts, tail=b"\0").armored(), bad, "follows its end"
    yield "no namespace", replace(parts, namespace=b"").armored(), bad, "no namespace"
    yield "a namespace with a NUL", replace(parts, namespace=APPROVE + "\0").armored(), bad, "not printable ASCII"
    yield "a namespace beyond ASCII", replace(parts, namespace="approve@b\xfcro").armored(), bad, "not printable ASCII"
    for name in ("sha1", "md5", "sha384", "SHA512", "sha512 ", "", "shake_128"):
        yield f"the hash {name!r}", replace(parts, hash_algorithm=name).armored(), unsupported, f"hash {name!r}"
    yield "no key", replace(parts, key=b"").armored(), bad, "ends too early"
    yield "a key with a tail", replace(parts, key=parts.key + b"\0").armored(), bad, "follows its end"
    certificate = sshkeygen.certificate(sshkeygen.pair("ed25519"), sshkeygen.pair("ecdsa-256"))
    yield "a certificate", replace(parts, key=blob_of(certificate)).armored(), unsupported, "Certificates are not accepted"
    low = ssh_string("ssh-ed25519") + ssh_string(bytes([1]) + bytes(31))
    # To the neutral point, (R, s) = (neutral, 0) is a signature of any text whatever.
    forged = ssh_string("ssh-ed25519") + ssh_string(bytes([1]) + bytes(63))
    yield "a key of low order", replace(parts, key=low, inner=forged).armored(), weak, "low order"

    raw = parts.inner[-64:]
    yield "no signature", replace(parts, inner=b"").armored(), bad, "ends too early"
    yield "63 bytes", replace(parts, inner=ssh_string("ssh-ed25519") + ssh_string(raw[:63])).armored(), bad, "64 bytes"
    yield "65 bytes", replace(parts, inner=ssh_string("ssh-ed25519") + ssh_string(raw + b"\0")).armored(), bad, "64 bytes"
    yield "a tail inside", replace(parts, inner=parts.inner + b"\0").armored(), bad, "follows its end"
    yield "flags on a plain key", replace(parts, inner=parts.inner + b"\1\0\0\0\1").armored(), bad, "follows its end"
    for algorithm in ("ssh-ed448", "ssh-rsa", "sk-ssh-ed25519@openssh.com", "ssh-ed25519\\", "SSH-ED25519", ""):
        inner = ssh_string(algorithm) + ssh_string(raw)
        yield f"the algorithm {algorithm!r}", replace(parts, inner=inner).armored(), unsupported, f"says {algorithm!r}"

    sk = take_apart(hardware("ecdsa").sign(MESSAGE, APPROVE))
    webauthn = ssh_string("webauthn-sk-ecdsa-sha2-nistp256@openssh.com") + sk.inner[len(ssh_string(hardware("ecdsa").type)) :]
    yield "webauthn", replace(sk, inner=webauthn).armored(), unsupported, "says 'webauthn-sk-ecdsa-sha2-nistp256@openssh.com'"
    yield "a hardware signature without flags", replace(sk, inner=sk.inner[:-5]).armored(), bad, "ends too early"
    yield "a hardware signature with a short counter", replace(sk, inner=sk.inner[:-1]).armored(), bad, "ends too early"
    yield "a hardware signature with a tail", replace(sk, inner=sk.inner + b"\0").armored(), bad, "follows its end"

    p256 = take_apart(sshkeygen.pair("ecdsa-256").sign(MESSAGE, APPROVE))
    r, s = ecdsa_numbers(p256.inner)
    yield "r = 0", replace(p256, inner=ecdsa_inner(0, s)).armored(), bad, "not positive"
    yield "s = 0", replace(p256, inner=ecdsa_inner(r, 0)).armored(), bad, "not positive"
    yield "r + n", replace(p256, inner=ecdsa_inner(r + P256_ORDER, s)).armored(), bad, "below the order"
    yield "s + n", replace(p256, inner=ecdsa_inner(r, s + P256_ORDER)).armored(), bad, "below the order"
    yield "a third number", replace(p256, inner=ecdsa_inner(r, s, ssh_mpint(1))).armored(), bad, "follows its end"
    negative = ssh_string("ecdsa-sha2-nistp256") + ssh_string(ssh_string(b"\x80" + bytes(31)) + ssh_mpint(s))
    yield "a negative r", replace(p256, inner=negative).armored(), bad, "not positive"
    longer = ssh_string("ecdsa-sha2-nistp256") + ssh_string(ssh_string(bytes(2) + r.to_bytes(32, "big")) + ssh_mpint(s))
    yield "an r with zeros in front", replace(p256, inner=longer).armored(), bad, "needless leading zeros"

    rsa = take_apart(sshkeygen.pair("rsa-3072").sign(MESSAGE, APPROVE))
    zero_in_front = ssh_string("rsa-sha2-512") + ssh_string(b"\0" + rsa.inner[-384:])
    yield "an rsa signature with a zero in front", replace(rsa, inner=zero_in_front).armored(), bad, "not as long as the RSA key"
    named = ssh_string("rsa-sha2-384") + ssh_string(rsa.inner[-384:])
    yield "rsa with a hash of its own", replace(rsa, inner=named).armored(), unsupported, "rsa-sha2-256 or rsa-sha2-512"


def test_every_refusal_has_its_name() -> None:
    rows = list(malformed())
    assert len({name for name, *_ in rows}) == len(rows) > 60
    for name, armored, reason, part in rows:
        with pytest.raises(SignatureRefused) as caught:
            parse_signature(armored)
        refusal = caught.value
        assert (refusal.reason, part in str(refusal)) == (reason, True), f"{name}: {refusal.reason}: {refusal}"
        assert str(refusal).isprintable(), name
        assert str(refusal).endswith("."), name
        assert len(str(refusal)) < 500, name


def test_a_signature_of_zeros_is_no_signature() -> None:
    """Well formed, and the classic of verifiers that forget to check: (0, 0), s = 0, R neutral."""
    parts = take_apart(sshkeygen.pair("ed25519").sign(MESSAGE, APPROVE))
    for raw in (bytes(64), bytes([1]) + bytes(63), b"\xff" * 64):
        armored = replace(parts, inner=ssh_string("ssh-ed25519") + ssh_string(raw)).armored()
        assert fault(armored).reason is SignatureFault.BAD_SIGNATURE


def test_ed25519_has_one_s() -> None:
    """RFC 8032, section 5.1.7: s is below the order of the group; s + L would be a second spelling."""
    order = 2**252 + 27742317777372353535851937790883648493
    parts = take_apart(sshkeygen.pair("ed25519").sign(MESSAGE, APPROVE))
    s = int.from_bytes(parts.inner[-32:], "little") + order
    armored = replace(parts, inner=parts.inner[:-32] + s.to_bytes(32, "little")).armored()
    assert fault(armored).reason is SignatureFault.BAD_SIGNATURE


def test_an_algorithm_that_openssl_does_not_know(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object) -> NoReturn:
        raise UnsupportedAlgorithm("no such thing in FIPS mode")

    monkeypatch.setattr(sshsig, "_check_value", missing)
    assert fault(sshkeygen.pair("ed25519").sign(MESSAGE, APPROVE)).reason is SignatureFault.UNSUPPORTED


@given(st.text() | st.binary().map(armor) | st.binary().map(lambda raw: armor(b"SSHSIG\0\0\0\1" + raw)))
@settings(deadline=None)
def test_nothing_but_a_refusal_escapes(text: str) -> None:
    with pytest.raises(SignatureRefused):
        parse_signature(text)
