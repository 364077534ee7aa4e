"""What the admin protocol tells about backlog and owners."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class PartitionLag:
    """Requests of one partition that no worker has taken and confirmed.

    `oldest_seconds`: age of the oldest of them, None when there are none.
    """

    topic: str
    lag: int
    oldest_seconds: float | None


@dataclass(frozen=True, slots=True)
class LiteTopicLag:
    """`count`: messages that were not acknowledged; `oldest_seconds`: age of the oldest, None when unknown."""

    name: str
    count: int
    oldest_seconds: float | None


@dataclass(frozen=True, slots=True)
class LiteLag:
    """What a group has not consumed of its LiteTopics, over all masters. A LiteTopic never consumed counts 0 here.

    `by_count`: the largest, descending; `by_age`: those whose oldest message is oldest, descending (may name LiteTopics
    that have expired).
    """

    total: int
    by_count: list[LiteTopicLag]
    by_age: list[LiteTopicLag]


_SINCE_1970_SECONDS = 1e9
"""A delay of more than 30 years is none."""


def joined(lags: Sequence[LiteLag], top: int) -> LiteLag:
    """One of several brokers, or of several groups, with the first `top` of each order."""
    by_count = sorted((lag for one in lags for lag in one.by_count), key=lambda lag: (-lag.count, lag.name))
    by_age = sorted(
        (lag for one in lags for lag in one.by_age), key=lambda lag: (-(lag.oldest_seconds or 0.0), lag.name)
    )
    return LiteLag(sum(one.total for one in lags), by_count[:top], by_age[:top])


@dataclass(frozen=True, slots=True)
class LiteTopicInfo:
    """`max_offset` is the next position; `subscribers` client ids of the group that was asked about."""

    max_offset: int
    subscribers: list[str]


@dataclass(frozen=True, slots=True)
class BrokerUse:
    """What a broker is, and how much of it is used, by all that have LiteTopics there.

    Attributes:
        version: like ``5.5.0``; "" when it does not say.
        subscriptions: of all clients to LiteTopics, at this moment.
        lite_topics: there are so many, of `max_lite_topics`, which count only with ``enableLmqQuota``.
    """

    version: str
    subscriptions: int
    lite_topics: int
    max_lite_topics: int


def broker_use(lite: Mapping[str, Any], runtime: Mapping[str, Any]) -> BrokerUse:
    """`lite`, `runtime`: what the broker tells of its LiteTopics, and of itself."""
    version = str((runtime.get("table") or {}).get("brokerVersionDesc", ""))
    counts = (int(lite.get(name, 0)) for name in ("liteSubscriptionCount", "currentLmqNum", "maxLmqNum"))
    return BrokerUse(version.removeprefix("V").replace("_", "."), *counts)


def lite_topic_lags(entries: list[dict[str, Any]] | None, now: float) -> list[LiteTopicLag]:
    """`now`: by the clock of the broker that says so."""
    found = []
    for entry in entries or []:
        oldest = int(entry.get("earliestUnconsumedTimestamp", 0))
        age = max(0.0, now - oldest / 1000) if oldest > 0 else None
        found.append(LiteTopicLag(str(entry.get("liteTopic", "")), int(entry.get("lagCount", 0)), age))
    return found


def lag_of_one(name: str, answers: Iterable[tuple[Mapping[str, Any], float]]) -> LiteTopicLag:
    """Of one LiteTopic, from what each broker answers about it alone, and what time it is there."""
    count, oldest = 0, list[float]()
    for body, now in answers:
        lag = max(0, int(body.get("totalLagCount", 0)))
        first = int(body.get("earliestUnconsumedTimestamp", 0))
        count += lag
        oldest += [max(0.0, now - first / 1000)] if lag and first > 0 else []
    return LiteTopicLag(name, count, max(oldest, default=None))


def broker_clock(spans: Iterable[Mapping[str, Any]]) -> float | None:
    """What time it is at the broker, Unix seconds: it reports the delay of a group that never committed an offset since
    1970. None when the group has committed one in each queue."""
    return max((delay for span in spans if (delay := _delay(span)) >= _SINCE_1970_SECONDS), default=None)


def oldest_request_seconds(spans: Iterable[Mapping[str, Any]]) -> float:
    """For a group that never committed an offset (see `broker_clock`) all messages wait."""
    return max(map(_oldest_of, spans), default=0.0)


def _oldest_of(span: Mapping[str, Any]) -> float:
    delay = _delay(span)
    if delay < _SINCE_1970_SECONDS:
        return delay
    first = int(span.get("minTimeStamp", 0))
    return max(0.0, delay - first / 1000) if first > 0 else 0.0


def _delay(span: Mapping[str, Any]) -> float:
    return int(span.get("delayTime", 0)) / 1000


def lite_topic_info(body: Mapping[str, Any], group: str) -> LiteTopicInfo:
    """The broker lists the subscribers of all groups."""
    listed = (entry for entry in body.get("subscriber") or [] if entry.get("group") == group)
    return LiteTopicInfo(
        max(0, int((body.get("topicOffset") or {}).get("maxOffset", 0))),
        sorted(str(entry.get("clientId", "")) for entry in listed),
    )


def client_lite_topics(body: Mapping[str, Any]) -> set[str]:
    """Names, of ``%LMQ%$parent$name``."""
    return {str(name).rpartition("$")[2] for name in body.get("liteTopicSet") or []}
