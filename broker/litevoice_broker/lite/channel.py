"""The exclusive owner's side of many LiteTopics under one parent topic: the shell around `ownership`.

A LiteTopic's newest subscriber owns it; the one before is told by the broker. Delivery is strictly by position: lower
is dropped, next is delivered, higher is waited for and then claimed again at next, which also heals wake-ups that the
broker lost. Messages are acknowledged as soon as they are delivered; what a client still needs is decided by positions,
never by acknowledgements.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Collection, Coroutine
from dataclasses import dataclass
from typing import Any

from litevoice_broker import stubs
from litevoice_broker.admin import Admin
from litevoice_broker.alarm import Alarm
from litevoice_broker.config import BrokerConfig
from litevoice_broker.connection import ConnectedClient, Connection, subscription_settings
from litevoice_broker.errors import BrokerError, BrokerUnavailable
from litevoice_broker.lite.commands import Call, Claimed, Evicted, Failed, Fate, Finished, Healing
from litevoice_broker.lite.full_sync import Postponed
from litevoice_broker.lite.ownership import Ownership
from litevoice_broker.lite.receiver import LiteReceiver
from litevoice_broker.lite.subscription import Subscriptions
from litevoice_broker.lite.topic import Heal
from litevoice_broker.observing import Observer
from litevoice_broker.waiting import set_within

logger = logging.getLogger(__name__)

_REFRESH_ASSIGNMENTS_SYNCS = 10
RETRY_FIRST_SECONDS, RETRY_MAX_SECONDS = 0.1, 0.5
"""Full syncs while the broker does not answer: it may be back, without our subscriptions, at any moment."""
GIVE_WAY_SECONDS = 0.5
POLL_FAILS_SECONDS = 1.5
"""Longer than a poll that failed is followed by the next."""
REFUSED_SECONDS = 10.0
"""Polls that are refused for so long, or a full sync that does not come to its turn, are told by the health."""
UNREST_SECONDS = 5.0
"""After an outage. A restarted broker may not know the receipts of what it has just handed out, and wait for them."""
EXPIRES_SECONDS = 600.0
"""A LiteTopic that was silent for so long may have expired: brokers wait for 15 minutes at least."""
STOOD_STILL_SECONDS = 2.0
"""A process whose timers come so late stood still."""
LOOK_SECONDS = 2.0
"""After polls that did not wait for acknowledgements: what they lost is looked for, once for all of them."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message. `position`: its offset in the LiteTopic; `born_at`: Unix seconds, by the sender's clock."""

    name: str
    position: int
    body: bytes
    born_at: float = 0.0


@dataclass(frozen=True, slots=True)
class _Refused:
    """How the polls of a broker fail: since when, the last time, and why."""

    since: float
    last: float
    error: BrokerError


class LiteChannel(ConnectedClient):
    """All LiteTopics that this process owns under one parent topic, in one Exclusive group.

    Memory is bounded: nothing is queued here. A message is handed to `on_delivery` or left at the broker.

    `on_delivery` is called strictly by position, once for each, in the event loop; it must not block.
    `on_evicted` is called when somebody else took a LiteTopic over (newest wins); it is already forgotten here.
    `on_intercepted` is called after that when the broker may have listed this process beside the new owner: a message
    for that one may have come here, and is acknowledged. The owner learns of it with the next message.
    `on_failed`, else `on_evicted`, is called when a LiteTopic cannot go on: the broker refuses it again and again, or
    it has expired, and what is written to it now counts from 0.
    `admin` tells a notice older than the last takeover from a real one, and finds out, after a reconnect and before a
    heal, evictions whose notice got lost. While it does not answer, a LiteTopic on a busy machine may have no owner or
    two, until somebody takes it over again.
    """

    def __init__(
        self,
        config: BrokerConfig,
        parent_topic: str,
        group: str,
        *,
        on_delivery: Callable[[Delivery], None],
        on_evicted: Callable[[str], None],
        admin: Admin,
        on_failed: Callable[[str], None] | None = None,
        on_intercepted: Callable[[str], None] = lambda _: None,
        sync_seconds: float = 3.0,
        expires_seconds: float = EXPIRES_SECONDS,
        long_poll_seconds: float = 5.0,
        observer: Observer | None = None,
    ) -> None:
        super().__init__(
            Connection(
                config,
                stubs.LITE_PUSH_CONSUMER,
                group=group,
                settings=subscription_settings(group, [parent_topic]),
                on_connected=self._connected,
                on_command=self._command,
                observer=observer,
            )
        )
        self._on_delivery = on_delivery
        self._on_evicted = on_evicted
        self._on_intercepted = on_intercepted
        self._on_failed = on_failed or on_evicted
        self._sync_seconds = sync_seconds
        self._expires_seconds = expires_seconds
        self._ownership = Ownership(str(config.client_id))
        self._subscriptions = Subscriptions(self._connection, parent_topic, group, admin)
        self._receiver = LiteReceiver(
            self._connection,
            parent_topic,
            group,
            long_poll_seconds=long_poll_seconds,
            judge=self._judge,
            claiming=self._ownership.claiming,
            unanswered=self._unanswered,
            refused=self._ack_refused,
            crowded=self._crowded,
            polled=self._polled,
        )
        self._refused: dict[str, _Refused] = {}  # by broker
        self._sync_soon = asyncio.Event()
        self._synced_at = 0.0
        self._back_at = -UNREST_SECONDS
        self._beat_at = time.monotonic()
        self._stood_still = False
        self._looks = asyncio.Lock()
        self._requests: dict[int, asyncio.Future[None]] = {}
        self._calls: set[asyncio.Task[None]] = set()
        self._alarm = Alarm(self._tick)
        self._sync_task: asyncio.Task[None] | None = None
        self._way_task: asyncio.Task[None] | None = None
        self._looking: asyncio.Task[None] | None = None
        self._closed = False

    # --- life

    async def start(self) -> None:
        """Returns at once; connects, and keeps trying, in the background."""
        self._connection.start()
        if self._sync_task is None:
            self._beat_at = time.monotonic()
            self._sync_task = asyncio.create_task(self._sync_forever(), name="lite channel sync")
            self._way_task = asyncio.create_task(self._give_way(), name="lite channel way")

    async def close(self) -> None:
        """Releases everything; nothing is delivered any more. Idempotent."""
        self._closed = True
        self._alarm.cancel()
        own = (self._sync_task, self._way_task, self._looking)
        tasks = [*self._calls, *(task for task in own if task is not None)]
        self._sync_task = None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for waiting in self._requests.values():
            if not waiting.done():
                waiting.set_exception(BrokerUnavailable("the channel was closed"))
        if self._connection.generation:
            # First nothing is owned any more, then the open polls end: they can no longer swallow a message.
            with contextlib.suppress(BrokerError, TimeoutError):
                async with asyncio.timeout(2.0):
                    await self._subscriptions.send(stubs.COMPLETE_ADD, [])
        await self._receiver.close()
        await self._connection.close()

    # --- what the user wants

    @property
    def owned(self) -> int:
        """Number of LiteTopics that this process owns."""
        return 0 if self._closed else len(self._ownership)

    def position(self, name: str) -> int | None:
        """Next expected position; None when not owned."""
        topic = None if self._closed else self._ownership.get(name)
        return None if topic is None else topic.order.next_position

    async def subscribe(self, names: Collection[str]) -> None:
        """Bulk, for LiteTopics that are new: delivery from position 0. Names that are owned already stay as they are.

        Raises BrokerError when it failed; none of the new names is owned then.
        """
        await self._wait(self._ownership.begin(names, time.monotonic()))

    async def take_over(self, name: str, position: int) -> None:
        """Makes this process the owner, whoever was; delivery from `position`.

        Returns when the broker has agreed, or when the LiteTopic was released or lost again meanwhile (see `position`).
        Raises BrokerError when it failed; the LiteTopic is not owned then.
        """
        await self._wait(self._ownership.take_over(name, position, time.monotonic()))

    async def release(self, name: str) -> None:
        """Gives the LiteTopic up: nothing of it is delivered from this moment. Idempotent; never raises for the broker.

        When the broker cannot be told now, the next full sync tells it.
        """
        await self._wait(self._ownership.release(name, time.monotonic()))

    def yield_to_others(self, name: str) -> None:
        """What comes is delivered, but nothing is claimed again: whoever takes it over keeps it, whatever was lost.
        Until it is taken over by this process. A takeover that is not done is given up."""
        self._ownership.yield_to_others(name, time.monotonic())
        self._carry_out()

    def claim_again(self, name: str) -> bool:
        """Takes over once more what this process owns, at the next position, whoever the broker lists: for somebody who
        knows that it is ours. Goes on until it has worked. False when it is not owned."""
        if self.position(name) is None:
            return False
        self._ownership.heal([name], time.monotonic(), Heal.CLAIM)
        self._carry_out()
        return True

    def pause(self, name: str) -> None:
        """Stops delivering. What comes is left un-acknowledged: the broker holds it, and counts it as backlog."""
        self._ownership.pause_delivery(name)

    async def resume(self, name: str) -> None:
        """Delivers again, from the next position. Raises BrokerError when it failed; it is still paused then."""
        await self._wait(self._ownership.resume_delivery(name, time.monotonic()))

    async def wake(self) -> None:
        """Has the broker look for messages that wait in what this process owns: it loses wake-ups of a LiteTopic whose
        last message is being acknowledged (upstream issue 11191). Costs it a look at each. Never raises for the broker.
        """
        await self._subscriptions.wake()

    async def look_again(self) -> dict[str, int]:
        """After this process stood still: what has been taken over meanwhile is found out before it returns, and
        `on_evicted` told. What the broker does not answer for is still ours.

        Returns what a broker that has forgotten us lists nobody for, and how long its logs are: was it taken and left
        again meanwhile, these alone tell."""
        await self._wait(self._ownership.links.look_again())
        return self._ownership.links.unlisted()

    # --- carrying out

    async def _wait(self, request: int | None) -> None:
        """Until the request has ended. Raises its error; a user that stops waiting does not want it any more."""
        if request is None or self._closed:
            return
        ended = self._requests[request] = asyncio.get_running_loop().create_future()
        try:
            self._carry_out()
            await ended
        except asyncio.CancelledError:
            self._ownership.cancel(request, time.monotonic())
            self._carry_out()
            raise
        finally:
            del self._requests[request]

    def _carry_out(self) -> None:
        """What the ownership wants since its last input."""
        if self._closed:
            return
        commands = self._ownership.take()
        self._receiver.claimed([command.name for command in commands if isinstance(command, Claimed)])
        for command in commands:
            match command:
                case Call():
                    self._spawn(self._call(command))
                case Finished(request, error):
                    waiting = self._requests.get(request)
                    if waiting is not None and not waiting.done():
                        if error is None:
                            waiting.set_result(None)
                        else:
                            waiting.set_exception(error)
                case Evicted(name, intercepted):
                    self._tell(self._on_evicted, name, "eviction callback failed")
                    if intercepted:
                        self._tell(self._on_intercepted, name, "interception callback failed")
                case Failed(name, error):
                    logger.warning("the broker refuses a LiteTopic", extra={"lite_topic": name, "reason": str(error)})
                    self._tell(self._on_failed, name, "failure callback failed")
                case Healing():
                    self._connection.observer.on_heal()
        if (wake_at := self._ownership.wake_at) is not None:
            self._alarm.set(wake_at)

    def _tick(self) -> None:
        self._beat()  # the first to go on may be this one
        self._ownership.tick(time.monotonic())
        self._carry_out()

    async def _call(self, call: Call) -> None:
        answer = await self._subscriptions.call(call.what)
        self._beat()  # or this one
        self._ownership.answered(call.number, answer, time.monotonic())
        self._carry_out()

    # --- what the broker says

    def _command(self, command: Any) -> None:
        if command.HasField("notify_unsubscribe_lite_command"):
            self._ownership.noticed(command.notify_unsubscribe_lite_command.lite_topic, time.monotonic())
            self._carry_out()

    async def _connected(self) -> None:
        link = self._connection.generation
        await self._look_if_stood_still()
        await self._wait(self._ownership.links.linked(link))
        await self._receiver.assign()
        self._ownership.links.settled(link, time.monotonic())
        self._carry_out()

    async def _sync_forever(self) -> None:
        syncs = 0
        backoff = 0.0
        while True:
            await self._until_next_sync(backoff)
            if not self._connection.generation:
                continue
            syncs += 1
            failing = backoff > 0.0 or self._polls_fail
            try:
                await self._look_if_stood_still()
                await self._sync()
                if failing or syncs % _REFRESH_ASSIGNMENTS_SYNCS == 0:
                    await self._receiver.assign()
            except BrokerError as error:
                backoff = min(backoff * 2 or RETRY_FIRST_SECONDS, RETRY_MAX_SECONDS)
                self._refused.clear()  # the broker is away, and refuses nothing
                if not isinstance(error, Postponed) or time.monotonic() - self._synced_at > REFUSED_SECONDS:
                    self._connection.report(error)
            except Exception:
                logger.exception("full sync failed")
            else:
                self._synced_at = time.monotonic()
                refusal = self._refusal()
                backoff = RETRY_MAX_SECONDS if refusal is not None else 0.0
                self._connection.report(refusal)
                if failing:
                    self._back_at = self._synced_at
                    await self.wake()  # what came before our subscription was there again

    def _beat(self) -> None:
        now = time.monotonic()
        if now - self._beat_at > STOOD_STILL_SECONDS:
            self._stood_still = True
            self._ownership.stood_still(now)
        self._beat_at = now

    async def _look_if_stood_still(self) -> None:
        """A full sync would put us back beside whoever has taken something over meanwhile, and the broker would list us
        to everybody who asks. Nor does that of a new link run while the look is under way."""
        self._beat()
        async with self._looks:
            while self._stood_still:  # and again, if it stood still while it looked
                self._stood_still = False
                try:
                    await self._wait(self._ownership.links.look_again())
                except (BrokerError, asyncio.CancelledError):
                    self._stood_still = True
                    raise

    async def _sync(self) -> None:
        await self._wait(self._ownership.links.full_sync(self._connection.generation))

    async def _until_next_sync(self, backoff: float) -> None:
        """At once when a poll fails: the broker may have forgotten us."""
        if backoff or self._polls_fail:
            await asyncio.sleep(backoff or RETRY_MAX_SECONDS)
        else:
            await set_within(self._sync_soon, self._sync_seconds)
        self._sync_soon.clear()

    def _polled(self, broker: str, error: BrokerError | None) -> None:
        """What a poll came to. Health is what full syncs come to, unless polls are refused all the time."""
        now = time.monotonic()
        if error is None:
            self._refused.pop(broker, None)
            return
        logger.info("lite poll failed", extra={"reason": str(error)})
        again = self._polls_fail and broker in self._refused  # one alone is a hiccup
        self._refused[broker] = _Refused(self._refused[broker].since if again else now, now, error)
        if again and error.retryable and error.code != stubs.TOO_MANY_REQUESTS:
            self._ownership.links.lost(now)
        self._sync_soon.set()

    @property
    def _polls_fail(self) -> bool:
        """One that has not failed for a moment waits at the broker."""
        recently = time.monotonic() - POLL_FAILS_SECONDS
        self._refused = {broker: entry for broker, entry in self._refused.items() if entry.last > recently}
        return bool(self._refused)

    def _refusal(self) -> BrokerError | None:
        if not self._polls_fail:
            return None
        long_ago = time.monotonic() - REFUSED_SECONDS
        return next((entry.error for entry in self._refused.values() if entry.since < long_ago), None)

    async def _give_way(self) -> None:
        while True:
            await asyncio.sleep(GIVE_WAY_SECONDS)
            self._beat()
            self._ownership.give_way(time.monotonic())
            self._carry_out()

    def _judge(self, name: str, message: Any) -> Fate:
        if self._closed:
            return Fate.HAND_BACK
        position = message.system_properties.queue_offset
        now = time.monotonic()
        claiming = self._ownership.claiming(name)
        if claiming:
            self._beat()  # or this one
        topic = self._ownership.get(name)
        silent = topic is not None and bool(topic.last_message) and now - topic.last_message > self._expires_seconds
        fate = self._ownership.message(name, position, now)
        if silent and fate is Fate.ACKNOWLEDGE:
            self._spawn(self._look_for_expiry(name))
        if fate is Fate.DELIVER:
            born = message.system_properties.born_timestamp
            delivery = Delivery(name, position, message.body, born.seconds + born.nanos / 1e9)
            self._tell(self._on_delivery, delivery, "delivery callback failed")
        if fate is Fate.WAIT or claiming:  # it may be over now
            self._carry_out()
        return fate

    async def _look_for_expiry(self, name: str) -> None:
        """It came again, or its position counts from 0: then the broker's log is shorter than what we had of it."""
        length = await self._subscriptions.length(name)
        if length is not None and length < (self.position(name) or 0):
            await self.release(name)
            logger.warning("a LiteTopic has expired while it was owned", extra={"lite_topic": name})
            self._tell(self._on_failed, name, "failure callback failed")

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)

    def _crowded(self) -> None:
        self._ownership.busy(time.monotonic())
        if self._looking is None:
            self._looking = asyncio.create_task(self._look_later(), name="lite channel wake")

    async def _look_later(self) -> None:
        await asyncio.sleep(LOOK_SECONDS)
        self._looking = None
        await self.wake()

    def _unanswered(self, names: Collection[str]) -> None:
        """Their acknowledgement got lost."""
        self._ownership.heal(names, time.monotonic())
        self._carry_out()

    def _ack_refused(self, names: Collection[str]) -> None:
        """At other times it is the receipt of before a takeover, which has freed the LiteTopic."""
        if time.monotonic() - self._back_at < UNREST_SECONDS:
            self._unanswered(names)

    def _tell(self, callback: Callable[[Any], None], news: Any, failure: str) -> None:
        try:
            callback(news)
        except Exception:
            logger.exception(failure)
