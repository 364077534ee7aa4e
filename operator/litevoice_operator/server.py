"""Health, readiness and metrics of the operator itself."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from litevoice_contracts.control import HEALTH_PATH, METRICS_PATH, READY_PATH


async def serve(port: int, ready: Callable[[], bool]) -> web.AppRunner:
    """Listens until the runner is cleaned up."""

    async def health(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readiness(_: web.Request) -> web.Response:
        if ready():
            return web.Response(text="ok\n")
        return web.Response(status=503, text="waits for the API server or for the custom resource definitions\n")

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application()
    app.add_routes([web.get(HEALTH_PATH, health), web.get(READY_PATH, readiness), web.get(METRICS_PATH, metrics)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "0.0.0.0", port).start()
    return runner
