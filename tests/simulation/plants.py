"""Known faults that can be put back, to see that the simulator finds them: name → what patches the product."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from litevoice_broker.lite.ownership import Ownership
from litevoice_broker.lite.topic import Topic


def _replace(where: Any, name: str, value: Any) -> Callable[[], None]:
    return lambda: setattr(where, name, value)


PLANTS: dict[str, Callable[[], None]] = {
    "notices-are-not-listened-to": _replace(Ownership, "noticed", lambda *_: None),
    "nobody-else-is-believed-to-own-anything": _replace(Topic, "whose", lambda *_: True),
}
