"""Public keys: every kind that we accept, made by ssh-keygen or the software authenticator; every kind that we refuse, by name."""

from base64 import b64encode
from collections.abc import Iterator
from functools import cache
from typing import NoReturn

import pytest
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from countersign.domain import sshkey
from countersign.domain.sshkey import KeyFault, KeyRefused, PublicKey, parse_public_key
from tests.support import sshkeygen
from tests.support.authenticator import SoftwareAuthenticator, blob_of, public_line, ssh_mpint, ssh_string

P = 2**255 - 19
D = -121665 * pow(121666, -1, P) % P

TYPES = {
    "ed25519": "ssh-ed25519",
    "ecdsa-256": "ecdsa-sha2-nistp256",
    "ecdsa-384": "ecdsa-sha2-nistp384",
    "ecdsa-521": "ecdsa-sha2-nistp521",
    "rsa-3072": "ssh-rsa",
}


@cache
def accepted_lines() -> tuple[str, ...]:
    """One line of every kind that we accept."""
    hardware = (SoftwareAuthenticator("ed25519"), SoftwareAuthenticator("ecdsa", "ssh:prod"))
    return tuple(sshkeygen.pair(name).public_key for name in sshkeygen.ACCEPTED) + tuple(key.public_key for key in hardware)


def spelled(kind: str, blob: bytes | bytearray) -> str:
    """A line whose type need not be that of the blob."""
    return f"{kind} {b64encode(blob).decode()}"


def refused(text: str) -> KeyRefused:
    with pytest.raises(KeyRefused) as caught:
        parse_public_key(text)
    return caught.value


# --- accepted


@pytest.mark.parametrize("name", sshkeygen.ACCEPTED)
def test_a_key_of_ssh_keygen(name: str) -> None:
    line = sshkeygen.pair(name).public_key
    key = parse_public_key(line)
    assert key == PublicKey(TYPES[name], blob_of(line), hardware=False)
    assert [key.fingerprint] == sshkeygen.fingerprints([line])


@pytest.mark.parametrize("application", ["ssh:", "ssh:prod", "ssh:büro"])
@pytest.mark.parametrize("kind", ["ed25519", "ecdsa"])
def test_a_hardware_key(kind: str, application: str) -> None:
    authenticator = SoftwareAuthenticator("ed25519" if kind == "ed25519" else "ecdsa", application)
    key = parse_public_key(authenticator.public_key)
    assert key == PublicKey(authenticator.type, authenticator.blob, hardware=True)
    assert [key.fingerprint] == sshkeygen.fingerprints([authenticator.public_key])


def test_what_surrounds_a_key_is_no_part_of_it() -> None:
    bare = " ".join(sshkeygen.pair("ed25519").public_key.split()[:2])
    key = parse_public_key(bare)
    for text in (
        f"{bare}\n",
        f"\n  {bare}\r\n",
        f"{bare} bob@example.com\n",
        bare.replace(" ", "\t "),
        f"{bare} Bob's key, PRIVATE KEY at home\n",
    ):
        assert parse_public_key(text) == key


@pytest.mark.parametrize("bits", [3072, 16384])
def test_rsa_at_the_bounds_of_its_size(bits: int) -> None:
    assert parse_public_key(rsa(modulus=2**bits - 1)).type == "ssh-rsa"


# --- refused


def rsa(*, exponent: bytes = ssh_mpint(65537), modulus: int | bytes = 2**3072 - 1) -> str:
    encoded = modulus if isinstance(modulus, bytes) else ssh_mpint(modulus)
    return public_line(ssh_string("ssh-rsa") + exponent + encoded)


def ed25519(point: bytes, kind: str = "ssh-ed25519", tail: bytes = b"") -> str:
    return public_line(ssh_string(kind) + ssh_string(point) + tail)


def ecdsa(point: bytes, size: int = 256, curve: str | None = None) -> str:
    return public_line(ssh_string(f"ecdsa-sha2-nistp{size}") + ssh_string(curve or f"nistp{size}") + ssh_string(point))


def p256(form: PublicFormat = PublicFormat.UncompressedPoint) -> bytes:
    return ec.generate_private_key(ec.SECP256R1()).public_key().public_bytes(Encoding.X962, form)


def p256_with_x(x: int) -> bytes:
    """A point of P-256 with that x, or the next one that has any."""
    p, b = 2**256 - 2**224 + 2**192 + 2**96 - 1, 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
    while True:
        square = (x**3 - 3 * x + b) % p
        root = pow(square, (p + 1) // 4, p)
        if root * root % p == square:
            return b"\x04" + x.to_bytes(32, "big") + root.to_bytes(32, "big")
        x += 1


def line_with_loose_bits() -> str:
    """Base64 whose last character has unused bits set: the same bytes to a lenient decoder."""
    kind, text = public_line(ssh_string("ssh-ed25519") + ssh_string(blob_of(sshkeygen.pair("ed25519").public_key)[-32:])).split()
    extended = b64encode(blob_of(f"{kind} {text}") + b"x").decode()
    assert extended.endswith("=")
    return f"{kind} {extended.rstrip('=')[:-1]}{chr(ord(extended.rstrip('=')[-1]) + 1)}=="


def cases() -> Iterator[tuple[str, str, KeyFault, str]]:
    """(name, line, reason, a part of the sentence)"""
    unreadable, unsupported, weak = KeyFault.UNREADABLE, KeyFault.UNSUPPORTED, KeyFault.WEAK
    good = sshkeygen.pair("ed25519").public_key
    kind, text = good.split()[:2]
    blob = blob_of(good)
    point = blob[-32:]
    hardware = SoftwareAuthenticator("ed25519")

    yield "nothing", "", unreadable, "not one line"
    yield "white space", " \n\t", unreadable, "not one line"
    yield "two keys", good + sshkeygen.pair("ecdsa-256").public_key, unreadable, "not one line"
    yield "a hidden second line", f"{kind} {text} bob\u2028{kind} {text}", unreadable, "not one line"
    yield "only a type", kind, unreadable, "only its type"
    yield "too long", good.strip() + " " + "x" * 16384, unreadable, "longer than 16384"
    yield "a private key", sshkeygen.pair("ed25519").path.read_text(), unreadable, "count as leaked"
    yield "an old private key", "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----\n", unreadable, "count as leaked"
    yield "options before it", f"no-pty {good}", unsupported, "'no-pty' is not accepted"

    yield "base64 cut short", f"{kind} {text[:-1]}", unreadable, "not base64"
    yield "base64 without padding", public_line(ssh_string(kind) + ssh_string(point) + b"x").rstrip("="), unreadable, "not base64"
    yield "base64 with padding behind it", f"{kind} {text}====", unreadable, "base64"
    yield "base64 with loose bits", line_with_loose_bits(), unreadable, "more than one reading"
    yield "base64 of the web", f"{kind} {text[:-1]}_", unreadable, "not base64"
    yield "base64 with a letter of another alphabet", f"{kind} \N{CYRILLIC CAPITAL LETTER A}{text[1:]}", unreadable, "not base64"
    yield "a lone surrogate", f"{kind} \ud800{text[1:]}", unreadable, "not base64"

    yield "a blob that ends early", public_line(blob[:-1]), unreadable, "ends too early"
    yield "a blob that goes on", public_line(blob + b"\0"), unreadable, "follows its end"
    yield "a blob with a length of 4 GiB", spelled(kind, b"\xff" * 40), unreadable, "ends too early"
    yield "an empty blob", f"{kind} ====", unreadable, "base64"
    yield "a type that is not text", spelled(kind, ssh_string(b"ssh-\xff")), unreadable, "not printable ASCII"
    yield (
        "a type with a NUL",
        spelled(kind, ssh_string(kind + "\0") + ssh_string(point)),
        unreadable,
        "not printable ASCII",
    )
    yield "another type in front", f"ecdsa-sha2-nistp256 {text}", unreadable, "calls it ecdsa-sha2-nistp256, but inside it is ssh-ed25519"
    yield "a hardware type in front", f"{hardware.type} {text}", unreadable, "but inside it is ssh-ed25519"
    yield "another type inside", spelled(kind, hardware.blob), unreadable, f"but inside it is {hardware.type}"

    yield "dsa", sshkeygen.pair("dsa").public_key, weak, "DSA"
    yield "dsa inside", f"{kind} {sshkeygen.pair('dsa').public_key.split()[1]}", weak, "DSA"
    yield "a certificate", sshkeygen.certificate(sshkeygen.pair("ed25519"), sshkeygen.pair("ecdsa-256")), unsupported, "Certificates"
    yield "ed448", public_line(ssh_string("ssh-ed448") + ssh_string(bytes(57))), unsupported, "'ssh-ed448' is not accepted"
    yield "a signature's name", f"rsa-sha2-512 {text}", unsupported, "'rsa-sha2-512' is not accepted"
    yield "a webauthn signature's name", f"webauthn-sk-ecdsa-sha2-nistp256@openssh.com {text}", unsupported, "'webauthn-sk-ecdsa-sha2-"
    yield "a type to confuse a terminal", f"\x1b[2J {text}", unsupported, r"'\x1b[2J'"
    yield "a type without end", f"{'x' * 9000} {text}", unsupported, f"'{'x' * 64}' is"

    yield "rsa-2048", sshkeygen.pair("rsa-2048").public_key, weak, "2048 bits, and 3072 is the least"
    yield "rsa of 3071 bits", rsa(modulus=2**3071 - 1), weak, "3071 bits"
    yield "rsa of 16385 bits", rsa(modulus=2**16385 - 1), unsupported, "16385 bits, and 16384 is the most"
    yield "rsa of one bit", rsa(modulus=1), weak, "1 bits"
    yield "rsa with an even modulus", rsa(modulus=2**3072 - 2), weak, "even modulus"
    yield "rsa with an even exponent", rsa(exponent=ssh_mpint(65536)), weak, "bad exponent"
    yield "rsa with the exponent 1", rsa(exponent=ssh_mpint(1)), weak, "bad exponent"
    yield "rsa with a huge exponent", rsa(exponent=ssh_mpint(2**64 + 1)), weak, "bad exponent"
    yield "rsa with the exponent 0", rsa(exponent=ssh_mpint(0)), unreadable, "not positive"
    yield "rsa with the exponent 0, spelled out", rsa(exponent=ssh_string(b"\0")), unreadable, "needless leading zeros"
    yield "rsa with a negative exponent", rsa(exponent=ssh_string(b"\xff")), unreadable, "not positive"
    yield "rsa with a negative modulus", rsa(modulus=ssh_string(b"\xff" * 384)), unreadable, "not positive"
    yield "rsa with a longer spelling", rsa(modulus=ssh_string(b"\0\0" + b"\xff" * 384)), unreadable, "needless leading zeros"

    yield "ed25519 of 31 bytes", ed25519(point[:31]), unreadable, "not 32 bytes"
    yield "ed25519 of 33 bytes", ed25519(point + b"\0"), unreadable, "not 32 bytes"
    yield "ed25519 beside the curve", ed25519((2).to_bytes(32, "little")), unreadable, "not on its curve"
    yield "ed25519 with a longer spelling", ed25519((P + 3).to_bytes(32, "little")), unreadable, "not on its curve"
    yield "ed25519, the neutral point with a longer spelling", ed25519((P + 1).to_bytes(32, "little")), unreadable, "not on its curve"
    for number, low in enumerate(low_order_points()):
        yield f"ed25519 of low order, {number}", ed25519(low), weak, "low order"
        hardware_line = ed25519(low, hardware.type, ssh_string("ssh:"))
        yield f"ed25519 of low order, {number}, as if in hardware", hardware_line, weak, "low order"

    uncompressed = p256()
    yield "ecdsa, compressed", ecdsa(p256(PublicFormat.CompressedPoint)), unreadable, "not an uncompressed one"
    yield "ecdsa, hybrid", ecdsa(bytes([6 + uncompressed[-1] % 2]) + uncompressed[1:]), unreadable, "not an uncompressed one"
    yield "ecdsa, the point at infinity", ecdsa(b"\0"), unreadable, "not an uncompressed one"
    yield "ecdsa, no point", ecdsa(b""), unreadable, "not an uncompressed one"
    yield "ecdsa beside the curve", ecdsa(uncompressed[:-1] + bytes([uncompressed[-1] ^ 1])), unreadable, "not on its curve"
    yield "ecdsa with a tiny coordinate", ecdsa(p256_with_x(5)), weak, "outside the bounds"
    yield "ecdsa with a coordinate beyond the order", ecdsa(b"\x04" + b"\xff" * 64), weak, "outside the bounds"
    yield "ecdsa on the wrong curve", ecdsa(uncompressed, 384), unreadable, "not an uncompressed one"
    yield "ecdsa of another curve's name", ecdsa(uncompressed, 256, "nistp384"), unreadable, "curve is not that of its type"

    for foreign in ("https://example.com", "", "SSH:", "xssh:"):
        yield f"a hardware key for {foreign!r}", SoftwareAuthenticator("ed25519", foreign).public_key, unsupported, "not made for SSH"
    yield "an ecdsa hardware key for a site", SoftwareAuthenticator("ecdsa", "example.com").public_key, unsupported, "not made for SSH"
    yield "a hardware key with a NUL", SoftwareAuthenticator("ed25519", "ssh:\0").public_key, unreadable, "NUL"
    yield "a hardware key without application", ed25519(point, hardware.type), unreadable, "ends too early"


@cache
def low_order_points() -> tuple[bytes, ...]:
    """The encodings of the eight points whose order divides 8, and those of (0, 1) and (0, -1) again with the sign of x set."""
    prime_order = 2**252 + 27742317777372353535851937790883648493
    ys = (y for y in range(2, 99) if pow(x_squared(y), (P - 1) // 2, P) == 1)
    small = (multiply(prime_order, (square_root(x_squared(y)), y)) for y in ys)
    generator = next(point for point in small if multiply(4, point) != (0, 1))
    assert multiply(8, generator) == (0, 1)
    multiples = [multiply(factor, generator) for factor in range(8)]
    signed = [y | (x & 1) << 255 for x, y in multiples] + [y | 1 << 255 for x, y in multiples if x == 0]
    return tuple(number.to_bytes(32, "little") for number in signed)


def x_squared(y: int) -> int:
    return (y * y - 1) * pow(D * y * y + 1, -1, P) % P


def square_root(square: int) -> int:
    root = pow(square, (P + 3) // 8, P)
    return root if root * root % P == square else root * pow(2, (P - 1) // 4, P) % P


def add(a: tuple[int, int], b: tuple[int, int]) -> tuple[int, int]:
    product = D * a[0] * b[0] * a[1] * b[1]
    x = (a[0] * b[1] + a[1] * b[0]) * pow(1 + product, -1, P) % P
    y = (a[1] * b[1] + a[0] * b[0]) * pow(1 - product, -1, P) % P
    return x, y


def multiply(factor: int, point: tuple[int, int]) -> tuple[int, int]:
    result = (0, 1)
    while factor:
        if factor & 1:
            result = add(result, point)
        point, factor = add(point, point), factor >> 1
    return result


def test_every_refusal_has_its_name() -> None:
    rows = list(cases())
    assert len({name for name, *_ in rows}) == len(rows) > 80
    for name, line, reason, part in rows:
        refusal = refused(line)
        assert (refusal.reason, part in str(refusal)) == (reason, True), f"{name}: {refusal.reason}: {refusal}"
        assert str(refusal).isprintable(), name
        assert str(refusal).endswith("."), name
        assert len(str(refusal)) < 500, name


def test_eight_points_have_low_order() -> None:
    encodings = set(low_order_points())
    assert len(encodings) == 10  # eight points; the two with x = 0 have a second spelling, with the sign set
    assert {int.from_bytes(point, "little") & (2**255 - 1) for point in encodings} == sshkey._LOW_ORDER


def test_a_type_that_openssl_does_not_know(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_reader: object) -> NoReturn:
        raise UnsupportedAlgorithm("no such thing in FIPS mode")

    monkeypatch.setattr(sshkey, "_READERS", {**sshkey._READERS, "ssh-ed25519": missing})
    refusal = refused(sshkeygen.pair("ed25519").public_key)
    assert refusal.reason is KeyFault.UNSUPPORTED
    assert "another type" in str(refusal)


# --- whatever comes


def accepted_as(text: str) -> PublicKey | None:
    try:
        return parse_public_key(text)
    except KeyRefused:
        return None


@given(st.text() | st.binary().map(lambda raw: spelled("ssh-ed25519", raw)))
@settings(max_examples=300, deadline=None)
def test_nothing_but_a_refusal_escapes(text: str) -> None:
    assert accepted_as(text) is None


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_a_changed_key_is_refused_or_is_another_sound_key(data: st.DataObject) -> None:
    blob = bytearray(blob_of(data.draw(st.sampled_from(accepted_lines()))))
    start = data.draw(st.integers(0, len(blob)))
    blob[start : start + data.draw(st.integers(0, 9))] = data.draw(st.binary(max_size=9))
    try:
        line = public_line(bytes(blob))
    except (UnicodeDecodeError, ValueError):
        line = spelled("ssh-ed25519", blob)
    key = accepted_as(line)
    if key is not None:
        assert key.blob == bytes(blob)
        assert line == spelled(key.type, key.blob)


def test_ssh_keygen_accepts_whatever_we_accept() -> None:
    """Flip each bit of every kind of key; what we still accept, ssh-keygen must read as the same key."""
    accepted = []
    for line in accepted_lines():
        blob = blob_of(line)
        flipped = range(0, len(blob) * 8, 1 if len(blob) < 100 else 7)
        for bit in flipped:
            changed = bytearray(blob)
            changed[bit // 8] ^= 1 << bit % 8
            key = accepted_as(spelled(line.split()[0], changed))
            if key is not None:
                accepted.append(key)
    assert len(accepted) > 300
    assert sshkeygen.fingerprints(spelled(key.type, key.blob) for key in accepted) == [key.fingerprint for key in accepted]
