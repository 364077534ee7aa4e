"""Whatever a call to the broker comes to, who waits for its answer gets one."""

from __future__ import annotations

from typing import Any

import pytest

from litevoice_broker.errors import BrokerError, BrokerUnavailable
from litevoice_broker.lite.commands import AskOwn, Subscribe
from litevoice_broker.lite.subscription import Subscriptions


class Link:
    """A Connection whose calls, and an Admin whose questions, end with `failure`."""

    def __init__(self, failure: Exception) -> None:
        self._failure = failure
        self.config: Any = self
        self.client_id = "me"

    async def call(self, *arguments: Any) -> Any:
        raise self._failure

    async def lite_topics_of(self, *arguments: Any) -> Any:
        raise self._failure


@pytest.mark.parametrize("failure", [BrokerUnavailable("away"), KeyError("an answer of another form")])
@pytest.mark.parametrize("what", [Subscribe(("s-1",), 0), AskOwn()])
async def test_a_call_that_fails_in_any_way_is_answered(failure: Exception, what: Subscribe | AskOwn) -> None:
    link: Any = Link(failure)
    answer = await Subscriptions(link, "parent", "group", link).call(what)
    assert isinstance(answer, BrokerError) or answer == {}
    if isinstance(failure, KeyError):
        assert "an answer of another form" in str(answer)
        assert isinstance(answer, BrokerUnavailable), "it is tried again"
