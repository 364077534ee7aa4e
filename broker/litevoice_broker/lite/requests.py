"""What the user waits for. Sans I/O."""

from __future__ import annotations

from litevoice_broker.lite.topic import Topic


class Requests:
    """A request for several LiteTopics ends with the last of them, or with the first error."""

    def __init__(self) -> None:
        self._open: dict[int, dict[Topic, None]] = {}  # that a request waits for, in order

    def __contains__(self, request: int) -> bool:
        return request in self._open

    def topics(self, request: int) -> list[Topic]:
        """That it still waits for."""
        return list(self._open.get(request, ()))

    def with_others(self, topic: Topic) -> list[Topic]:
        """The LiteTopic, and those that its requests wait for besides."""
        others = (other for request in topic.requests for other in self._open.get(request, ()))
        return list(dict.fromkeys([topic, *others]))

    def wait(self, topic: Topic, request: int) -> None:
        topic.requests.append(request)
        self._open.setdefault(request, {})[topic] = None

    def end(self, topic: Topic, *, failed: bool) -> list[int]:
        """The LiteTopic's part in its requests is over; returns those that end with it."""
        ended: list[int] = []
        for request in topic.requests:
            waiting = self._open.get(request)
            if waiting is None:
                continue
            waiting.pop(topic, None)
            if failed or not waiting:
                del self._open[request]
                ended.append(request)
        topic.requests = []
        return ended
