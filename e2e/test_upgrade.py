"""`helm upgrade` that rolls the gateways under a live call."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from e2e import environment
from e2e.scenarios import takeover
from e2e.shell import kubectl

pytestmark = pytest.mark.timeout(900)


async def test_a_call_survives_a_helm_upgrade_that_rolls_the_gateways(
    endpoint: environment.Endpoint, tmp_path: Path
) -> None:
    before = set(environment.pods("gateway"))

    async def upgrade(_pod: str) -> None:
        await asyncio.to_thread(environment.upgrade_gateway_image)

    call = await takeover.hold(endpoint, tmp_path, print, disturb=upgrade)
    selector = f"app.kubernetes.io/instance={environment.GATEWAY},app.kubernetes.io/component=gateway"
    kubectl("rollout", "status", "-n", environment.NAMESPACE, "deployment", "-l", selector, "--timeout=180s")
    assert before.isdisjoint(environment.pods("gateway")), "every gateway pod was replaced"
    assert [a.status for a in call.answers] == ["completed"] * 3
    assert takeover.QUESTIONS[0].lower() in call.answers[2].text.lower()
    assert call.packets.clean, call.packets
    assert call.events.clean, call.events
