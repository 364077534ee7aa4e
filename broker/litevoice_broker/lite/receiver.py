"""Brings a lite channel's messages: one long poll per broker, judged one by one, acknowledged before the next poll.
While many wait, there are several polls, and none waits for acknowledgements."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Coroutine, Iterable
from functools import partial
from typing import Any

from litevoice_broker.connection import Connection
from litevoice_broker.errors import BrokerError, BrokerUnavailable
from litevoice_broker.lite.commands import Fate
from litevoice_broker.receiving import BATCH_MESSAGES, HAND_BACK_SECONDS, Poller, acknowledge, change_invisible

logger = logging.getLogger(__name__)

INVISIBLE_SECONDS = 10.0
"""How long an un-acknowledged message blocks its LiteTopic when nobody takes it over; the proxy's minimum."""
KEPT_SECONDS = 300.0
"""How often the broker hands out again what is kept there for a slow reader."""
WAIT_SECONDS = 1.0
"""When a message that came too early is handed out again, unless a takeover brings it before; to a newer owner, if the
one that it came to is none any more, which otherwise stood still for INVISIBLE_SECONDS."""
ACK_SECONDS = 0.3
"""How long acknowledgements are repeated; then the LiteTopics are taken over again, which frees them as well."""

FURTHER_POLLS, ACKS_AT_ONCE = 3, 8
"""While polls come back full: polls beside those of the brokers, and acknowledgements of each. Ten thousand sessions
that have come back read twenty thousand messages, 32 at a time: one poll after another takes 25 s, four 13 s."""
FULL_IN_A_ROW = 4
"""Polls that come back full before there are further ones: a hiccup is none of it."""
HELP_SECONDS = 5.0
"""How long a further poll waits at the broker when nothing is left; the proxy's minimum."""


class LiteReceiver:
    """`judge` decides on each message, in order; what comes while a LiteTopic is `claiming` is acknowledged when
    `claimed` says that this is over. `unanswered` gets the LiteTopics whose acknowledgement got lost,
    `refused` those whose acknowledgement the broker did not take;
    `crowded` is called when more waits than a poll brings, and polls do not wait for acknowledgements: a wake-up that
    this may cost is to be looked for. `polled` gets what each poll of a broker came to."""

    def __init__(
        self,
        connection: Connection,
        parent_topic: str,
        group: str,
        *,
        long_poll_seconds: float,
        judge: Callable[[str, Any], Fate],
        claiming: Callable[[str], bool],
        unanswered: Callable[[Collection[str]], None],
        refused: Callable[[Collection[str]], None],
        crowded: Callable[[], None],
        polled: Callable[[str, BrokerError | None], None],
    ) -> None:
        self._connection = connection
        self._parent_topic = parent_topic
        self._group = group
        self._long_poll_seconds = long_poll_seconds
        self._judge = judge
        self._claiming = claiming
        self._claimed_later: dict[str, list[Any]] = {}
        self._unanswered = unanswered
        self._refused = refused
        self._crowded = crowded
        self._polled = polled
        self._polls: dict[str, asyncio.Task[None]] = {}
        self._changes: set[asyncio.Task[None]] = set()
        self._helpers: set[asyncio.Task[None]] = set()
        self._full = 0

    async def assign(self) -> None:
        """Polls exactly the brokers that serve the parent topic now. Raises BrokerError when there is none."""
        queues = {queue.broker.name: queue for queue in await self._connection.assignments(self._parent_topic)}
        if not queues:
            raise BrokerUnavailable(f"no broker serves topic {self._parent_topic} at the moment")
        for broker in self._polls.keys() - queues.keys():
            self._polls.pop(broker).cancel()
            self._polled(broker, None)
        for broker, queue in queues.items():
            if broker not in self._polls:
                self._polls[broker] = asyncio.create_task(self._poll_forever(queue), name=f"lite poll {broker}")

    def claimed(self, names: Iterable[str]) -> None:
        """Their claims are over, one way or the other. Takeovers that share their calls share these as well."""
        messages = [message for name in names for message in self._claimed_later.pop(name, ())]
        for first in range(0, len(messages), BATCH_MESSAGES):
            self._spawn(self._acknowledge(messages[first : first + BATCH_MESSAGES]))

    async def close(self) -> None:
        """Cuts the open polls: only after the subscription is gone, else they swallow what they were about to bring."""
        tasks = [*self._polls.values(), *self._changes]
        self._polls.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _poll_forever(self, queue: Any) -> None:
        acks: set[asyncio.Task[None]] = set()
        poller = self._poller(queue, self._long_poll_seconds)
        polled = partial(self._polled, queue.broker.name)
        await poller.run(partial(self._receive, queue, acks), report=polled, leaving=asyncio.Event())

    def _poller(self, queue: Any, long_poll_seconds: float) -> Poller:
        return Poller(
            self._connection,
            self._group,
            queue,
            long_poll_seconds=long_poll_seconds,
            invisible_seconds=INVISIBLE_SECONDS,
        )

    async def _help(self, queue: Any) -> None:
        """A further poll, for as long as it comes back full."""
        acks: set[asyncio.Task[None]] = set()
        poller = self._poller(queue, HELP_SECONDS)
        full = True
        try:
            while full:
                messages = await poller.poll()
                full = len(messages) >= BATCH_MESSAGES
                await self._receive(queue, acks, messages)
        except BrokerError:
            pass  # the other polls tell
        except Exception:
            logger.exception("a further poll failed")
        finally:
            self._crowded()  # it was open while the other polls' messages were acknowledged

    async def _receive(self, queue: Any, acks: set[asyncio.Task[None]], messages: list[Any]) -> None:
        """Acknowledges before the next poll: while an acknowledgement runs, a poll can lose a LiteTopic's wake-up."""
        done = []
        kept: set[str] = set()
        for message in messages:
            name = message.system_properties.lite_topic
            match self._judge(name, message):
                case Fate.DELIVER | Fate.ACKNOWLEDGE if self._claiming(name):
                    self._claimed_later.setdefault(name, []).append(message)
                case Fate.DELIVER | Fate.ACKNOWLEDGE:
                    done.append(message)
                case Fate.HAND_BACK:
                    self._spawn(self._change_invisible(message, HAND_BACK_SECONDS))
                case Fate.WAIT:
                    self._spawn(self._change_invisible(message, WAIT_SECONDS))
                case Fate.KEEP:
                    if name not in kept:  # the first of them holds the others
                        kept.add(name)
                        self._spawn(self._change_invisible(message, KEPT_SECONDS))
        ack = self._spawn(self._acknowledge(done))
        acks.add(ack)
        ack.add_done_callback(acks.discard)
        if len(messages) >= BATCH_MESSAGES:
            self._crowded()
            self._full += 1
            if self._full >= FULL_IN_A_ROW and len(self._helpers) < FURTHER_POLLS:
                helper = self._spawn(self._help(queue))
                self._helpers.add(helper)
                helper.add_done_callback(self._helpers.discard)
            if len(acks) < ACKS_AT_ONCE:
                return
            await asyncio.wait(acks, return_when=asyncio.FIRST_COMPLETED)
        else:
            self._full = 0
            await asyncio.wait(acks)

    async def _acknowledge(self, messages: list[Any]) -> None:
        left = await acknowledge(
            self._connection,
            self._group,
            self._parent_topic,
            messages,
            patient=lambda seconds: seconds < ACK_SECONDS,
            refused=lambda some: self._refused(_names(some)),
        )
        if left:
            self._unanswered(_names(left))

    def _spawn(self, change: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(change)
        self._changes.add(task)
        task.add_done_callback(self._changes.discard)
        return task

    async def _change_invisible(self, message: Any, seconds: float) -> None:
        await change_invisible(self._connection, self._group, self._parent_topic, message, seconds)


def _names(messages: Iterable[Any]) -> set[str]:
    return {message.system_properties.lite_topic for message in messages}
