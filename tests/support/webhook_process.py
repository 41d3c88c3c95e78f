"""The real server and application in a process of their own, over TLS, around a service that does as the name in the review says.

`python -m tests.support.webhook_process FOLDER OPTIONS`: the certificate is read from FOLDER/secret.json as if that were the API server;
OPTIONS is JSON for `Limits`, with `drain`, `handshake`, `client_authorities` (PEM), `callers` and `access` (whether /authorize is served) beside. Prints its port once it listens.
"""

import asyncio
import json
import logging
import sys
from pathlib import Path
from typing import Any

from countersign.adapters.access_metrics import AccessCounters
from countersign.adapters.certificates import ServingCertificate
from countersign.adapters.clock import SystemClock
from countersign.adapters.metrics import PrometheusMetrics
from countersign.domain.answer import Answer, Reason
from countersign.domain.authorize import Access, Deny, Ground, NoOpinion, Opinion
from countersign.domain.request import Request, UserInfo
from countersign.entrypoints import handshakes
from countersign.entrypoints.handshakes import Loop
from countersign.entrypoints.protocol import Drain, Limits, Server, server
from countersign.entrypoints.webhook import application
from countersign.service.ports import ApiError, NotFoundError


class ScriptedService:
    """`sleep-SECONDS` waits; `raise-NAME` raises that; `allow` allows; `deadline` tells how much time it was given; `long-N` answers at length; `unable` could not decide.

    Else a refusal.
    """

    async def review(self, request: Request, *, deadline: float) -> Answer:
        verb, _, rest = request.name.partition("-")
        match verb:
            case "sleep":
                await asyncio.sleep(float(rest))
            case "raise":
                raise {"RecursionError": RecursionError, "MemoryError": MemoryError, "KeyError": KeyError, "TimeoutError": TimeoutError}[
                    rest
                ]
            case "allow":
                return Answer(allowed=True, reason=Reason.NOT_HELD)
            case "unable":
                return Answer(allowed=False, reason=Reason.UNABLE, message="it cannot decide")
            case "badaudit":
                return Answer(allowed=True, reason=Reason.NOT_HELD, audit={"not/a/key": "v"})
            case "deadline":
                left = deadline - SystemClock().monotonic()
                return Answer(allowed=False, reason=Reason.PENDING, message=f"{left:.2f}")
            case "long":
                return Answer(allowed=False, reason=Reason.PENDING, message="n" * int(rest))
            case _:
                pass
        return Answer(allowed=False, reason=Reason.PENDING, message=f"held: {request.name}")

    def ready(self) -> str:
        return ""


class Impersonators:
    """Denies impersonation to everybody."""

    def authorize(self, _user: UserInfo, access: Access) -> Opinion:
        return Deny(Ground.IMPERSONATION, "no") if access.verb == "impersonate" else NoOpinion(Ground.ORDINARY)


class SecretInAFile:
    """The one read of the `Api` port that a certificate needs. A file that is absent or not JSON stands for what an API server may answer."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def get(self, _path: str, **_parts: Any) -> Any:
        if not self._path.exists():
            raise NotFoundError(404, "not found")
        try:
            return json.loads(self._path.read_text())
        except ValueError as error:
            raise ApiError(0, "the API server is out of reach") from error


async def main(folder: Path, options: dict[str, Any]) -> None:
    drain = Drain()
    drain_seconds = options.pop("drain", 0.0)
    metrics = PrometheusMetrics(version="test")
    access = (Impersonators(), AccessCounters(metrics.registry)) if options.pop("access", False) else None
    api: Any = SecretInAFile(folder / "secret.json")
    authorities, callers = options.pop("client_authorities", ""), frozenset(options.pop("callers", ()))
    certificate = ServingCertificate(api, SystemClock(), namespace="countersign", period=0.05, client_authorities=authorities)
    await certificate.refresh()
    app = application(ScriptedService(), metrics, drain=drain, ready=[certificate.ready], access=access, callers=callers)
    web = server(
        app, host="127.0.0.1", port=0, context=certificate.context, drain=drain, drain_seconds=drain_seconds, limits=Limits(**options)
    )
    following = asyncio.create_task(certificate.run())
    announcing = asyncio.create_task(announce(web))
    await web.serve()
    following.cancel()
    await announcing


async def announce(web: Server) -> None:
    while not web.started:  # noqa: ASYNC110  (uvicorn has no event for it)
        await asyncio.sleep(0.01)
    print(web.servers[0].sockets[0].getsockname()[1], flush=True)


if __name__ == "__main__":
    logging.basicConfig(level="INFO", stream=sys.stderr)
    parsed = json.loads(sys.argv[2])
    handshakes._SECONDS = parsed.pop("handshake", handshakes._SECONDS)  # type: ignore[misc]  # the default is too long for a test
    with asyncio.Runner(loop_factory=Loop) as runner:
        runner.run(main(Path(sys.argv[1]), parsed))
