"""Health, readiness and metrics of the operator itself."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from litevoice_contracts.control import HEALTH_PATH, METRICS_PATH, READY_PATH


async def serve(port: int, waits_for: Callable[[], str]) -> web.AppRunner:
    """Serves until the runner is cleaned up. `waits_for`: why the operator is not ready; empty when it is."""

    async def health(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readiness(_: web.Request) -> web.Response:
        if why := waits_for():
            return web.Response(status=503, text=f"{why}\n")
        return web.Response(text="ok\n")

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application()
    app.add_routes([web.get(HEALTH_PATH, health), web.get(READY_PATH, readiness), web.get(METRICS_PATH, metrics)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "0.0.0.0", port).start()
    return runner
