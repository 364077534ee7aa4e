"""One measurement of a backlog, from the answers of broker and gateways."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from litevoice_contracts.control import SessionInfo
from litevoice_contracts.names import is_gateway_id, partition_of
from litevoice_operator.api.backlog_alert import BacklogValue, Culprit


@dataclass(frozen=True, slots=True)
class Waiting:
    """What waits in one LiteTopic or partition; `age_seconds`: of the oldest message, None if unknown."""

    name: str
    messages: int
    age_seconds: float | None


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement; `culprits`: largest first, without what only their owner can tell."""

    value: BacklogValue
    culprits: tuple[Culprit, ...]


def reply_sample(
    total: int, largest: Sequence[Waiting], oldest: Sequence[Waiting], existing: set[str], abandoned: set[str]
) -> Sample:
    """`total`: messages not taken by the gateways, over all sessions. `oldest` may name sessions whose LiteTopic has
    expired (the broker keeps listing them); only those in `existing` count. What waits for a session in `abandoned` is
    no backlog: its client has left, and the LiteTopic will expire. Nor is what a gateway has not read of its own
    LiteTopic."""
    abandoned = abandoned | {waiting.name for waiting in (*largest, *oldest) if is_gateway_id(waiting.name)}
    left = sum(waiting.messages for waiting in largest if waiting.name in abandoned)
    counted = [waiting for waiting in largest if waiting.messages > 0 and waiting.name not in abandoned]
    relevant = existing - abandoned
    ages = {waiting.name: waiting.age_seconds for waiting in oldest if waiting.name in relevant and waiting.age_seconds}
    ages |= {waiting.name: waiting.age_seconds for waiting in counted if waiting.age_seconds}
    culprits = tuple(
        Culprit(session=waiting.name, backlog=waiting.messages, age_seconds=_seconds(ages.get(waiting.name)))
        for waiting in counted
    )
    messages = max(0, total - left)
    age = max((_seconds(value) for value in ages.values()), default=0) if messages else 0
    return Sample(BacklogValue(messages=messages, age_seconds=age), culprits)


def request_sample(partitions: Sequence[Waiting], sessions: Mapping[str, Sequence[SessionInfo]], top: int) -> Sample:
    """`partitions` by number; `sessions`: what each gateway pod lists. If no gateway can say whose requests wait (all
    are gone), the culprits are partitions.

    What a gateway retains of an utterance that a worker is hearing is no backlog: a session counts only if its
    partition has one, and with no more than that."""
    culprits = [
        Culprit(
            session=session.session_id,
            partition=number,
            backlog=min(session.pending_requests, partitions[number].messages),
            age_seconds=_seconds(session.oldest_request_seconds),
            pod=pod,
            client=session.client,
        )
        for pod, listed in sessions.items()
        for session in listed
        if session.pending_requests > 0
        and partitions[number := partition_of(session.session_id, len(partitions))].messages > 0
    ] or [
        Culprit(partition=number, backlog=waiting.messages, age_seconds=_seconds(waiting.age_seconds))
        for number, waiting in enumerate(partitions)
        if waiting.messages > 0
    ]
    culprits.sort(key=lambda culprit: (-culprit.backlog, -culprit.age_seconds, culprit.session))
    total = sum(waiting.messages for waiting in partitions)
    age = max((_seconds(waiting.age_seconds) for waiting in partitions if waiting.messages), default=0)
    return Sample(BacklogValue(messages=total, age_seconds=age), tuple(culprits[:top]))


def located(culprit: Culprit, pod: str, node: str, client: str) -> Culprit:
    """The culprit with who holds it; unknown parts are empty."""
    return culprit.model_copy(update={"pod": pod, "node": node, "client": client})


def _seconds(age: float | None) -> int:
    return math.floor(age) if age else 0
