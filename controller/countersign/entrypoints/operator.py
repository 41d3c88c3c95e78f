"""`countersign operator`: first the Lease, then a whole view of the cluster, then kopf's events and one periodic task.

kopf is used for `on.event` and `startup` only: its other handlers, daemons and timers write annotations and finalizers to the objects
they handle, which would jam the deletion of our CRDs and pass through our own webhook (https://docs.kopf.dev/en/stable/events/).
"""

import asyncio
import logging
import signal
from typing import Any, Final, cast

import kopf
from aiohttp import web

from countersign.bootstrap_operator import ACCOUNTS_PATH, Operator, build_operator, path_of
from countersign.domain.document import JsonObject, items, text
from countersign.domain.errors import CountersignError
from countersign.domain.names import GROUP, VERSION
from countersign.service.ports import ApiError
from countersign.service.second import another_ones_namespace, sentence
from countersign.settings import Settings

_log = logging.getLogger(__name__)

_FIRST_LIST_PAUSE: Final = 1.0
_LAST_NOTE: Final = 2.0
_POSTURE_OF: Final = ("agentidentities", "protectedenvironments")


def run_operator(settings: Settings) -> int:
    """Run until SIGTERM. Exit status 0 after a clean end, 1 where the lease was lost or a part broke."""
    return asyncio.run(_run(settings))


async def _run(settings: Settings) -> int:
    logging.getLogger("kopf").setLevel(logging.DEBUG if settings.log_level == "debug" else logging.WARNING)  # it tells of every event
    parts = build_operator(settings)
    stop = asyncio.Event()
    _obey_signals(stop)
    site = await _listen(parts)
    try:
        return await _until(stop, parts)
    finally:
        await parts.lease.release()
        await site.cleanup()
        await parts.repairing.close()
        await parts.api.close()


async def _until(stop: asyncio.Event, parts: Operator) -> int:
    """Lead until told to stop, or until a part ends by itself."""
    stopping = asyncio.create_task(stop.wait(), name="stop")
    acquiring = asyncio.create_task(parts.lease.acquire(), name="lease")
    await asyncio.wait([stopping, acquiring], return_when=asyncio.FIRST_COMPLETED)
    if not acquiring.done():
        await _cancel(acquiring)
        return 0
    acquiring.result()  # nobody leads whose election broke
    parts.metrics.leading(True)
    return await _lead(stopping, stop, parts)


async def _lead(stopping: asyncio.Task[Any], stop: asyncio.Event, parts: Operator) -> int:
    kopf_stop = asyncio.Event()
    watches = asyncio.create_task(_watch(parts, stop, kopf_stop), name="watches")
    working = [asyncio.create_task(parts.lease.hold(), name="lease"), asyncio.create_task(_work(parts), name="upkeep")]
    done, _ = await asyncio.wait([stopping, watches, *working], return_when=asyncio.FIRST_COMPLETED)
    for task in done - {stopping}:
        _log.critical("%s ended, and so does the operator", task.get_name(), exc_info=task.exception())
    # kopf cancels at its end whatever task was begun after its start, so it ends last; what it still hears is acted on no more.
    parts.guards.let_go()
    await _cancel(stopping, *working)
    await _note_the_end(parts)
    await parts.lease.release()
    kopf_stop.set()
    await asyncio.gather(watches, return_exceptions=True)
    return 0 if done == {stopping} else 1


async def _note_the_end(parts: Operator) -> None:
    """While the lease is still held: the next leader writes the same list."""
    if not parts.lease.held:
        return
    try:
        async with asyncio.timeout(_LAST_NOTE):
            await parts.ledger.close()
    except (CountersignError, TimeoutError) as error:
        _log.warning("how the operator's own log ends could not be noted: %s", error)


def _obey_signals(stop: asyncio.Event) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)


async def _cancel(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _work(parts: Operator) -> None:
    """A first list of everything, then rounds of upkeep for ever."""
    await _say_if_second(parts)
    while not parts.census.complete:
        try:
            await parts.definitions.ensure()  # a kind that is not there cannot be listed
            await parts.census.take()
        except ApiError as error:
            _log.warning("the first list of everything: %s", error)
            await asyncio.sleep(_FIRST_LIST_PAUSE)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(parts.upkeep.run())
        tasks.create_task(parts.guard_watch.run())
        tasks.create_task(parts.rights.run())
        tasks.create_task(parts.postures.run())
        tasks.create_task(parts.census.run())


async def _say_if_second(parts: Operator) -> None:
    namespace = parts.settings.namespace
    try:
        other = await another_ones_namespace(parts.api, namespace)
    except ApiError as error:
        _log.warning("whether another Countersign guards this cluster is not known: %s", error)
        return
    if other:
        _log.critical(sentence(other, namespace))


# ── kopf ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def _watch(parts: Operator, stop: asyncio.Event, kopf_stop: asyncio.Event) -> None:
    ready = asyncio.Event()

    async def take_signals_back() -> None:
        await ready.wait()
        _obey_signals(stop)  # kopf has taken them at its start; the order in which the parts end is ours

    while not await all_served(parts):
        if kopf_stop.is_set():
            return
        await asyncio.sleep(_FIRST_LIST_PAUSE)
    taking = asyncio.create_task(take_signals_back())
    try:
        await kopf.operator(
            registry=handlers(parts),
            settings=_kopf_settings(),
            standalone=True,
            clusterwide=True,
            # Else kopf makes one from the name of the system's user, which a container's user need not have.
            identity=cast("Any", parts.settings.replica),
            stop_flag=kopf_stop,
            ready_flag=ready,
        )
    finally:
        taking.cancel()


async def all_served(parts: Operator) -> bool:
    """Whether the API server serves all of our kinds: kopf looks once, at its start, what there is to watch, and leaves out the rest for good."""
    try:
        listed = await parts.api.get(f"/apis/{GROUP}/{VERSION}")
    except ApiError:
        return False
    served = {text(resource, "name") for resource in items(listed, "resources")}
    return set(parts.store.plurals()) - {"namespaces"} <= served


def _kopf_settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.scanning.disabled = True  # else it watches every CRD and namespace of the cluster to see what it may watch
    settings.posting.enabled = False
    settings.queueing.exit_timeout = 0.2
    settings.queueing.idle_timeout = 0.5
    settings.watching.server_timeout = 300
    settings.watching.connect_timeout = 10
    return settings


def handlers(parts: Operator) -> kopf.OperatorRegistry:
    """What is watched, and who hears of it."""
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry)
    def login(**_: Any) -> kopf.ConnectionInfo:
        token = parts.settings.token_file.read_text().strip()  # anew for each login: tokens are renewed in their file
        return kopf.ConnectionInfo(server=parts.settings.api_server, ca_path=str(parts.settings.api_ca_file), scheme="Bearer", token=token)

    for plural in parts.store.plurals():
        _on_ours(parts, registry, plural)

    @kopf.on.event("", "v1", "serviceaccounts", registry=registry)
    async def account(event: Any, **_: Any) -> None:
        parts.census.heard(ACCOUNTS_PATH)
        parts.accounts.apply(event["type"] or "ADDED", event["object"])
        parts.upkeep.wake()

    @kopf.on.event("apiextensions.k8s.io", "v1", "customresourcedefinitions", registry=registry)
    async def definition(event: Any, **_: Any) -> None:
        if parts.definitions.changed(event["object"]):
            parts.upkeep.wake()

    return registry


def _on_ours(parts: Operator, registry: kopf.OperatorRegistry, plural: str) -> None:
    group, version = ("", "v1") if plural == "namespaces" else (GROUP, VERSION)

    @kopf.on.event(group, version, plural, registry=registry, id=plural)
    async def changed(event: Any, **_: Any) -> None:
        document: JsonObject = event["object"]
        parts.census.heard(path_of(plural))
        parts.store.apply(plural, event["type"] or "ADDED", document)
        parts.statuses.observe(plural, event["type"] or "ADDED", document)
        if plural in _POSTURE_OF:
            parts.postures.heard(plural, event["type"] or "ADDED", document)
        parts.upkeep.wake()


# ── health and metrics ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def _listen(parts: Operator) -> web.AppRunner:
    """Plain http: the kubelet and Prometheus ask. A process that waits for the lease is ready, or no rollout could ever end."""

    async def livez(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(_: web.Request) -> web.Response:
        if parts.lease.held and not parts.upkeep.done_once:
            return web.Response(status=503, text="leading, but the first round of upkeep is not through yet\n")
        return web.Response(text="leading\n" if parts.lease.held else "standing by\n")

    async def metrics(_: web.Request) -> web.Response:
        body, content_type = parts.metrics.render()
        return web.Response(body=body, headers={"Content-Type": content_type})

    app = web.Application()
    app.add_routes([web.get("/livez", livez), web.get("/readyz", readyz), web.get("/metrics", metrics)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, parts.settings.listen_host, parts.settings.listen_port).start()
    return runner
