"""The second port, off the data path: health, readiness, metrics, the admin API of `litevoice_contracts.control`."""

from __future__ import annotations

import asyncio
import heapq
import hmac
import json
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import msgspec
from aiohttp import web

from litevoice_contracts import control
from litevoice_contracts.addresses import is_from
from litevoice_contracts.errors import InvalidField
from litevoice_contracts.watching import Marks, Waiting, answer, gateway_marks, marks_of_gateway, read_question
from litevoice_gateway.connections import Connection
from litevoice_gateway.drain import Drain
from litevoice_gateway.hub import Hub
from litevoice_gateway.session import Session
from litevoice_gateway.settings import admin_tls

logger = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
T = TypeVar("T")
_NOT_HERE: Final = "this gateway does not own the session"
_DEFAULT_LISTED: Final = 100
_MAX_DIGITS: Final = 9
_SLICE: Final = 200
"""So many sessions are looked at without a break: with tens of thousands, their clients would notice."""
_KEYS: Final[dict[str, Callable[[Session, float], tuple[float, ...]]]] = {
    "requests": lambda session, now: (-session.pending_requests, -session.oldest_request_seconds(now)),
    "replies": lambda session, now: (session.reading_replies, -session.age_seconds(now)),
    "age": lambda session, now: (-session.age_seconds(now),),
    "stalled": lambda session, now: (-session.stalled_seconds(now),),
}


class AdminServer:
    """HTTP server on `admin_host:admin_port`, and with TLS on `admin_tls_port` where there is a certificate.

    Every answer that is not 2xx says why, as JSON."""

    def __init__(self, hub: Hub, drain: Drain, token: bytes, pod: str) -> None:
        self._hub = hub
        self._drain = drain
        self._token = token
        self._pod = pod
        self._runner: web.AppRunner | None = None
        self._waiting = Waiting(self._marks, time.monotonic, asyncio.sleep)

    async def start(self) -> None:
        """Raises OSError when a port is taken, SettingsError without the certificate that the settings name."""
        app = web.Application(middlewares=[self._authorize], client_max_size=64 * 1024)
        app.add_routes(
            [
                web.get(control.HEALTH_PATH, self._health),
                web.get(control.READY_PATH, self._ready),
                web.get(control.METRICS_PATH, self._metrics),
                web.get(control.STATUS_PATH, self._status),
                web.get(control.SESSIONS_PATH, self._sessions),
                web.get(control.SESSIONS_PATH + "/{session_id}", self._session),
                web.post(control.SESSIONS_PATH + "/{session_id}/" + control.MOVE, self._move),
                web.post(control.SESSIONS_PATH + "/{session_id}/" + control.HEAL, self._heal),
                web.get(control.HOLDINGS_PATH, self._holdings),
                web.get(control.DRAIN_PATH, self._drain_report),
                web.post(control.DRAIN_PATH, self._begin_drain),
                web.delete(control.DRAIN_PATH, self._take_drain_back),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False)
        await self._runner.setup()
        settings = self._hub.settings
        await web.TCPSite(self._runner, settings.admin_host, settings.admin_port).start()
        if (context := admin_tls(settings)) is not None:
            await web.TCPSite(self._runner, settings.admin_host, settings.admin_tls_port, ssl_context=context).start()

    @property
    def port(self) -> int:
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

    async def _status(self, request: web.Request) -> web.Response:
        try:
            question = read_question(request.query)
        except InvalidField as error:
            return _error(400, str(error))
        await self._waiting.wait(question, lambda: request.transport is None)
        status = self._now()
        told = answer(question, status, gateway_marks(status))
        self._hub.metrics.status_answers.labels(told.outcome).inc()
        headers = {"ETag": told.version}
        if not told.body:
            return web.Response(status=304, headers=headers)
        return web.Response(body=told.body, headers=headers, content_type="application/json")

    def _now(self) -> control.GatewayStatus:
        hub = self._hub
        return control.GatewayStatus(
            pod=self._pod,
            ready=not hub.unready,
            reason=hub.unready,
            sessions=len(hub.sessions),
            max_sessions=hub.settings.max_sessions,
            slow_readers=hub.slow_readers,
            pending_requests=hub.pending_requests,
            drain=self._drain.report,
            full=hub.full,
            in_turn=sum(connection.session.in_turn for connection in hub.sessions.values()),
            drain_rate_per_second=hub.settings.drain_rate_per_second,
        )

    def _marks(self) -> Marks:
        hub = self._hub
        reason, most = hub.unready, hub.settings.max_sessions
        state, sessions = self._drain.report.state, len(hub.sessions)
        return marks_of_gateway(not reason, reason, state, most, sessions, hub.slow_readers)

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
        client, principal = request.query.get("client", ""), request.query.get("principal", "")
        since = request.query.get("since", "")
        if since and not (since.isascii() and since.isdigit() and len(since) <= _MAX_DIGITS):
            return _error(400, "since: expected a whole number of seconds")
        oldest = float(since or "inf")
        now, key = time.monotonic(), _KEYS[sort]
        keyed: list[tuple[tuple[float, ...], Connection]] = []
        for connection in list(self._hub.sessions.values()):
            session = connection.session
            wanted = principal in ("", session.principal) and session.age_seconds(now) <= oldest
            if wanted and (not client or is_from(session.client, client)):
                keyed.append((key(session, now), connection))
            await _let_others_run(len(keyed))
        infos: list[control.SessionInfo] = []
        for _, connection in heapq.nsmallest(limit, keyed, key=lambda entry: entry[0]):
            infos.append(connection.info(now))
            await _let_others_run(len(infos))
        refused = self._hub.refusals.of(client, principal, oldest, now) if client or principal else []
        return _json(control.SessionList(total=len(keyed), sessions=infos, refused=refused[:limit]))

    async def _session(self, request: web.Request) -> web.Response:
        info = self._hub.info(request.match_info["session_id"])
        return _json(info) if info is not None else _error(404, _NOT_HERE)

    async def _move(self, request: web.Request) -> web.Response:
        wish = await _wish(request, control.ActRequest)
        info = self._hub.info(request.match_info["session_id"])
        if info is None:
            return _error(404, _NOT_HERE)
        if info.stage == "closing":
            return _error(409, "the session is closing already")
        connection = self._hub.sessions[info.session_id]
        if not (connection.session.can_return or wish.force):
            return _error(409, "its client has not shown that it can come back, and would lose the session")
        if not wish.dry_run:
            by = time.monotonic() + self._hub.settings.drain_turn_wait_seconds
            logger.info("session told to move", extra={"session": info.session_id})
            connection.drain(at_edge=True, by=by)
        return _json(info, status=202)

    async def _heal(self, request: web.Request) -> web.Response:
        wish = await _wish(request, control.ActRequest)
        info = self._hub.info(request.match_info["session_id"])
        if info is None:
            return _error(404, _NOT_HERE)
        if info.stage in ("closing", "restoring"):
            return _error(409, f"the session is {info.stage} at the moment")
        if not info.reading:
            return _error(409, "its client reads too slowly: replies are taken over again when it reads on")
        if not wish.dry_run:
            if not self._hub.heal(info.session_id):
                return _error(409, "the session's LiteTopic is changing hands at the moment")
            logger.info("session taken over again", extra={"session": info.session_id})
        return _json(info, status=202)

    async def _holdings(self, _request: web.Request) -> web.Response:
        return _json(self._hub.holdings)

    async def _drain_report(self, _request: web.Request) -> web.Response:
        return _json(self._drain.report)

    async def _begin_drain(self, request: web.Request) -> web.Response:
        wish = await _wish(request, control.DrainRequest)
        return _json(self._drain.begin(wish.policy, wish.rate_per_second), status=202)

    async def _take_drain_back(self, _request: web.Request) -> web.Response:
        report = self._drain.take_back()
        if report is None:
            return _error(409, "the gateway was told to end: it drains in any case")
        return _json(report)


async def _wish(request: web.Request, kind: type[T]) -> T:
    """The body, which may be empty. Raises HTTPBadRequest that says what is wrong with it."""
    try:
        return msgspec.json.decode(await request.read() or b"{}", type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        text = json.dumps({"error": {"message": f"body: expected a {kind.__name__}: {error}"}})
        raise web.HTTPBadRequest(text=text, content_type="application/json") from error


async def _let_others_run(count: int) -> None:
    if count % _SLICE == 0:
        await asyncio.sleep(0)


def _json(value: msgspec.Struct, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), status=status, content_type="application/json")


def _error(status: int, message: str) -> web.Response:
    return web.json_response({"error": {"message": message}}, status=status)
