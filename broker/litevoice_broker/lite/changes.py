"""Which LiteTopics share a call. Sans I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from litevoice_broker.lite.commands import Subscribe, Unsubscribe
from litevoice_broker.lite.topic import Topic

CALLS_AT_ONCE = 4
"""Of the same step. LiteTopics that come to it meanwhile share the next call: one alone waits for nobody, and ten
thousand takeovers at the same positions take hundreds of calls and not thirty thousand."""

Step = int | None
"""Subscribe at this offset, or unsubscribe."""


@dataclass(frozen=True, slots=True)
class Change:
    """A call that these LiteTopics share."""

    step: Step
    topics: list[Topic]

    @property
    def what(self) -> Subscribe | Unsubscribe:
        names = tuple(topic.name for topic in self.topics)
        return Unsubscribe(names) if self.step is None else Subscribe(names, self.step)


class Changes:
    """Those that are to be sent, in order, and how many calls of each step are under way."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Topic, Step]] = []
        self._under_way: Counter[Step] = Counter()

    def add(self, topic: Topic, step: Step) -> None:
        self._waiting.append((topic, step))

    def begin(self) -> Iterator[Change]:
        """The calls that may be made now."""
        waiting, self._waiting = self._waiting, []
        shared: dict[Step, list[Topic]] = {}
        for topic, step in waiting:
            if self._under_way[step] < CALLS_AT_ONCE:
                shared.setdefault(step, []).append(topic)
            else:
                self._waiting.append((topic, step))
        for step, topics in shared.items():
            self._under_way[step] += 1
            yield Change(step, topics)

    def take_back(self) -> list[tuple[Topic, Step]]:
        """What no call has been made for yet."""
        waiting, self._waiting = self._waiting, []
        return waiting

    def end(self, change: Change) -> None:
        """Its call was answered."""
        self._under_way[change.step] -= 1
        if not self._under_way[change.step]:
            del self._under_way[change.step]
