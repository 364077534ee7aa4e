"""A process that stands still does not take its own silence for the broker's."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Sequence
from typing import Any

import pytest

from litevoice_broker.errors import BrokerUnavailable
from litevoice_broker.lite import subscription
from litevoice_broker.lite.commands import Listed
from litevoice_broker.lite.subscription import Subscriptions
from litevoice_broker.patience import LATE_SECONDS, Patience

SECONDS = 0.4


async def test_what_came_while_the_process_stood_still_is_read() -> None:
    ours, theirs = socket.socketpair()
    reader, writer = await asyncio.open_connection(sock=ours)

    def stand_still() -> None:
        theirs.send(b"x")
        time.sleep(SECONDS + 0.1)

    asyncio.get_running_loop().call_soon(stand_still)
    async with Patience(SECONDS):
        assert await reader.read(1) == b"x"
    writer.close()
    theirs.close()


async def test_who_does_not_answer_is_not_waited_for_longer() -> None:
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        async with Patience(SECONDS) as patience:
            await asyncio.sleep(10.0)
    assert SECONDS <= time.monotonic() - began < SECONDS + 0.3
    assert not patience.stood_still


class Admin:
    """Fails first, after this process has stood still for so long; then it answers."""

    def __init__(self, stands_still: float) -> None:
        self.asked = 0
        self._stands_still = stands_still

    async def lite_topics(self, _topic: str, names: Sequence[str], _group: str) -> list[None]:
        self.asked += 1
        if self.asked == 1:
            await asyncio.sleep(0)
            time.sleep(self._stands_still)
            await asyncio.sleep(0.01)
            raise BrokerUnavailable("no answer")
        return [None for _ in names]


@pytest.mark.parametrize(("stands_still", "known", "asked"), [(0.4, {"s-1": Listed((), 0)}, 2), (0.0, {}, 1)])
async def test_a_question_that_failed_while_the_process_stood_still_is_asked_again(
    monkeypatch: pytest.MonkeyPatch, stands_still: float, known: dict[str, Listed], asked: int
) -> None:
    """Else a late notice is believed, and its client's newest connection closed."""
    monkeypatch.setattr(subscription, "ASKED_SECONDS", 0.8)
    monkeypatch.setattr("litevoice_broker.patience.LATE_SECONDS", LATE_SECONDS / 5)
    admin: Any = Admin(stands_still)
    connection: Any = None
    assert await Subscriptions(connection, "replies", "group", admin).listed(["s-1"]) == known
    assert admin.asked == asked
