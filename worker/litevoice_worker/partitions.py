"""Which partitions belong to which worker: rendezvous hashing, so that a worker that comes or goes moves
only its own share.

Pure.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection


def ranking(partition: int, workers: Collection[str]) -> list[str]:
    """The workers in the order of their claim to the partition."""
    return sorted(workers, key=lambda worker: (_weight(partition, worker), worker), reverse=True)


def owned_by(worker: str, workers: Collection[str], partitions: int) -> set[int]:
    """The partitions of `worker`; none when it is not among `workers`."""
    return {partition for partition in range(partitions) if ranking(partition, workers)[:1] == [worker]}


def watched_by(worker: str, workers: Collection[str], partitions: int) -> dict[int, str]:
    """The partitions for which `worker` is next in line, with their owner: it checks that this one is alive.

    So one worker watches each partition, however many there are.
    """
    ranked = {partition: ranking(partition, workers)[:2] for partition in range(partitions)}
    return {partition: two[0] for partition, two in ranked.items() if len(two) == 2 and two[1] == worker}


def _weight(partition: int, worker: str) -> int:
    digest = hashlib.blake2b(f"{partition}/{worker}".encode(), digest_size=8).digest()
    return int.from_bytes(digest)
