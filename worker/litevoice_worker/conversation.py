"""The conversation so far, kept within what a snapshot may hold. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import msgspec
from msgspec.structs import replace

from litevoice_contracts.conversation import (
    MAX_ITEMS,
    MAX_SNAPSHOT_BYTES,
    ROOT,
    Item,
    ResponseRequest,
    SessionConfig,
)

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
        forgot: whether there ever were any.
    """

    __slots__ = (
        "_config",
        "_config_bytes",
        "_items",
        "_sizes",
        "dropped",
        "forgot",
    )

    def __init__(self, config: SessionConfig, items: Sequence[Item], *, forgot: bool = False) -> None:
        self.dropped = 0
        self.forgot = forgot
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

    @property
    def last_said_id(self) -> str | None:
        """Of the newest item that is more than a noise."""
        return next((item.id for item in reversed(self._items) if not item.is_noise), None)

    def find(self, item_id: str) -> Item | None:
        index = self._index(item_id)
        return None if index is None else self._items[index]

    def has_call(self, call_id: str) -> bool:
        """Whether that function was called; True as well where it may have been, and was forgotten."""
        return self.forgot or any(item.kind == "function_call" and item.call_id == call_id for item in self._items)

    def context(self, request: ResponseRequest) -> list[Item]:
        """What a response is made from: its own input, as far as that was not forgotten; or else the items up to and
        including `after_item_id`; if that is "" or was forgotten, all before the answer."""
        if request.input is not None:
            wanted = (entry if isinstance(entry, Item) else self.find(entry) for entry in request.input)
            return [item for item in wanted if item is not None]
        last, answer = self._index(request.after_item_id), self._index(request.item_id)
        if last is not None and (answer is None or last < answer):
            return self._items[: last + 1]
        return self._items[:answer]

    def take_dropped(self) -> int:
        """`dropped`, which begins at 0 again."""
        dropped, self.dropped = self.dropped, 0
        return dropped

    def configure(self, config: SessionConfig) -> None:
        """Raises TooLarge if the configuration alone would fill a snapshot."""
        size = _size(config)
        if not self.takes(config):
            raise TooLarge(f"the configuration must fit into {MAX_SNAPSHOT_BYTES - _ENVELOPE_BYTES} bytes, got {size}")
        self._config, self._config_bytes = config, size
        self._trim()

    @staticmethod
    def takes(config: SessionConfig) -> bool:
        """Whether `configure` takes it, whatever the items."""
        return _size(config) + _ENVELOPE_BYTES <= MAX_SNAPSHOT_BYTES

    def understood(self, item_id: str, text: str) -> None:
        """The transcript of an item, unless it was forgotten."""
        item = self.find(item_id)
        if item is not None:
            self.put(replace(item, text=text))

    def before(self, item_id: str) -> str | None:
        """The id of the item before it, None for the first and for one that was forgotten."""
        index = self._index(item_id)
        return self._items[index - 1].id if index else None

    def fits(self, item: Item) -> bool:
        """Whether the item could be kept at all."""
        return self._config_bytes + _size(item) + _ENVELOPE_BYTES <= MAX_SNAPSHOT_BYTES

    def append(self, item: Item) -> None:
        """Adds an item; the oldest go while a bound is exceeded."""
        self._insert(len(self._items), item)

    def insert(self, item: Item, previous_item_id: str) -> None:
        """Adds an item after that one (ROOT: before all), or at the end if it was forgotten; the oldest go."""
        index = self._index(previous_item_id)
        place = len(self._items) if index is None else index + 1
        self._insert(0 if previous_item_id == ROOT else place, item)

    def put(self, item: Item) -> None:
        """In place of the item with the same id; added if that was forgotten."""
        index = self._index(item.id)
        if index is None:
            self.append(item)
            return
        self._items[index], self._sizes[index] = item, _size(item)
        self._trim()

    def remove(self, item_id: str) -> None:
        index = self._index(item_id)
        if index is not None:
            del self._items[index], self._sizes[index]

    def _index(self, item_id: str) -> int | None:
        return next((index for index, item in enumerate(self._items) if item.id == item_id), None)

    def _insert(self, index: int, item: Item) -> None:
        self._items.insert(index, item)
        self._sizes.insert(index, _size(item))
        self._trim()

    def _trim(self) -> None:
        total = self._config_bytes + sum(self._sizes) + _ENVELOPE_BYTES
        while self._items and (len(self._items) > MAX_ITEMS or total > MAX_SNAPSHOT_BYTES):
            total -= self._sizes.pop(0)
            self._items.pop(0)
            self.dropped += 1
            self.forgot = True


def _size(value: object) -> int:
    return len(_encoder.encode(value))
