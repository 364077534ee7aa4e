"""A WebSocket without sockets: the gateway's side is a `Transport`, the client's side calls back a `Client`."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from litevoice_gateway import frames
from litevoice_gateway.connections import Connection
from litevoice_gateway.protocols import ClientProtocol
from tests.simulation.model.network import TICK

if TYPE_CHECKING:
    from tests.simulation.client import Client
    from tests.simulation.world import World


UNSEEN_SECONDS = 40.0
"""How long a gateway takes to see that a client is gone that has not said so: longer than stories last."""


class Wire:
    """One connection, or the attempt. Messages keep their order in each direction; a gateway that dies takes those with
    it that have not arrived."""

    def __init__(self, world: World, client: Client, gateway: str, protocol: ClientProtocol) -> None:
        self.world = world
        self.client = client
        self.gateway = gateway
        self.connection: Connection | None = None
        self.confirmed = False
        """When its gateway ended it, the broker had all that was read."""
        self.process = world.process(gateway)
        self._protocol = protocol
        self._open = True
        self._disconnected = self._vanished = False
        self._last_up = self._last_down = 0.0
        self._reading = True
        self._unread: deque[frames.Message] = deque()
        if self.process is None:
            self._to_client(client.refused, self, "connection refused")
        else:
            world.wires.append(self)
            self._to_gateway(self._upgrade)

    @property
    def unseen(self) -> bool:
        """Its gateway stands still, and gets to know of it and of its end together; not of a client that vanishes."""
        frozen = self.process is not None and self.process.frozen
        return self.connection is None and frozen and not self._vanished

    # --- the client's side

    def send(self, message: str | bytes) -> None:
        content: frames.Message = frames.Text(message) if isinstance(message, str) else frames.Binary(message)
        self._to_gateway(lambda: self._read(content))

    def close_politely(self) -> None:
        """Sends a Close, and waits until the gateway closes the connection."""
        self.client.said_goodbye(self)
        self._closed_with = 1000
        self._to_gateway(lambda: self._read(frames.PeerClose(1000)))

    def break_off(self) -> None:
        """Without a word; the gateway sees the end of the connection."""
        if self._open:
            self._open = False
            self._to_gateway(self._lost)

    def vanish(self) -> None:
        """Nobody tells the gateway, until it finds out by itself, unless that has ended the connection just now."""
        self._open, self._vanished = False, True
        self.world.loop.within(self.process, 0.0 if self._disconnected else UNSEEN_SECONDS, self._lost)

    def gateway_died(self) -> None:
        if self._open:
            self._to_client(self._end, 1006)

    # --- litevoice_gateway.transport.Transport

    def send_frame(self, data: bytes) -> None:
        if self._open:
            self._to_client(self.client.message, self, data)

    def send_close(self, code: int, reason: str) -> None:
        """A client answers with its own Close at once."""

        def arrived() -> None:
            if self._open and self.connection is not None:
                self.client.said_goodbye(self)
                self._to_gateway(lambda: self._read(frames.PeerClose(code)))
                self._closed_with = code

        self._to_client(arrived)

    _closed_with = 1006

    def ping(self) -> None:
        def arrived() -> None:
            if self._open:
                self._to_gateway(lambda: self._read(frames.Pong()))

        self._to_client(arrived)

    def disconnect(self) -> None:
        self.confirmed = self.connection is not None and self.connection.session.settled
        self._disconnected = True
        if self._open:
            self._to_client(lambda: self._end(self._closed_with))
        else:
            self._to_gateway(self._lost)

    def pause_reading(self) -> None:
        self._reading = False

    def resume_reading(self) -> None:
        self._reading = True
        self.world.loop.call_soon(self._pump)

    # --- inside

    def _upgrade(self) -> None:
        assert self.process is not None
        refusal = self.world.accept(self)
        if refusal:
            self._to_client(self.client.refused, self, refusal)

    def _read(self, message: frames.Message) -> None:
        self._unread.append(message)
        self._pump()

    def _pump(self) -> None:
        while self._unread and self._reading:
            message = self._unread.popleft()
            if self.connection is not None and not self.connection.gone:
                self.world.reads(self, message)
                self.connection.message(message)

    def _lost(self) -> None:
        if self.connection is not None and not self.connection.gone:
            self.connection.lost()

    def _end(self, code: int) -> None:
        if self._open:
            self._open = False
            self._to_gateway(self._lost)
            self.client.closed(self, code)

    def _to_gateway(self, do: Callable[[], None]) -> None:
        network = self.world.network
        self._last_up = max(self._last_up + TICK, network.loop.now + network.delay(self.gateway))
        network.loop.within(self.process, self._last_up - network.loop.now, do)

    def _to_client(self, do: Callable[..., object], *arguments: object) -> None:
        network = self.world.network
        self._last_down = max(self._last_down + TICK, network.loop.now + network.delay(self.gateway))
        network.loop.within(None, self._last_down - network.loop.now, do, *arguments)


class GatewayEnd:
    """What the gateway gets as its transport."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self.send_close = wire.send_close
        self.ping = wire.ping
        self.disconnect = wire.disconnect
        self.pause_reading = wire.pause_reading
        self.resume_reading = wire.resume_reading

    def send(self, data: bytes, *, binary: bool) -> None:
        self._wire.send_frame(data)
