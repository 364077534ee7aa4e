"""The machine that owns LiteTopics and a broker that answers when a test says so; `me` and `them` are two clients."""

from __future__ import annotations

from collections.abc import Collection

import pytest

from litevoice_broker.errors import BrokerError
from litevoice_broker.lite.commands import (
    Answer,
    Ask,
    AskOwn,
    Call,
    Evicted,
    Failed,
    Fate,
    Finished,
    Healing,
    Listed,
    Subscribe,
    Unsubscribe,
    What,
)
from litevoice_broker.lite.ownership import Ownership
from litevoice_broker.lite.topic import Claim

N = "s-1"
ME, THEM = "me", "them"


class Broker:
    """Answers the machine's calls one at a time, and keeps what it was told.

    `listed`: whom it lists to an `Ask`, for every name; None: no answer. `length`: of every log. `hands_out`: what a
    takeover's first step waits for comes with its answer.
    """

    def __init__(self) -> None:
        self.ownership = Ownership(ME, pause=lambda low, high: low)
        self.now = 100.0
        self.open: list[Call] = []
        self.calls: list[What] = []
        self.finished: dict[int, BrokerError | None] = {}
        self.evicted: list[str] = []
        self.intercepted: list[str] = []
        self.failed: list[tuple[str, BrokerError]] = []
        self.heals = 0
        self.listed: Collection[str] | None = (ME,)
        self.length = 1000
        self.hands_out = True
        self.own_names: Collection[str] = (N,)

    def take(self) -> None:
        for command in self.ownership.take():
            match command:
                case Call(what=what):
                    self.calls.append(what)
                    self.open.append(command)
                case Finished(request, error):
                    assert request not in self.finished
                    self.finished[request] = error
                case Evicted(name, intercepted):
                    self.evicted.append(name)
                    self.intercepted += [name] if intercepted else []
                case Failed(name, error):
                    self.failed.append((name, error))
                case Healing():
                    self.heals += 1

    def answer(self, error: BrokerError | None = None) -> What:
        """Answers the oldest open call; returns it."""
        self.take()
        call = self.open.pop(0)
        answer: Answer = error
        if error is None and isinstance(call.what, Ask):
            answer = {}
            if self.listed is not None:
                answer = dict.fromkeys(call.what.names, Listed(self.listed, self.length))
        if error is None and isinstance(call.what, AskOwn):
            answer = dict.fromkeys(self.own_names, Listed((ME,))) if ME in (self.listed or ()) else {}
        self.ownership.answered(call.number, answer, self.now)
        if self.hands_out and isinstance(call.what, Subscribe):
            self._hand_out(call.what)
        self.take()
        return call.what

    def _hand_out(self, subscribed: Subscribe) -> None:
        for name in subscribed.names:
            topic = self.ownership.get(name)
            if topic is not None and isinstance(topic.work, Claim) and topic.work.until is not None:
                self.ownership.message(name, subscribed.offset, self.now)

    def answer_all(self) -> list[What]:
        """Until nothing is open; returns what was called since the last time."""
        self.take()
        while self.open:
            self.answer()
        calls, self.calls = self.calls, []
        return calls

    def pass_time(self, seconds: float) -> list[What]:
        """Answers all calls that become due on the way."""
        until = self.now + seconds
        while (at := self.ownership.wake_at) is not None and at <= until:
            self.now = at
            self.ownership.tick(at)
            self.take()
            while self.open:
                self.answer()
        self.now = until
        calls, self.calls = self.calls, []
        return calls

    def own(self, position: int = 3, *, message: bool = True) -> None:
        """Takes over; the message at that position has come, unless it is not wanted."""
        self.ownership.take_over(N, position, self.now)
        self.answer_all()
        if message:
            assert self.offer(position) is Fate.DELIVER

    def offer(self, position: int) -> Fate:
        return self.ownership.message(N, position, self.now)

    def notice(self) -> None:
        self.ownership.noticed(N, self.now)
        self.take()

    def sync(self) -> None:
        self.ownership.links.full_sync(self.ownership.links._link)
        self.take()


@pytest.fixture
def broker() -> Broker:
    made = Broker()
    made.ownership.links.linked(1)
    made.ownership.links.settled(1, made.now)
    made.answer_all()
    return made


def add(offset: int) -> Subscribe:
    return Subscribe((N,), offset)


REMOVE = Unsubscribe((N,))
ASK = Ask((N,))
OWN = AskOwn()
