"""`python -m tests.fuzz.readers TARGET [libFuzzer's arguments]`: atheris over one reader, with the package's branches counted."""

import sys
from importlib import import_module

import atheris  # type: ignore[import-untyped]  # it has no types

from tests.fuzz.readers import TARGETS, trees

JSON = ("review", "access")


def _mutate(data: bytes, max_size: int, seed: int) -> bytes:
    """Mostly as a tree; bytes as such often enough that what is no JSON is tried, too."""
    tree = trees.mutate(data, max_size, seed) if seed % 4 else None
    mutated: bytes = atheris.Mutate(data, max_size) if tree is None else tree
    return mutated


def main() -> None:
    target = sys.argv[1] if len(sys.argv) > 1 else ""
    if target not in TARGETS:
        raise SystemExit(f"Name one of {', '.join(TARGETS)}.")
    with atheris.instrument_imports(include=["countersign"]):
        one = import_module(f"tests.fuzz.readers.{target}").one

    def call(data: bytes) -> None:
        one(data)

    arguments = [sys.argv[0], *sys.argv[2:]]
    if target in JSON:
        atheris.Setup(arguments, call, custom_mutator=_mutate)
    else:
        atheris.Setup(arguments, call)
    atheris.Fuzz()


main()
