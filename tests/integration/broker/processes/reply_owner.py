"""Owns LiteTopics, takes a few messages of each and then leaves what comes un-acknowledged: it is there to be killed.

Arguments: endpoints, name server, parent topic, group, and ``name=count`` for each LiteTopic. Prints `owned`, then
`name position`.
"""

from __future__ import annotations

import asyncio
import sys

from litevoice_broker.admin import Admin
from litevoice_broker.config import BrokerConfig
from litevoice_broker.lite.channel import Delivery, LiteChannel
from litevoice_contracts.names import ClientId


async def main(endpoints: str, name_server: str, parent_topic: str, group: str, *wanted: str) -> None:
    counts = {name: int(count) for name, count in (argument.split("=") for argument in wanted)}

    def delivered(delivery: Delivery) -> None:
        print(delivery.name, delivery.position, flush=True)
        if delivery.position + 1 >= counts[delivery.name]:
            channel.pause(delivery.name)

    channel = LiteChannel(
        BrokerConfig(endpoints, ClientId.new("victim", "127.0.0.1", "test")),
        parent_topic,
        group,
        on_delivery=delivered,
        on_evicted=lambda name: print("evicted", name, flush=True),
        admin=Admin(name_server),
    )
    await channel.start()
    await channel.wait_ready(60)
    for name, count in counts.items():
        taking_over = asyncio.create_task(channel.take_over(name, 0))
        if count == 0:
            await asyncio.sleep(0)  # begun: a pause now is in force before the first message can come
            channel.pause(name)
        await taking_over
    print("owned", flush=True)
    await asyncio.Event().wait()


asyncio.run(main(*sys.argv[1:]))
