"""Held against two others: OpenSSH's own `ssh-keygen -Y verify`, and asyncssh.

The floor is ssh-keygen: what it refuses, we refuse. What we refuse beyond it stands here row by row.
"""

from collections.abc import Callable
from dataclasses import replace
from random import Random

import asyncssh
import pytest
from asyncssh.sshsig import SSHAllowedSigners

from countersign.domain.sshkey import KeyRefused, parse_public_key
from countersign.domain.sshsig import APPROVE, REJECT, SignatureFault, SignatureRefused, parse_signature, verify
from tests.support import sshkeygen
from tests.support.authenticator import SoftwareAuthenticator, Sshsig, armor, dearmor, take_apart

MESSAGE = b"kube-countersign.dev/v1alpha1\n"
SOFTWARE = ("ed25519", "ecdsa-256", "ecdsa-384", "ecdsa-521", "rsa-3072")
SIGNERS = (*SOFTWARE, "sk-ed25519", "sk-ecdsa")
AUTHENTICATORS = {"sk-ed25519": SoftwareAuthenticator("ed25519"), "sk-ecdsa": SoftwareAuthenticator("ecdsa")}


def signed(signer: str, message: bytes = MESSAGE, namespace: str = APPROVE, hash_algorithm: str = "sha512") -> tuple[str, str]:
    """(public key line, armored signature)"""
    key = AUTHENTICATORS.get(signer) or sshkeygen.pair(signer)
    return key.public_key, key.sign(message, namespace, hash_algorithm)


def we_accept(public_key: str, message: bytes, armored: str, namespace: str) -> bool:
    """As callers do it: the key inside must be the one that is registered."""
    try:
        signature = parse_signature(armored)
        verify(signature, message, namespace)
        return signature.key.blob == parse_public_key(public_key).blob
    except (SignatureRefused, KeyRefused):
        return False


def asyncssh_accepts(public_key: str, message: bytes, armored: str, namespace: str) -> bool:
    # Without `namespaces=` it would not look at the namespace at all.
    allowed = SSHAllowedSigners(f'someone namespaces="{namespace}" {public_key}')
    return asyncssh.validate_sshsig(message, armored.encode(), "someone", allowed)


@pytest.mark.parametrize("hash_algorithm", ["sha256", "sha512"])
@pytest.mark.parametrize("signer", SIGNERS)
def test_all_three_accept(signer: str, hash_algorithm: str) -> None:
    for message in (b"", MESSAGE, bytes(range(256)) * 40):
        public_key, armored = signed(signer, message, REJECT, hash_algorithm)
        assert we_accept(public_key, message, armored, REJECT)
        assert sshkeygen.verifies(public_key, message, armored, REJECT)
        assert asyncssh_accepts(public_key, message, armored, REJECT)


@pytest.mark.parametrize("signer", SIGNERS)
def test_all_three_refuse(signer: str) -> None:
    public_key, armored = signed(signer)
    stranger = signed("ed25519/stranger")[0]
    for key, message, namespace in ((public_key, MESSAGE + b" ", APPROVE), (public_key, MESSAGE, REJECT), (stranger, MESSAGE, APPROVE)):
        assert not we_accept(key, message, armored, namespace)
        assert not sshkeygen.verifies(key, message, armored, namespace)
        assert not asyncssh_accepts(key, message, armored, namespace)


@pytest.mark.parametrize("hash_name", ["sha256", "sha512"])
@pytest.mark.parametrize("signer", SOFTWARE)
def test_a_signature_made_by_asyncssh(signer: str, hash_name: str) -> None:
    pair = sshkeygen.pair(signer)
    private = asyncssh.import_private_key(pair.path.read_bytes())
    armored = asyncssh.create_sshsig(private, MESSAGE, hash_name=hash_name, namespace=APPROVE).decode()
    assert we_accept(pair.public_key, MESSAGE, armored, APPROVE)
    assert sshkeygen.verifies(pair.public_key, MESSAGE, armored, APPROVE)


@pytest.mark.parametrize("signer", SIGNERS)
def test_whatever_ssh_keygen_refuses_we_refuse(signer: str) -> None:
    """Random changes (the same in every run), and the verdicts side by side."""
    random = Random(signer)
    public_key, armored = signed(signer)
    valid = dearmor(armored)
    for _ in range(40):
        changed = bytearray(valid)
        for _ in range(random.choice((1, 1, 1, 2, 8))):
            changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
        other = armor(bytes(changed))
        verdicts = (we_accept(public_key, MESSAGE, other, APPROVE), sshkeygen.verifies(public_key, MESSAGE, other, APPROVE))
        assert verdicts in {(False, False), (False, True)} or bytes(changed) == valid


def trailing_nul(parts: Sshsig) -> str:
    return replace(parts, namespace=f"{APPROVE}\0", hash_algorithm="sha512\0").armored()


BEYOND: dict[str, tuple[Callable[[str], str], SignatureFault]] = {
    "version 0": (lambda armored: replace(take_apart(armored), version=0).armored(), SignatureFault.UNSUPPORTED),
    "reserved data that nobody signed": (
        lambda armored: replace(take_apart(armored), reserved=b"anything").armored(),
        SignatureFault.UNSUPPORTED,
    ),
    "names that end in a NUL": (lambda armored: trailing_nul(take_apart(armored)), SignatureFault.MALFORMED),
    "text behind the last line": (lambda armored: f"{armored}anything\n", SignatureFault.MALFORMED),
    "text behind the end of the last line": (lambda armored: f"{armored.rstrip()}anything\n", SignatureFault.MALFORMED),
    "white space in the base64": (lambda armored: armored.replace("U1NI", "U1 N\tI"), SignatureFault.MALFORMED),
    "empty lines": (lambda armored: armored.replace("\n", "\n\n").replace("-\n\n", "-\n"), SignatureFault.MALFORMED),
}


@pytest.mark.parametrize("name", BEYOND)
def test_what_ssh_keygen_accepts_and_we_refuse(name: str) -> None:
    """Each is another spelling of the same signature. The others have tests of their own: untouched hardware keys, weak keys, short RSA."""
    spell, reason = BEYOND[name]
    public_key, armored = signed("ed25519")
    other = spell(armored)
    assert other != armored
    with pytest.raises(SignatureRefused) as caught:
        parse_signature(other)
    assert caught.value.reason is reason
    assert sshkeygen.verifies(public_key, MESSAGE, other, APPROVE)
