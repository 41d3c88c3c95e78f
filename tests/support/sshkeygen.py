"""The real `ssh-keygen`: makes keys, signs and judges for the tests. A few milliseconds a call; keys are made once a process."""

import atexit
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

PRINCIPAL: Final = "someone@example.com"

# name of the pair → arguments that make it. Those that we accept, then those that we refuse.
ACCEPTED: Final[Mapping[str, tuple[str, ...]]] = {
    "ed25519": ("-t", "ed25519"),
    "ecdsa-256": ("-t", "ecdsa", "-b", "256"),
    "ecdsa-384": ("-t", "ecdsa", "-b", "384"),
    "ecdsa-521": ("-t", "ecdsa", "-b", "521"),
    "rsa-3072": ("-t", "rsa", "-b", "3072"),
}
REFUSED: Final[Mapping[str, tuple[str, ...]]] = {
    "rsa-2048": ("-t", "rsa", "-b", "2048"),
    "dsa": ("-t", "dsa"),
}


@dataclass(frozen=True)
class KeyPair:
    """A private key file; `public_key` is the line of its .pub file."""

    path: Path
    public_key: str

    def sign(self, message: bytes, namespace: str, hash_algorithm: str = "sha512") -> str:
        """`ssh-keygen -Y sign`: the armored signature, as it stands in a .sig file."""
        done = _run("-Y", "sign", "-n", namespace, "-O", f"hashalg={hash_algorithm}", "-f", str(self.path), stdin=message)
        return _output(done)


@cache
def pair(name: str) -> KeyPair:
    """The key of that name (of ACCEPTED or REFUSED), or a further one of its type: `pair("ed25519/other")`."""
    kind = name.partition("/")[0]
    return make_pair(folder() / name.replace("/", "-"), *{**ACCEPTED, **REFUSED}[kind])


def make_pair(path: Path, *arguments: str) -> KeyPair:
    _output(_run("-q", "-N", "", "-C", f"{path.name} of the tests", "-f", str(path), *arguments))
    return KeyPair(path, path.with_name(f"{path.name}.pub").read_text())


def certificate(subject: KeyPair, authority: KeyPair) -> str:
    """The line of a user certificate for the subject's key."""
    copy = folder() / f"{subject.path.name}-certified.pub"
    copy.write_text(subject.public_key)
    _output(_run("-q", "-s", str(authority.path), "-I", "tests", "-n", PRINCIPAL, str(copy)))
    return copy.with_name(f"{copy.stem}-cert.pub").read_text()


def verifies(public_key: str, message: bytes, armored: str, namespace: str) -> bool:
    """`ssh-keygen -Y verify`, with this one key allowed to sign for anything."""
    with tempfile.TemporaryDirectory(dir=folder()) as name:
        allowed, signature = Path(name, "allowed_signers"), Path(name, "signature")
        allowed.write_text(f"{PRINCIPAL} {public_key.strip()}\n")
        signature.write_bytes(armored.encode("utf-8", "surrogatepass"))
        arguments = ("-Y", "verify", "-f", str(allowed), "-I", PRINCIPAL, "-n", namespace, "-s", str(signature))
        return _run(*arguments, stdin=message).returncode == 0


def fingerprints(public_keys: Iterable[str]) -> list[str]:
    """`ssh-keygen -l` over all the lines in one call: one fingerprint for each that it can read, the others are left out."""
    with tempfile.NamedTemporaryFile("w", dir=folder(), suffix=".pub") as file:
        file.writelines(f"{line.strip()}\n" for line in public_keys)
        file.flush()
        return [line.split()[1] for line in _run("-l", "-f", file.name).stdout.decode().splitlines()]


@cache
def folder() -> Path:
    """A private folder that goes with the process."""
    path = Path(tempfile.mkdtemp(prefix="countersign-sshkeygen-"))
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


def _run(*arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    program = shutil.which("ssh-keygen")
    assert program is not None, "these tests need ssh-keygen: install the OpenSSH client"
    # No agent and no configuration of the person who runs the tests.
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder()), "LC_ALL": "C"}
    return subprocess.run([program, *arguments], input=stdin, capture_output=True, env=environment, check=False, timeout=60)


def _output(done: subprocess.CompletedProcess[bytes]) -> str:
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()
