"""The second port, off the data path: health, readiness, metrics, the admin API of `litevoice_contracts.control`."""

from __future__ import annotations

import hmac
import time
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
from aiohttp import web

from litevoice_contracts import control
from litevoice_gateway.drain import Drain
from litevoice_gateway.hub import Hub

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_DEFAULT_LISTED: Final = 100
_KEYS: Final = {
    "requests": lambda info: (-info.pending_requests, -info.oldest_request_seconds),
    "replies": lambda info: (info.reading, -info.age_seconds),
    "age": lambda info: -info.age_seconds,
}


class AdminServer:
    """HTTP server on `admin_host:admin_port`. Every answer that is not 2xx says why, as JSON."""

    def __init__(self, hub: Hub, drain: Drain, token: bytes, pod: str) -> None:
        self._hub = hub
        self._drain = drain
        self._token = token
        self._pod = pod
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        app = web.Application(middlewares=[self._authorize], client_max_size=64 * 1024)
        app.add_routes(
            [
                web.get(control.HEALTH_PATH, self._health),
                web.get(control.READY_PATH, self._ready),
                web.get(control.METRICS_PATH, self._metrics),
                web.get(control.STATUS_PATH, self._status),
                web.get(control.SESSIONS_PATH, self._sessions),
                web.get(control.SESSIONS_PATH + "/{session_id}", self._session),
                web.get(control.DRAIN_PATH, self._drain_report),
                web.post(control.DRAIN_PATH, self._begin_drain),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False)
        await self._runner.setup()
        settings = self._hub.settings
        await web.TCPSite(self._runner, settings.admin_host, settings.admin_port).start()

    @property
    def port(self) -> int:
        assert self._runner is not None
        port: int = self._runner.addresses[0][1]
        return port

    async def close(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    @web.middleware
    async def _authorize(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        if request.path.startswith("/v1/"):
            scheme, _, token = request.headers.get("Authorization", "").partition(" ")
            if scheme.lower() != "bearer" or not hmac.compare_digest(token.strip().encode(), self._token):
                return _error(401, "the admin token is missing or wrong: expected Authorization: Bearer")
        return await handler(request)

    async def _health(self, _request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def _ready(self, _request: web.Request) -> web.Response:
        reason = self._hub.unready
        return web.json_response({"ready": not reason, "reason": reason}, status=503 if reason else 200)

    async def _metrics(self, _request: web.Request) -> web.Response:
        return web.Response(
            body=self._hub.metrics.render(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
        )

    async def _status(self, _request: web.Request) -> web.Response:
        hub = self._hub
        return _json(
            control.GatewayStatus(
                pod=self._pod,
                ready=not hub.unready,
                reason=hub.unready,
                sessions=len(hub.sessions),
                max_sessions=hub.settings.max_sessions,
                slow_readers=hub.slow_readers,
                pending_requests=hub.pending_requests,
                drain=self._drain.report,
                full=hub.full,
            )
        )

    async def _sessions(self, request: web.Request) -> web.Response:
        limit_text = request.query.get("limit", str(_DEFAULT_LISTED))
        sort = request.query.get("sort", "requests")
        if not limit_text.isascii() or not limit_text.isdigit() or len(limit_text) > 6:
            return _error(400, f"limit: expected 1 to {control.MAX_LISTED_SESSIONS}")
        limit = int(limit_text)
        if not 1 <= limit <= control.MAX_LISTED_SESSIONS:
            return _error(400, f"limit: expected 1 to {control.MAX_LISTED_SESSIONS}, got {limit}")
        if sort not in _KEYS:
            return _error(400, f"sort: expected one of {', '.join(control.SESSION_SORTS)}")
        now = time.monotonic()
        infos = [connection.session.info(now) for connection in self._hub.sessions.values()]
        infos.sort(key=_KEYS[sort])
        return _json(control.SessionList(total=len(infos), sessions=infos[:limit]))

    async def _session(self, request: web.Request) -> web.Response:
        connection = self._hub.sessions.get(request.match_info["session_id"])
        if connection is None:
            return _error(404, "this gateway does not own the session")
        return _json(connection.session.info(time.monotonic()))

    async def _drain_report(self, _request: web.Request) -> web.Response:
        return _json(self._drain.report)

    async def _begin_drain(self, request: web.Request) -> web.Response:
        body = await request.read()
        try:
            wish = msgspec.json.decode(body or b"{}", type=control.DrainRequest)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            return _error(400, f"body: expected a DrainRequest: {error}")
        return _json(self._drain.begin(wish.policy), status=202)


def _json(value: msgspec.Struct, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), status=status, content_type="application/json")


def _error(status: int, message: str) -> web.Response:
    return web.json_response({"error": {"message": message}}, status=status)
