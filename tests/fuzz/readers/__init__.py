"""What strangers send us, read: one function per reader, `one(data)`, which raises `Finding` (or anything else) where it does what it must not.

The fuzzer calls it with bytes of its own making, `tests/fuzz/test_corpus.py` with those that are kept in `tests/fuzz/corpus`.
"""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Final

TARGETS: Final[Mapping[str, str]] = {
    "review": "an AdmissionReview, through the whole service",
    "access": "a SubjectAccessReview, through the authorizer",
    "signature": "an SSHSIG, read and verified",
    "key": "a public key",
}


class Finding(AssertionError):
    """It was let through, or wrongly read."""


def entry(target: str) -> Callable[[bytes], str]:
    """What says in a few words how the reader answered."""
    one: Callable[[bytes], str] = import_module(f"tests.fuzz.readers.{target}").one
    return one
