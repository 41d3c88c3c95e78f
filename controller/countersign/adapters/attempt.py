"""One request as somebody else: by a token that was issued for it, with the warnings of the answer."""

import ssl
from pathlib import Path
from typing import Final

import aiohttp

from countersign.domain.document import parse, text
from countersign.domain.selftest import Attempt

_LIMIT: Final = aiohttp.ClientTimeout(total=15)


class DryAttempt:
    """`ca_file`: the authority of the API server's certificate."""

    def __init__(self, server: str, ca_file: Path, user_agent: str) -> None:
        self._server = server
        self._ca_file = ca_file
        self._user_agent = user_agent

    async def dry_delete(self, token: str, path: str) -> Attempt:
        """The answer; `status` 0 and the reason where there is none."""
        headers = {"Authorization": f"Bearer {token}", "Accept": "application/json", "User-Agent": self._user_agent}
        try:
            trust = ssl.create_default_context(cafile=str(self._ca_file))
            async with (
                aiohttp.ClientSession(timeout=_LIMIT, trust_env=False) as session,
                session.delete(f"{self._server}{path}", params={"dryRun": "All"}, headers=headers, ssl=trust) as answer,
            ):
                body = await answer.read()
                return Attempt(answer.status, _message(body), tuple(answer.headers.getall("Warning", ())))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return Attempt(0, f"nothing ({error!r})")


def _message(body: bytes) -> str:
    try:
        tree = parse(body)
    except ValueError:
        return ""
    return text(tree, "message") if isinstance(tree, dict) else ""
