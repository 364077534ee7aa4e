"""Gateways die (kill -9) while callers speak: what the recognizer was given is all that they said, once and in order.

`python -m litevoice_dev kills` does the same for longer.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from litevoice_contracts.names import Names
from litevoice_dev.kills import ROUND_FRAMES, kill_gateways, recognizer
from litevoice_dev.stack import LocalStack
from tests.integration.shared_rocketmq import SharedRocketMQ

pytestmark = pytest.mark.timeout(240)

KILLS, SESSIONS = 2, 4


async def test_acknowledged_speech_is_heard_once_whatever_gateway_dies(
    rocketmq: SharedRocketMQ, names: Names, tmp_path: Path
) -> None:
    async with recognizer() as pipelines:
        stack = LocalStack(
            tmp_path / "stack",
            rocketmq.endpoints,
            rocketmq.name_server,
            names,
            worker={"pipelines": pipelines},
            worker_names=("worker-0",),
        )
        try:
            await stack.start(gateways=2)
            outcome = await kill_gateways(stack, kills=KILLS, sessions=SESSIONS, seed=1)
        finally:
            stack.kill()
    report = "\n".join(outcome.lines())
    assert outcome.clean, report
    assert outcome.cuts == KILLS * SESSIONS, report
    assert sum(one.arrived for one in outcome.heard) == KILLS * SESSIONS * ROUND_FRAMES, report
    assert outcome.resent > 0, report
