"""What ends with a test, and has nobody after it."""

from __future__ import annotations

from litevoice_broker.partition_consumer import PartitionConsumer


async def cut_off(consumer: PartitionConsumer) -> None:
    """Ends at once; what its open poll would bring is lost for its invisible time."""
    await consumer._connection.close()
    await consumer.leave()
