"""Known faults that can be put back, to see that the simulator finds them: name → what patches the product."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from litevoice_broker.lite.ownership import Ownership
from litevoice_broker.lite.topic import Topic
from litevoice_worker.order import PacketOrder


def _lose_packets() -> None:
    """Of each envelope with several packets, one does not reach the worker's state machine."""
    give_out = PacketOrder._give_out

    def fewer(self: PacketOrder, packets: list[Any], client_seqs: list[Any], codec: Any, arrival: Any) -> None:
        give_out(self, packets, client_seqs, codec, arrival)
        if len(arrival.packets) > 1:
            del arrival.packets[1]

    PacketOrder._give_out = fewer  # type: ignore[method-assign]


def _replace(where: Any, name: str, value: Any) -> Callable[[], None]:
    return lambda: setattr(where, name, value)


PLANTS: dict[str, Callable[[], None]] = {
    "packets-are-lost": _lose_packets,
    "notices-are-not-listened-to": _replace(Ownership, "noticed", lambda *_: None),
    "nobody-else-is-believed-to-own-anything": _replace(Topic, "whose", lambda *_: True),
}
