"""The WebSocket server on picows and uvloop: upgrade, frames, write buffer. Everything else is behind `Connection`."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Sequence
from typing import Any

from picows import (
    WSCloseCode,
    WSFrame,
    WSListener,
    WSMsgType,
    WSTransport,
    WSUpgradeRequest,
    WSUpgradeResponse,
    WSUpgradeResponseWithListener,
    ws_create_server,
)

from litevoice_contracts.addresses import join_address
from litevoice_gateway import commands as do
from litevoice_gateway import frames
from litevoice_gateway.auth import ApiKeys
from litevoice_gateway.connections import Connection
from litevoice_gateway.hub import Hub
from litevoice_gateway.protocols import ProtocolFactory, UpgradeRequest
from litevoice_gateway.protocols.registry import PROTOCOLS
from litevoice_gateway.upgrade import Admitted, Rejected, admit, health

logger = logging.getLogger(__name__)

FORCE_SECONDS = 2.0
HANDSHAKE_SECONDS = 5.0
ANSWER_SECONDS = 1.0
"""Clients answer a ping by themselves; one that does not gets its session then."""
_KEEPALIVE = ((socket.TCP_KEEPIDLE, 30), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 3))
_OPCODES = {kind: kind.value for kind in WSMsgType}
"""`value` of an enum is a function call in Python, one per frame."""
_BAD_ECHO = frozenset({1005, 1006, 1015})
_ESTABLISHED = 1
"""Of Linux' `tcp_info.tcpi_state`."""


PICOWS_OPTIONS: dict[str, Any] = {"use_aiofastnet": True}
"""With uvloop's own transport picows also writes to the socket directly; a slow reader then occasionally gets a frame
that is cut short with the next one inside. Costs memory per idle connection; see
tests/integration/gateway/test_picows.py."""


class PicowsTransport:
    """`transport.Transport` on a picows connection."""

    __slots__ = ("_picows",)

    def __init__(self, picows_transport: WSTransport) -> None:
        self._picows = picows_transport

    def send(self, data: bytes, *, binary: bool) -> None:
        self._picows.send(WSMsgType.BINARY if binary else WSMsgType.TEXT, data)

    def send_close(self, code: int, reason: str) -> None:
        legal = 1000 if code in _BAD_ECHO else code
        # picows takes any 16-bit code; its enum only names the common ones
        self._picows.send_close(legal, reason.encode()[:123])  # type: ignore[arg-type]

    def ping(self) -> None:
        self._picows.send_ping()

    def pong(self, payload: bytes) -> None:
        self._picows.send_pong(payload)

    def disconnect(self) -> None:
        self._picows.disconnect()
        asyncio.get_running_loop().call_later(FORCE_SECONDS, self._picows.disconnect, False)

    def pause_reading(self) -> None:
        if not self._picows.is_disconnected:
            self._picows.underlying_transport.pause_reading()

    def resume_reading(self) -> None:
        if not self._picows.is_disconnected:
            self._picows.underlying_transport.resume_reading()


class Listener(WSListener):
    """One accepted WebSocket: frames in, write-buffer notices in."""

    __slots__ = ("_admitted", "_asking", "_assembler", "_connection", "_hub", "_transport", "_writable")

    def __init__(self, hub: Hub, admitted: Admitted) -> None:
        super().__init__()
        self._hub = hub
        self._admitted = admitted
        self._assembler = frames.Assembler(hub.limits.max_frame_bytes)
        self._connection: Connection | None = None
        self._transport: PicowsTransport | None = None
        self._asking: asyncio.TimerHandle | None = None
        self._writable = True

    def on_ws_connected(self, transport: WSTransport) -> None:
        tcp = transport.underlying_transport
        bound = self._hub.settings.send_buffer_bytes
        tcp.set_write_buffer_limits(high=bound, low=bound // 4)
        connected = tcp.get_extra_info("socket")
        # What the kernel keeps for a slow reader is kept out of the broker's sight: bound it too.
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, bound)
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEPALIVE:
            connected.setsockopt(socket.IPPROTO_TCP, option, value)
        for upgrade in (transport.request, transport.response):
            upgrade.headers.clear()  # picows keeps both for as long as the connection lives
        if connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] != _ESTABLISHED:
            # Its client stopped waiting while it was on its way, and is elsewhere by now: it takes nothing over.
            self._hub.metrics.connections.labels("gone").inc()
            transport.disconnect(False)
            return
        self._transport = PicowsTransport(transport)
        if self._admitted.overload:
            self._hub.metrics.connections.labels("overload").inc()
            self._hub.metrics.refused.labels(self._admitted.overload).inc()
            self._hub.metrics.closes.labels(str(do.OVERLOAD)).inc()
            reason = f"this gateway takes no new sessions: {self._admitted.overload}"
            session_id = self._admitted.protocol.session_id
            self._hub.refuse(_client(tcp), self._admitted.principal, session_id, "full", reason)
            transport.send_close(WSCloseCode.TRY_AGAIN_LATER, reason.encode())
            asyncio.get_running_loop().call_later(FORCE_SECONDS, transport.disconnect, False)
            return
        if self._admitted.protocol.session_id and self._hub.readiness.was_lost(time.monotonic()):
            # Its client may be elsewhere by now, and whatever stands between not have told yet: is anybody there?
            transport.send_ping()
            self._asking = asyncio.get_running_loop().call_later(ANSWER_SECONDS, self._begin, transport)
            return
        self._begin(transport)

    def _begin(self, transport: WSTransport) -> None:
        self._stop_asking()
        assert self._transport is not None
        self._hub.metrics.connections.labels("accepted").inc()
        self._connection = self._hub.accept(
            self._admitted.protocol, self._admitted.principal, self._transport, _client(transport.underlying_transport)
        )

    def _stop_asking(self) -> bool:
        """Whether it was asking."""
        asking, self._asking = self._asking, None
        if asking is not None:
            asking.cancel()
        return asking is not None

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if self._asking is not None and frame.msg_type is not WSMsgType.CLOSE:
            self._begin(transport)
        reserved = frame.rsv1 or frame.rsv2 or frame.rsv3
        opcode = _OPCODES[frame.msg_type]
        message = self._assembler.frame(opcode, frame.get_payload_as_bytes(), fin=frame.fin, reserved=reserved)
        if self._connection is not None and (message is None or isinstance(message, frames.Ping | frames.Pong)):
            self._connection.frame()
        if message is None:
            return
        if isinstance(message, frames.Ping):
            if self._writable and self._transport is not None:
                self._transport.pong(message.payload)
        elif self._connection is not None:
            self._connection.message(message)
        elif isinstance(message, frames.PeerClose | frames.Broken):
            transport.disconnect()

    def on_ws_disconnected(self, transport: WSTransport) -> None:  # noqa: ARG002 - picows' signature
        if self._stop_asking():
            self._hub.metrics.connections.labels("gone").inc()
        if self._connection is not None:
            self._connection.lost()

    def pause_writing(self) -> None:
        self._writable = False
        if self._connection is not None:
            self._connection.writable(False)

    def resume_writing(self) -> None:
        self._writable = True
        if self._connection is not None:
            self._connection.writable(True)


class Server:
    """Listens on `listen_host:listen_port` from `start` to `close`."""

    def __init__(
        self, hub: Hub, keys: ApiKeys, signing_key: bytes, protocols: Sequence[ProtocolFactory] = PROTOCOLS
    ) -> None:
        self._hub = hub
        self._keys = keys
        self._signing_key = signing_key
        self._protocols = protocols
        self._server: asyncio.AbstractServer | None = None

    async def start(self) -> None:
        settings = self._hub.settings
        for library in ("picows", "aiofastnet"):  # else several lines per connection, or one per answer to who is gone
            logging.getLogger(library).setLevel(logging.ERROR)
        self._server = await ws_create_server(
            self._upgrade,
            settings.listen_host,
            settings.listen_port,
            backlog=4096,
            websocket_handshake_timeout=HANDSHAKE_SECONDS,
            enable_auto_pong=False,  # a client that pings and does not read would fill the write buffer
            max_frame_size=settings.max_frame_bytes,
            read_buffer_init_size=1024,  # idle connections are many
            **PICOWS_OPTIONS,
        )

    @property
    def port(self) -> int:
        """The port in use (of interest when the settings ask for any)."""
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
        return port

    async def close(self) -> None:
        """Stops listening; connections live on."""
        if self._server is not None:
            self._server.close()

    def _upgrade(self, request: WSUpgradeRequest) -> WSUpgradeResponseWithListener:
        try:
            return self._answer(request)
        except Exception:
            logger.exception("upgrade failed")
            response = WSUpgradeResponse.create_error_response(500, b'{"error":{"code":"internal_error"}}')
            return WSUpgradeResponseWithListener(response, None)

    def _answer(self, request: WSUpgradeRequest) -> WSUpgradeResponseWithListener:
        target = request.path.decode("latin-1")
        if (healthy := health(target, self._hub.state_for(""))) is not None:
            return WSUpgradeResponseWithListener(_health_response(healthy), None)
        headers = {name.lower(): value for name, value in reversed(list(request.headers.items()))}
        now = time.monotonic()
        answer = admit(
            UpgradeRequest.parse(target, headers),
            self._hub.state_for,
            self._protocols,
            lambda key: self._keys.principal(key, now),
            self._signing_key,
            self._hub.settings.models,
            self._hub.settings.semantic_models,
            self._hub.settings.voices,
        )
        if isinstance(answer, Rejected):
            self._hub.metrics.connections.labels(answer.outcome).inc()
            response = WSUpgradeResponse.create_error_response(answer.status, answer.body, answer.headers)
            return WSUpgradeResponseWithListener(response, None)
        if "upgrade" in [token.strip().lower() for token in headers.get("connection", "").split(",")]:
            request.headers["connection"] = "upgrade"  # picows refuses the list that Firefox sends
        subprotocol = answer.protocol.subprotocol
        extra = {"Sec-WebSocket-Protocol": subprotocol} if subprotocol else None
        response = WSUpgradeResponse.create_101_response(extra)
        return WSUpgradeResponseWithListener(response, Listener(self._hub, answer))


def _client(tcp: asyncio.Transport) -> str:
    host, port = tcp.get_extra_info("peername")[:2]
    return join_address(host, port)


def _health_response(healthy: bool) -> WSUpgradeResponse:
    response: WSUpgradeResponse = (
        WSUpgradeResponse.create_ok_response(b"ok\n")
        if healthy
        else WSUpgradeResponse.create_error_response(503, b"not ready\n")
    )
    return response
