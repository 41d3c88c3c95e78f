"""One server to be measured, in a process of its own: `python -m tests.bench.target countersign|null FOLDER`.

Writes its port into FOLDER/port. `countersign` writes its decision log to stdout, as in a cluster.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import sys
from pathlib import Path
from typing import Any

from countersign.adapters.metrics import PrometheusMetrics
from countersign.entrypoints.handshakes import Loop
from countersign.entrypoints.protocol import Drain, Server, server
from countersign.entrypoints.webhook import application
from tests.bench.world import review

_NOTHING = b"{}"


async def null(scope: Any, receive: Any, send: Any) -> None:
    """The floor: takes the body and answers. What is left is the server, TLS and sockets."""
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(_NOTHING))]})
    await send({"type": "http.response.body", "body": _NOTHING})


async def main(kind: str, folder: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "tls.crt", folder / "tls.key")
    drain = Drain()
    metrics = PrometheusMetrics(version="bench")
    app = null if kind == "null" else application(review(metrics), metrics, drain=drain)
    web = server(app, host="127.0.0.1", port=0, context=context, drain=drain, drain_seconds=0)
    await asyncio.gather(web.serve(), _announce(web, folder / f"{kind}.port"))


async def _announce(web: Server, file: Path) -> None:
    while not web.started:  # noqa: ASYNC110  (uvicorn has no event for it)
        await asyncio.sleep(0.01)
    new = file.with_suffix(".new")
    new.write_text(str(web.servers[0].sockets[0].getsockname()[1]))
    new.rename(file)


if __name__ == "__main__":
    logging.basicConfig(level="WARNING", stream=sys.stderr)
    with asyncio.Runner(loop_factory=Loop) as runner:
        runner.run(main(sys.argv[1], Path(sys.argv[2])))
