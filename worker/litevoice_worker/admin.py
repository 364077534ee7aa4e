"""The worker's second port: health, readiness and metrics, for probes and Prometheus; and where a session stands."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ssl
import time
from collections.abc import Awaitable, Callable

import msgspec
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from litevoice_contracts.control import (
    HEALTH_PATH,
    METRICS_PATH,
    READY_PATH,
    SESSIONS_PATH,
    STATUS_PATH,
    WorkerSession,
    WorkerStatus,
)
from litevoice_contracts.errors import InvalidField
from litevoice_contracts.watching import Outcome, Waiting, answer, read_question, worker_marks


class AdminServer:
    """HTTP server. `unready_reason` returns "" when the worker is ready, `session` None for one that is not in memory;
    `answered` counts answers to questions for the status.

    `token_sha256`: of the token that everything under `/v1` wants; with "" it is not served. The worker knows only what
    the token must hash to, so its settings need not be secret.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        unready_reason: Callable[[], str],
        token_sha256: str,
        status: Callable[[], WorkerStatus],
        session: Callable[[str], WorkerSession | None],
        answered: Callable[[Outcome], None],
    ) -> None:
        self._registry = registry
        self._unready_reason = unready_reason
        self._token_sha256 = token_sha256
        self._worker_status = status
        self._worker_session = session
        self._answered = answered
        self._runner: web.AppRunner | None = None
        self._waiting = Waiting(lambda: worker_marks(status()), time.monotonic, asyncio.sleep)

    async def start(self, host: str, port: int, tls: tuple[int, ssl.SSLContext] | None = None) -> None:
        """`tls`: another port, where the same is served with TLS. Raises OSError when a port is taken."""
        app = web.Application(middlewares=[self._authorize], client_max_size=1024)
        app.add_routes(
            [
                web.get(HEALTH_PATH, self._health),
                web.get(READY_PATH, self._ready),
                web.get(METRICS_PATH, self._metrics),
                web.get(STATUS_PATH, self._status),
                web.get(SESSIONS_PATH + "/{session_id}", self._session),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False)
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port).start()
        if tls is not None:
            await web.TCPSite(self._runner, host, tls[0], ssl_context=tls[1]).start()

    @property
    def port(self) -> int:
        """The port in use (of interest when the settings ask for any)."""
        assert self._runner is not None
        port: int = self._runner.addresses[0][1]
        return port

    async def close(self) -> None:
        self._waiting.end()
        if self._runner is not None:
            await self._runner.cleanup()

    @web.middleware
    async def _authorize(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        if request.path.startswith("/v1/"):
            scheme, _, token = request.headers.get("Authorization", "").partition(" ")
            digest = hashlib.sha256(token.strip().encode()).hexdigest()
            if scheme.lower() != "bearer" or not hmac.compare_digest(digest, self._token_sha256):
                return _error(401, "the admin token is missing or wrong: expected Authorization: Bearer")
        return await handler(request)

    async def _health(self, _request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _ready(self, _request: web.Request) -> web.Response:
        reason = self._unready_reason()
        return web.Response(text=f"{reason or 'ok'}\n", status=503 if reason else 200)

    async def _metrics(self, _request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _status(self, request: web.Request) -> web.Response:
        try:
            question = read_question(request.query)
        except InvalidField as error:
            return _error(400, str(error))
        await self._waiting.wait(question, lambda: request.transport is None)
        status = self._worker_status()
        told = answer(question, status, worker_marks(status))
        self._answered(told.outcome)
        headers = {"ETag": told.version}
        if not told.body:
            return web.Response(status=304, headers=headers)
        return web.Response(body=told.body, headers=headers, content_type="application/json")

    async def _session(self, request: web.Request) -> web.Response:
        session = self._worker_session(request.match_info["session_id"])
        return _json(session) if session is not None else _error(404, "this worker does not have the session in memory")


def _json(value: msgspec.Struct) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), content_type="application/json")


def _error(status: int, message: str) -> web.Response:
    return web.json_response({"error": {"message": message}}, status=status)
