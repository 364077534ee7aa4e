"""Names that are on the brokers that they are wanted on."""

from __future__ import annotations

import itertools
import string
from typing import Any

import pytest

from litevoice_broker.config import BrokerConfig
from litevoice_broker.lite.commands import Evicted
from litevoice_broker.producer import Producer
from litevoice_contracts.envelopes import KEEP_ALIVE
from litevoice_contracts.names import ClientId, Names
from litevoice_gateway.homes import Home, drawn
from litevoice_gateway.metrics import Metrics

NAMES = Names("x", "y", 8, 3)


@pytest.mark.parametrize("wanted", [{0}, {1}, {0, 2}, {0, 1, 2}])
def test_a_name_is_on_a_broker_that_is_wanted(wanted: set[int]) -> None:
    letters = itertools.cycle(string.ascii_letters)
    found = [NAMES.broker_of(drawn(lambda: next(letters), NAMES, wanted)) for _ in range(50)]
    assert set(found) == wanted


def test_any_name_will_do_when_no_broker_answers() -> None:
    assert drawn(lambda: "name", NAMES, set()) == "name"


@pytest.mark.parametrize("ready", [True, False])
async def test_who_may_have_got_what_was_for_the_next_owner_has_that_one_see_it(
    ready: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a position behind it: what was acknowledged here, that one would not miss before the next message."""
    sent: list[tuple[str, str, bytes]] = []
    monkeypatch.setattr(Producer, "ready", ready)
    monkeypatch.setattr(Producer, "enqueue_lite", lambda self, *message: sent.append(message[:3]))
    nobody: Any = None
    home = Home(
        NAMES,
        1,
        lambda role: BrokerConfig("127.0.0.1:1", ClientId.new("gateway-0", "10.0.0.1", role)),
        nobody,
        Metrics(),
        on_delivery=nobody,
        on_evicted=lambda name: sent.append((name, "evicted", b"")),
        on_failed=nobody,
    )
    evictions = [Evicted("s_1"), Evicted("s_2", intercepted=True)]
    monkeypatch.setattr(home.channel._ownership, "take", lambda: evictions)
    home.channel._carry_out()
    nothing = [(NAMES.reply_topic_on(1), "s_2", KEEP_ALIVE)] if ready else []
    assert sent == [("s_1", "evicted", b""), ("s_2", "evicted", b""), *nothing]
