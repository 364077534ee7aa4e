"""Custom resources as their watch, or an answer of the API server, has shown them last."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from litevoice_operator.api.resource import Key
from litevoice_operator.decide.budget import hold_seconds

Body = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Seen:
    body: Body
    at: float

    @property
    def uid(self) -> str:
        return str(self.body["metadata"].get("uid", ""))

    @property
    def version(self) -> int:
        """Of one object these grow; -1 where they are no numbers."""
        version = str(self.body["metadata"].get("resourceVersion", ""))
        return int(version) if version.isdigit() else -1


class LastSeen:
    """Bounded by the number of those that exist. The clock (monotonic) is passed in."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, Key], _Seen] = {}

    def told(self, kind: str, key: Key, body: Body, now: float) -> None:
        """An event. One from before our own write comes after the answer to that, and says nothing new."""
        seen, kept = _Seen(body, now), self._seen.get((kind, key))
        if kept is None or kept.uid != seen.uid or kept.version <= seen.version:
            self._seen[kind, key] = seen

    def answered(self, kind: str, key: Key, body: Body | None, now: float) -> None:
        """The API server was asked, or has written it; None: it is gone. What no event has told of is not kept: then
        none would tell of its changes either."""
        if (kind, key) not in self._seen:
            return
        if body is None:
            self.forget(kind, key)
        else:
            self.told(kind, key, body, now)

    def gone(self, kind: str, key: Key, body: Body) -> None:
        """An event; of one that another of its name has followed it says nothing."""
        kept = self._seen.get((kind, key))
        if kept is not None and kept.uid == _Seen(body, 0.0).uid:
            self.forget(kind, key)

    def forget(self, kind: str, key: Key) -> None:
        self._seen.pop((kind, key), None)

    def get(self, kind: str, key: Key, now: float) -> Body | None:
        """None: it is not known, or has not been for too long."""
        seen = self._seen.get((kind, key))
        return None if seen is None or now - seen.at >= hold_seconds(len(self._seen)) else seen.body
