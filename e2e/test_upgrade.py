"""`helm upgrade` that rolls the gateways under a live call."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from e2e import environment
from e2e.cluster_place import ClusterPlace
from e2e.shell import wait_until
from litevoice_dev.scenarios import takeover
from litevoice_dev.scenarios.place import Disturbance

pytestmark = pytest.mark.timeout(900)


async def test_a_call_survives_a_helm_upgrade_that_rolls_the_gateways(
    endpoint: environment.Endpoint, tmp_path: Path
) -> None:
    before = set(environment.pods("gateway"))

    async def upgrade(_pod: str) -> None:
        await asyncio.to_thread(environment.upgrade_gateway_image)

    disturbance = Disturbance("helm upgrade under", upgrade, cuts=False)
    call = await takeover.hold(ClusterPlace(endpoint), disturbance, takeover.SHORT, tmp_path, print)
    wait_until(lambda: before.isdisjoint(environment.pods("gateway")), 180, "every gateway pod to be replaced")
    assert call.problems == []
    assert call.packets.clean, call.packets
    assert call.events.clean, call.events
