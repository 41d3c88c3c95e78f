"""`countersign webhook`: the process around the application: watches, certificate, server, clean end."""

import asyncio
import logging

from countersign.bootstrap import build_webhook
from countersign.entrypoints.handshakes import Loop
from countersign.entrypoints.protocol import Drain, server
from countersign.entrypoints.webhook import application
from countersign.settings import Settings

_log = logging.getLogger(__name__)


def run_webhook(settings: Settings) -> int:
    """Serve until SIGTERM. Exit status 0 after a clean end."""
    with asyncio.Runner(loop_factory=Loop) as runner:
        return runner.run(_serve(settings))


async def _serve(settings: Settings) -> int:
    parts = build_webhook(settings)
    drain = Drain()
    app = application(
        parts.review,
        parts.metrics,
        drain=drain,
        ready=[parts.certificate.ready, parts.reach.ready],
        access=parts.access,
        callers=frozenset(settings.client_names),
    )
    web = server(
        app,
        host=settings.listen_host,
        port=settings.listen_port,
        context=parts.certificate.context,
        drain=drain,
        drain_seconds=settings.drain.total_seconds(),
    )
    background = [
        asyncio.create_task(parts.watches.run(), name="watches"),
        asyncio.create_task(parts.certificate.run(), name="certificate"),
        asyncio.create_task(parts.reach.run(), name="reach"),
        asyncio.create_task(parts.noting.run(), name="noting"),
    ]
    serving = asyncio.create_task(web.serve(), name="server")
    try:
        done, _ = await asyncio.wait([serving, *background], return_when=asyncio.FIRST_COMPLETED)
        for task in done - {serving}:
            _log.critical("%s ended, and so does the webhook", task.get_name(), exc_info=task.exception())
        web.should_exit = True
        await serving
        return 0 if serving in done else 1
    finally:
        for task in background:
            task.cancel()
        await asyncio.gather(*background, return_exceptions=True)
        await parts.noting.close()
        await parts.api.close()
