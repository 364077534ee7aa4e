"""Somebody who knows whose a LiteTopic is has its owner take it over again; over the model of RocketMQ."""

from __future__ import annotations

import pytest

from litevoice_broker.lite.channel import Delivery, LiteChannel
from tests.unit.simulation.test_conformance import Model, run
from tests.waiting import until

THIEF = "thief@10.0.0.9@gateway@0000"


def test_its_owner_takes_it_over_again_at_the_next_position_whoever_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(model: Model) -> None:
        lite, came, evicted = model.broker.lite[model.names.reply_topic], list[Delivery](), list[str]()
        config = model.config("gateway-0")
        channel = LiteChannel(
            config,
            model.names.reply_topic,
            model.names.gateway_group,
            on_delivery=came.append,
            on_evicted=evicted.append,
            admin=model.admin,
            sync_seconds=60.0,
        )
        await channel.start()
        await channel.wait_ready(30)
        assert not channel.claim_again("s_1"), "not owned yet"
        await channel.subscribe(["s_1"])
        lite.send("s_1", b"first")
        await until(lambda: len(came) == 1)
        lite.topics["s_1"].subscribers[:] = [THIEF]  # and the notice got lost
        lite.send("s_1", b"second")
        assert channel.claim_again("s_1")
        await until(lambda: len(came) == 2 and lite.subscribers("s_1") == [str(config.client_id)])
        assert [(delivery.position, delivery.body) for delivery in came] == [(0, b"first"), (1, b"second")]
        assert evicted == []
        await channel.close()

    for seed in range(3):
        run(seed, monkeypatch, work)
