"""`python -m countersign`: the processes of a cluster and the tools for people."""

import logging
import os
import sys
from collections.abc import Callable, Sequence

from countersign.settings import Settings, SettingsError, read

_USAGE = """\
usage: countersign COMMAND

  webhook            answer admission reviews (configured by COUNTERSIGN_* in the environment)
  operator           keep guards, labels, status and certificates true
  posture [FILE]     what agents could do, and which ways round their rights leave open
  selftest           whether an agent's deletion is held back, tried out by a throw-away agent (what helm test runs)
  log verify [FILE]  check the hash chain of a decision log
  --version          print the version

No AI agent deletes an environment until a second human has signed for it. See docs/ for the rest.
"""
_UNUSABLE = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0 fine, 1 the command failed, 2 it was not usable."""
    match list(sys.argv[1:] if arguments is None else arguments):
        case ["webhook"]:
            return _process("0.0.0.0:8443", _webhook)
        case ["operator"]:
            return _process("0.0.0.0:8080", _operator)
        case ["posture", *rest]:
            from countersign.entrypoints.posture import posture_command  # noqa: PLC0415  # as below

            return posture_command(rest)
        case ["selftest", *rest]:
            from countersign.entrypoints.selftest import selftest_command  # noqa: PLC0415  # as below

            return selftest_command(rest)
        case ["log", "verify", *rest]:
            from countersign.entrypoints.log import verify_command  # noqa: PLC0415  # each command loads only what it needs

            return verify_command(rest)
        case ["--version"]:
            from importlib.metadata import version  # noqa: PLC0415  # as above

            print(version("countersign"))
            return 0
        case ["--help" | "-h" | "help"]:
            print(_USAGE, end="")
            return 0
        case _:
            print(_USAGE, end="", file=sys.stderr)
            return _UNUSABLE


def _process(listen: str, run: Callable[[Settings], int]) -> int:
    try:
        settings = read(os.environ, listen=listen)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return _UNUSABLE
    logging.basicConfig(stream=sys.stderr, level=settings.log_level.upper(), format="%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    return run(settings)


def _webhook(settings: Settings) -> int:
    from countersign.entrypoints.serve import run_webhook  # noqa: PLC0415  # as above

    return run_webhook(settings)


def _operator(settings: Settings) -> int:
    from countersign.entrypoints.operator import run_operator  # noqa: PLC0415  # as above

    return run_operator(settings)


if __name__ == "__main__":
    sys.exit(main())
