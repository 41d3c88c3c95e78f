"""The Kubernetes API in its own JSON, over the asyncio client of the `kubernetes` package.

Only its transport is used: its models refuse fields that they do not know, which a newer API server would send
(https://github.com/kubernetes-client/python/pull/2631), and digests need the numbers as received.
"""

import asyncio
import ssl
from collections.abc import AsyncGenerator, Mapping
from datetime import timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import aiohttp
from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.client.rest import RESTClientObject

from countersign.domain.document import JsonObject, parse, text
from countersign.service.ports import ApiError, Clock, ConflictError, GoneError, NotFoundError

_TOKEN_AGE: Final = 10.0  # seconds; the kubelet renews a token long before it ends
_NOT_FOUND, _CONFLICT, _GONE = 404, 409, 410
_ERRORS: Final[Mapping[int, type[ApiError]]] = {_NOT_FOUND: NotFoundError, _CONFLICT: ConflictError, _GONE: GoneError}


class KubernetesApi:
    """The `Api` port. One instance per process; `close` it at the end."""

    def __init__(self, *, server: str, ca_file: Path, token_file: Path, user_agent: str, clock: Clock | None = None) -> None:
        configuration = Configuration(host=server, ssl_ca_cert=str(ca_file))
        configuration.retries = None
        # The generated client trusts HTTPS_PROXY and ~/.netrc by default; what the API server says decides, so nobody stands in between.
        configuration.client_session_kwargs = {"trust_env": False}
        self._rest = RESTClientObject(configuration)
        self._server = server
        self._token_file = token_file
        self._token = ""
        self._token_read = float("-inf")
        self._user_agent = user_agent
        self._clock = clock
        self.clock_ahead = timedelta()
        """How far our clock is ahead of the API server's, by its last answer (HTTP's Date, whole seconds)."""

    async def close(self) -> None:
        await self._rest.close()

    async def get(
        self, path: str, *, query: Mapping[str, str] | None = None, accept: str = "application/json", timeout: float = 10
    ) -> JsonObject:
        return await self._json("GET", path, query=query, accept=accept, timeout=timeout)

    async def create(self, path: str, body: JsonObject, *, timeout: float = 10) -> JsonObject:
        return await self._json("POST", path, body=body, timeout=timeout)

    async def replace(self, path: str, body: JsonObject, *, timeout: float = 10) -> JsonObject:
        return await self._json("PUT", path, body=body, timeout=timeout)

    async def patch(self, path: str, body: Any, *, content_type: str = "application/merge-patch+json", timeout: float = 10) -> JsonObject:
        return await self._json("PATCH", path, body=body, content_type=content_type, timeout=timeout)

    async def delete(self, path: str, *, uid: str = "", timeout: float = 10) -> None:
        body = {"kind": "DeleteOptions", "apiVersion": "v1", **({"preconditions": {"uid": uid}} if uid else {})}
        await self._json("DELETE", path, body=body, timeout=timeout)

    async def watch(self, path: str, *, resource_version: str, seconds: int) -> AsyncGenerator[JsonObject, None]:
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(seconds),
        }
        # The read timeout outlasts the server's own end, so that only a connection that died in silence meets it.
        limit = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=seconds + 5)
        response = await self._send("GET", path, query=query, limit=limit)
        try:
            async for line in response.content:
                event = _parse(line)
                if event.get("type") == "ERROR":
                    raise _error(event.get("object"))
                yield event
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise ApiError(0, f"The watch of {path} broke: {error!r}.") from error
        finally:
            response.close()

    async def _json(self, method: str, path: str, *, timeout: float, **parts: Any) -> JsonObject:
        try:
            async with asyncio.timeout(timeout):
                response = await self._send(method, path, limit=aiohttp.ClientTimeout(total=timeout), **parts)
                try:
                    return _parse(await response.read())
                finally:
                    response.release()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ApiError(0, f"{method} {path}: no answer from the API server ({error!r}).") from error

    async def _send(
        self,
        method: str,
        path: str,
        *,
        limit: aiohttp.ClientTimeout,
        query: Mapping[str, str] | None = None,
        accept: str = "application/json",
        body: Any = None,
        content_type: str = "application/json",
    ) -> aiohttp.ClientResponse:
        headers = {
            "Accept": accept,
            "Authorization": f"Bearer {await self._fresh_token()}",
            "Content-Type": content_type,
            "User-Agent": self._user_agent,
        }
        url = f"{self._server}{path}?{urlencode(query)}" if query else f"{self._server}{path}"
        try:
            answer = await self._rest.request(  # type: ignore[no-untyped-call]  # generated code without annotations
                method, url, headers=headers, body=body, _request_timeout=limit
            )
        except (aiohttp.ClientError, TimeoutError, ssl.SSLError, OSError) as error:
            raise ApiError(0, f"{method} {path}: the API server is out of reach ({error!r}).") from error
        response: aiohttp.ClientResponse = answer.response
        self._compare_clocks(response.headers.get("Date", ""))
        if not response.ok:
            try:
                raise _refused(response.status, await response.read())
            finally:
                response.release()
        return response

    def _compare_clocks(self, date: str) -> None:
        if self._clock is None or not date:
            return
        try:
            self.clock_ahead = self._clock.now() - parsedate_to_datetime(date)
        except (ValueError, TypeError):  # TypeError: a date without a zone
            return

    async def _fresh_token(self) -> str:
        now = asyncio.get_running_loop().time()
        if now - self._token_read > _TOKEN_AGE:
            try:
                self._token = (await asyncio.to_thread(self._token_file.read_text)).strip()
            except OSError as error:
                raise ApiError(0, f"The token file {self._token_file} cannot be read: {error}.") from error
            self._token_read = now
        return self._token


def _parse(raw: bytes) -> JsonObject:
    try:
        tree = parse(raw)
    except ValueError as error:
        raise ApiError(0, f"The API server's answer is not JSON: {error}.") from error
    return tree if isinstance(tree, dict) else {}


def _refused(status: int, body: bytes) -> ApiError:
    """What an HTTP status and its body say. Only the API server's own word makes something absent: a proxy's 404 does not."""
    try:
        answer = _parse(body)
    except ApiError:
        answer = {}
    if answer.get("code") == status:
        return _error(answer)
    return ApiError(status, f"HTTP status {status}, and not in the API server's words: {body[:100]!r}.")


def _error(status: Any) -> ApiError:
    code = status.get("code", 0) if isinstance(status, Mapping) else 0
    return _ERRORS.get(code, ApiError)(code, text(status, "message") or f"The API server answered {code}.")
