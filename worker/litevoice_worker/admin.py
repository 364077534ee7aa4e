"""The worker's second port: health, readiness and metrics, for probes and Prometheus."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from litevoice_contracts.control import HEALTH_PATH, METRICS_PATH, READY_PATH


class AdminServer:
    """HTTP server. `unready_reason` returns "" when the worker is ready."""

    def __init__(self, registry: CollectorRegistry, unready_reason: Callable[[], str]) -> None:
        self._registry = registry
        self._unready_reason = unready_reason
        self._runner: web.AppRunner | None = None

    async def start(self, host: str, port: int) -> None:
        """Raises OSError when the port is taken."""
        app = web.Application()
        app.add_routes(
            [
                web.get(HEALTH_PATH, self._health),
                web.get(READY_PATH, self._ready),
                web.get(METRICS_PATH, self._metrics),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False)
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port).start()

    async def close(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _health(self, _request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _ready(self, _request: web.Request) -> web.Response:
        reason = self._unready_reason()
        return web.Response(text=f"{reason or 'ok'}\n", status=503 if reason else 200)

    async def _metrics(self, _request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST})
