"""How often a gateway looks after its sessions, and what it times."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from litevoice_broker.lite.channel import Delivery
from litevoice_contracts.settings import BrokerSettings, GatewaySettings
from litevoice_gateway.hub import TICK_SECONDS, TICK_SLICES, Hub
from litevoice_gateway.metrics import Metrics
from litevoice_gateway.settings import Keys
from litevoice_gateway.standing import Phase
from tests.simulation.loop import Process, VirtualLoop
from tests.simulation.seeded import seeded

SECONDS = 10


class Visited:
    """Notes when it is looked after."""

    held_bytes = 0

    def __init__(self, loop: VirtualLoop) -> None:
        self.session = SimpleNamespace(id="one")
        self.reply_at = loop.now
        self.times: list[float] = []
        self._loop = loop

    def tick(self) -> None:
        self.times.append(self._loop.now)


@pytest.mark.parametrize("sessions", [1, 2, TICK_SLICES - 1, TICK_SLICES, TICK_SLICES + 1, 130])
def test_every_session_is_looked_after_once_a_second_however_few_they_are(
    sessions: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = VirtualLoop()
    measured: list[float] = []
    monkeypatch.setattr(Hub, "_measure", lambda *_: measured.append(loop.now))
    visited = [Visited(loop) for _ in range(sessions)]

    async def live() -> None:
        broker = BrokerSettings(
            endpoints="nobody:8081", name_server="nobody:9876", request_topic="up", reply_topic="down", partitions=1
        )
        settings = GatewaySettings(broker=broker, api_keys_dir="/", keys_dir="/")
        hub: Any = Hub(settings, Keys(b"k" * 32, b"t" * 16), Metrics(), "gateway-0", "10.0.0.1")
        hub.connections.update(visited)
        ticking = asyncio.create_task(hub._tick())
        await asyncio.sleep(SECONDS * TICK_SECONDS + 0.01)
        ticking.cancel()

    with seeded(0, loop):
        loop.run_until_complete(loop.create_task(live(), context=Process("gateway-0").context))
        loop.abandon()
    assert {len(one.times) for one in visited} == {SECONDS}
    assert len(measured) == SECONDS
    moments = {round(one.times[-1], 3) for one in visited}
    assert len(moments) == min(sessions, TICK_SLICES), "they are spread over the second"


async def test_the_way_down_is_timed_while_a_session_is_live(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not what a session is restored from: that was sent before, perhaps long ago."""
    broker = BrokerSettings(
        endpoints="nobody:8081", name_server="nobody:9876", request_topic="up", reply_topic="down", partitions=1
    )
    settings = GatewaySettings(broker=broker, api_keys_dir="/", keys_dir="/")
    hub = Hub(settings, Keys(b"k" * 32, b"t" * 16), Metrics(), "gateway-0", "10.0.0.1")
    monkeypatch.setattr("litevoice_gateway.hub.time.time", lambda: 1000.5)
    session = SimpleNamespace(phase=Phase.RESTORING)
    monkeypatch.setattr("litevoice_gateway.hub.time.monotonic", lambda: 5000.0)
    taken: list[int] = []
    written: list[float] = []
    one: Any = SimpleNamespace(session=session, delivered=lambda position, _: taken.append(position))
    hub.sessions["one"] = one
    for phase, born_at in ((Phase.RESTORING, 900.0), (Phase.LIVE, 1000.25), (Phase.LIVE, 1001.0), (Phase.LIVE, 0.0)):
        session.phase = phase
        hub._delivered(cast(Any, None), Delivery("one", len(taken), b"", born_at))
        written.append(one.reply_at)
    found = hub.metrics.registry.get_sample_value
    name = "litevoice_gateway_delivery_seconds"
    assert (found(f"{name}_count"), found(f"{name}_sum")) == (2, 0.25), "no clock is so wrong that it counts backwards"
    assert taken == [0, 1, 2, 3]
    assert written == [4899.5, 5000.0, 5000.0, 5000.0], "a log may expire however often its client has moved since"
