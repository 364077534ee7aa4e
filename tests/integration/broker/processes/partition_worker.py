"""Takes the first batch of a partition, prints its offsets and never finishes it: it is there to be killed.

Arguments: endpoints, topic, group.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence

from litevoice_broker.config import BrokerConfig
from litevoice_broker.partition_consumer import PartitionConsumer, PartitionMessage
from litevoice_contracts.names import ClientId


async def hold(messages: Sequence[PartitionMessage]) -> None:
    print("holds", *(message.offset for message in messages), flush=True)
    await asyncio.Event().wait()


async def main(endpoints: str, topic: str, group: str) -> None:
    config = BrokerConfig(endpoints, ClientId.new("victim", "127.0.0.1", "test"))
    consumer = PartitionConsumer(config, topic, group, handler=hold)
    await consumer.start()
    await consumer.wait_ready(60)
    print("ready", flush=True)
    await asyncio.Event().wait()


asyncio.run(main(*sys.argv[1:]))
