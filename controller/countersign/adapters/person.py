"""The Kubernetes API with a person's own credentials, by the kubeconfig that kubectl goes by: reads, and reviews of access."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import aiohttp
from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.client.rest import RESTClientObject
from kubernetes.aio.config.config_exception import ConfigException
from kubernetes.aio.config.kube_config import load_kube_config

from countersign.domain.document import JsonObject, parse, text
from countersign.service.ports import ApiError, NotFoundError

_NOT_FOUND = 404


class PersonalApi:
    """`close` it at the end."""

    def __init__(self, configuration: Configuration) -> None:
        self._rest = RESTClientObject(configuration)
        self._server = str(configuration.host)
        self._configuration = configuration

    @classmethod
    async def open(cls) -> "PersonalApi":
        """By KUBECONFIG, or ~/.kube/config. Raises ApiError that says what is wrong with it."""
        configuration = Configuration()
        try:
            await load_kube_config(client_configuration=configuration)  # type: ignore[no-untyped-call]  # no annotations
        except (ConfigException, OSError, ValueError, TypeError, KeyError) as error:
            raise ApiError(0, f"The kubeconfig cannot be used: {error}. Set KUBECONFIG, or give a file of `kubectl get`.") from error
        configuration.retries = None
        return cls(configuration)

    async def close(self) -> None:
        await self._rest.close()

    async def get(
        self, path: str, *, query: Mapping[str, str] | None = None, accept: str = "application/json", timeout: float = 30
    ) -> JsonObject:
        return await self._json("GET", f"{path}?{urlencode(query)}" if query else path, accept, None, timeout)

    async def create(self, path: str, body: JsonObject, *, timeout: float = 30) -> JsonObject:
        return await self._json("POST", path, "application/json", body, timeout)

    async def _json(self, method: str, path: str, accept: str, body: Any, timeout: float) -> JsonObject:
        headers = {"Accept": accept, "Content-Type": "application/json", "User-Agent": "countersign-posture", **await self._credentials()}
        limit = aiohttp.ClientTimeout(total=timeout)
        try:
            answer = await self._rest.request(  # type: ignore[no-untyped-call]  # generated code without annotations
                method, self._server + path, headers=headers, body=body, _request_timeout=limit
            )
            status, tree = answer.response.status, _tree(await answer.response.read())
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ApiError(0, f"{method} {path}: the API server {self._server} does not answer ({error!r}).") from error
        if status >= 400:  # noqa: PLR2004  # HTTP
            kind = NotFoundError if status == _NOT_FOUND else ApiError
            raise kind(status, text(tree, "message") or f"{method} {path}: HTTP status {status}.")
        return tree

    async def _credentials(self) -> dict[str, str]:
        settings: Mapping[str, Any] = await self._configuration.auth_settings()
        return {entry["key"]: entry["value"] for entry in settings.values() if entry.get("in") == "header" and entry.get("value")}


def _tree(raw: bytes) -> JsonObject:
    try:
        tree = parse(raw)
    except ValueError:
        return {}
    return tree if isinstance(tree, dict) else {}
