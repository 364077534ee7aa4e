"""One measurement of a backlog, from the answers of broker and gateways."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from litevoice_contracts.control import SessionInfo
from litevoice_contracts.names import is_gateway_id, partition_of
from litevoice_operator.api.backlog_alert import BacklogValue, Culprit, Owner

MAX_NAMED = 5
UNEXPLAINED_SECONDS = 2
"""Gateways and brokers are asked one after the other, and count from other moments."""
MIN_STALL_SECONDS = 1.0
"""Every turn waits for a moment; before this it is no news."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """What waits in one LiteTopic or partition; `age_seconds`: of the oldest message, None if unknown."""

    name: str
    messages: int
    age_seconds: float | None


@dataclass(frozen=True, slots=True)
class Load:
    """What waits for one session, or in one partition where no session is known.

    Attributes:
        session: "" when only the partition is known.
        age_seconds: of the oldest message; of a turn, since it last made progress.
        owner: who holds the session, as far as broker and gateways tell; "" while nobody was asked.
    """

    session: str
    backlog: int
    age_seconds: int
    partition: int | None = None
    pod: str = ""
    node: str = ""
    client: str = ""
    owner: Owner | None = None

    def held_by(self, owner: Owner, pod: str = "", client: str = "") -> Load:
        return replace(self, owner=owner, pod=pod or self.pod, client=client or self.client)

    @property
    def culprit(self) -> Culprit:
        return Culprit(
            session=self.session,
            partition=self.partition,
            backlog=self.backlog,
            age_seconds=self.age_seconds,
            pod=self.pod,
            node=self.node,
            client=self.client,
            owner=self.owner,
        )


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement.

    Attributes:
        loads: all of them, worst first.
        unseen: who did not answer, in words; there may be more than was seen.
    """

    value: BacklogValue
    loads: tuple[Load, ...] = ()
    unseen: str = ""

    @classmethod
    def of(cls, loads: Iterable[Load], total: int | None = None, age_seconds: int | None = None) -> Sample:
        """`total` and `age_seconds`: when more is known than the loads tell."""
        ordered = tuple(sorted(loads, key=lambda load: (-load.backlog, -load.age_seconds, load.session)))
        value = BacklogValue(
            messages=sum(load.backlog for load in ordered) if total is None else total,
            age_seconds=max((load.age_seconds for load in ordered), default=0) if age_seconds is None else age_seconds,
            sessions=sum(1 for load in ordered if load.session),
        )
        return cls(value, ordered)


def reply_sample(total: int, waiting: Sequence[Waiting]) -> Sample:
    """`total`: messages that gateways have not taken, over all LiteTopics; `waiting`: the largest of them, perhaps all,
    and one more than once when brokers share it.

    Nothing waits for a client that has left, so whatever waits counts, whether or not its session has an owner. What a
    gateway has not read of its own LiteTopic is no session's.
    """
    loads: dict[str, Load] = {}
    for entry in waiting:
        if is_gateway_id(entry.name):
            total -= entry.messages
        elif entry.messages > 0:
            before = loads.get(entry.name, Load(entry.name, 0, 0))
            age = max(before.age_seconds, whole_seconds(entry.age_seconds))
            loads[entry.name] = Load(entry.name, before.backlog + entry.messages, age)
    return Sample.of(loads.values(), max(total, sum(load.backlog for load in loads.values())))


def in_question(sample: Sample, slow: Iterable[str], limit: int) -> list[str]:
    """Sessions whose replies are to be looked at again before all are: those of clients that read too slowly, and
    `limit` each of those with the most and with the oldest."""
    oldest = heapq.nlargest(limit, sample.loads, key=lambda load: load.age_seconds)
    return list(dict.fromkeys([*slow, *(load.session for load in (*sample.loads[:limit], *oldest))]))


def renewed(sample: Sample, waiting: Sequence[Waiting]) -> Sample:
    """Replies, with what waits now for some sessions, each once; for all others as it was."""
    loads = {load.session: load for load in sample.loads}
    total = sample.value.messages
    for entry in waiting:
        before = loads.pop(entry.name, None)
        total += entry.messages - (before.backlog if before else 0)
        if entry.messages > 0:
            loads[entry.name] = Load(entry.name, entry.messages, whole_seconds(entry.age_seconds))
    return Sample.of(loads.values(), max(total, sum(load.backlog for load in loads.values())))


def newest(sessions: Mapping[str, Sequence[SessionInfo]]) -> Iterable[tuple[str, SessionInfo]]:
    """Pod and session, each session once: of two pods that list it, the one with the newer connection has it."""
    found: dict[str, tuple[str, SessionInfo]] = {}
    for pod, listed in sessions.items():
        for session in listed:
            before = found.get(session.session_id)
            if before is None or session.age_seconds < before[1].age_seconds:
                found[session.session_id] = pod, session
    return found.values()


def request_sample(
    partitions: Sequence[Waiting], sessions: Mapping[str, Sequence[SessionInfo]], silent: Sequence[str] = ()
) -> Sample:
    """`partitions` by number; `sessions`: what each gateway pod lists; `silent`: pods that should have answered. If no
    gateway can say whose requests wait (all are gone), partitions take the sessions' place; they stand beside them
    while some are silent, and where something has waited for longer than for any session that is listed (one is gone).

    What a gateway retains of an utterance that a worker is hearing is no backlog: a session counts only if its
    partition has one, and with no more than that."""
    loads = [
        Load(
            session.session_id,
            min(session.pending_requests, partitions[number].messages),
            whole_seconds(session.oldest_request_seconds),
            number,
            pod,
            client=session.client,
            owner="Held",
        )
        for pod, session in newest(sessions)
        if session.pending_requests > 0
        and (number := partition_of(session.session_id, len(partitions))) < len(partitions)
        and partitions[number].messages > 0
    ]
    listed: dict[int | None, int] = {}
    for load in loads:
        listed[load.partition] = max(load.age_seconds, listed.get(load.partition, 0))
    loads += [
        Load("", waiting.messages, whole_seconds(waiting.age_seconds), number)
        for number, waiting in enumerate(partitions)
        if waiting.messages > 0
        and (silent or not listed or whole_seconds(waiting.age_seconds) > listed.get(number, 0) + UNEXPLAINED_SECONDS)
    ]
    total = sum(waiting.messages for waiting in partitions)
    age = max((whole_seconds(waiting.age_seconds) for waiting in partitions if waiting.messages), default=0)
    return Sample.of(loads, total, age)


def turn_sample(partitions: int, sessions: Mapping[str, Sequence[SessionInfo]], silent: Sequence[str] = ()) -> Sample:
    """Open turns that have made no progress for a moment. The worst is the one that has waited longest. `silent`: pods
    that should have answered."""
    loads = [
        Load(
            session.session_id,
            session.pending_requests,
            whole_seconds(session.stalled_seconds),
            partition_of(session.session_id, partitions),
            pod,
            client=session.client,
            owner="Held",
        )
        for pod, session in newest(sessions)
        if session.stalled_seconds >= MIN_STALL_SECONDS
    ]
    sample = Sample.of(loads)
    more = ", …" if len(silent) > MAX_NAMED else ""
    return replace(
        sample,
        loads=tuple(sorted(loads, key=lambda load: (-load.age_seconds, load.session))),
        unseen=f"gateway pods do not answer: {', '.join(silent[:MAX_NAMED])}{more}" if silent else "",
    )


def whole_seconds(age: float | None) -> int:
    return math.floor(age) if age else 0
