"""The conversation so far, kept within what a snapshot may hold. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import msgspec

from litevoice_contracts.conversation import MAX_ITEMS, MAX_SNAPSHOT_BYTES, Item, SessionConfig

_ENVELOPE_BYTES = 4096  # what a snapshot holds besides items and configuration, generously
_encoder = msgspec.msgpack.Encoder()


class TooLarge(ValueError):  # noqa: N818 - reads as what it is
    """The configuration does not fit into a snapshot; the message says how much would."""


def made_id(prefix: str, session_id: str, turn: int) -> str:
    """The id that every worker gives to the same thing, so that a replayed turn invents no other."""
    digest = hashlib.blake2b(f"{session_id}/{prefix}/{turn}".encode(), digest_size=10).hexdigest()
    return f"{prefix}_{digest}"


class Conversation:
    """Items, oldest first, and the session's configuration.

    Attributes:
        dropped: items that were forgotten to stay within the bounds.
    """

    __slots__ = (
        "_config",
        "_config_bytes",
        "_items",
        "_sizes",
        "dropped",
    )

    def __init__(self, config: SessionConfig, items: Sequence[Item]) -> None:
        self.dropped = 0
        self._config = config
        self._config_bytes = _size(config)
        self._items = list(items)
        self._sizes = [_size(item) for item in items]
        self._trim()

    @property
    def config(self) -> SessionConfig:
        return self._config

    @property
    def items(self) -> list[Item]:
        return list(self._items)

    @property
    def last_id(self) -> str | None:
        return self._items[-1].id if self._items else None

    def has(self, item_id: str) -> bool:
        return any(item.id == item_id for item in self._items)

    def up_to(self, item_id: str) -> list[Item]:
        """The items up to and including `item_id`; all of them if it is "" or was forgotten."""
        for index, item in enumerate(self._items):
            if item.id == item_id:
                return self._items[: index + 1]
        return self.items

    def take_dropped(self) -> int:
        """`dropped`, which begins at 0 again."""
        dropped, self.dropped = self.dropped, 0
        return dropped

    def configure(self, config: SessionConfig) -> None:
        """Raises TooLarge if the configuration alone would fill a snapshot."""
        size = _size(config)
        if size + _ENVELOPE_BYTES > MAX_SNAPSHOT_BYTES:
            raise TooLarge(f"the configuration must fit into {MAX_SNAPSHOT_BYTES - _ENVELOPE_BYTES} bytes, got {size}")
        self._config, self._config_bytes = config, size
        self._trim()

    def fits(self, item: Item) -> bool:
        """Whether the item could be kept at all."""
        return self._config_bytes + _size(item) + _ENVELOPE_BYTES <= MAX_SNAPSHOT_BYTES

    def append(self, item: Item) -> None:
        """Adds an item; the oldest go while a bound is exceeded."""
        self._items.append(item)
        self._sizes.append(_size(item))
        self._trim()

    def _trim(self) -> None:
        total = self._config_bytes + sum(self._sizes) + _ENVELOPE_BYTES
        while self._items and (len(self._items) > MAX_ITEMS or total > MAX_SNAPSHOT_BYTES):
            total -= self._sizes.pop(0)
            self._items.pop(0)
            self.dropped += 1


def _size(value: object) -> int:
    return len(_encoder.encode(value))
