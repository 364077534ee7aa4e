"""A process that owns LiteTopics, in virtual time: the real state machine, and what channel, subscription and receiver
are around it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from litevoice_broker.errors import BrokerError, BrokerUnavailable
from litevoice_broker.lite.commands import (
    Answer,
    Ask,
    AskOwn,
    Call,
    Claimed,
    Evicted,
    Fate,
    Finished,
    Listed,
    Replace,
    Subscribe,
    Unsubscribe,
    What,
)
from litevoice_broker.lite.ownership import Ownership
from litevoice_broker.lite.receiver import ACK_SECONDS, KEPT_SECONDS, WAIT_SECONDS
from litevoice_broker.lite.subscription import ASKED_SECONDS
from litevoice_broker.receiving import HAND_BACK_SECONDS
from tests.simulation.model.lite_topics import Received
from tests.unit.broker.network import CALL_SECONDS, Network

SYNC_SECONDS = 3.0


@dataclass(slots=True)
class Takeover:
    """`over`: it failed, or the client has gone."""

    owner: str
    begun: float
    ended: float | None = None
    over: bool = False
    evictions: int = 0
    positions: list[int] = field(default_factory=list)
    """What its owner has delivered since."""


class Owner:
    """`fences`: who comes takes one step; `deliver` gets what its client is to get."""

    def __init__(self, network: Network, me: str, *, fences: bool, deliver: Callable[[Owner, Received], None]) -> None:
        self.me = me
        self.network = network
        self.ownership = Ownership(me, pause=network.random.uniform)
        self.link = 0
        self.linked = False
        self.told_link = 0
        self.frozen = False
        self.takeovers: dict[str, Takeover] = {}
        self._waiting: dict[int, Callable[[BrokerError | None], None]] = {}
        self._missed: list[Callable[[], None]] = []
        self._alarm: float | None = None
        self._polling = 0
        self._claimed_later: dict[str, list[Received]] = {}
        self._fences = fences
        self._deliver = deliver
        network.join(self)
        self._connect()
        network.clock.after(network.random.uniform(0, SYNC_SECONDS), self._sync)

    # --- the user

    def take_over(self, name: str, position: int) -> Takeover:
        takeover = self.takeovers[name] = Takeover(self.me, self.network.clock.now)

        def ended(error: BrokerError | None) -> None:
            takeover.ended = self.network.clock.now
            takeover.over |= error is not None
            self.network.say(f"{self.me}: takeover of {name} ended: {error}")

        self.network.say(f"{self.me}: client of {name} comes, at {position}")
        ownership, now = self.ownership, self.network.clock.now
        self._wait(ownership.begin([name], now) if self._fences else ownership.take_over(name, position, now), ended)
        return takeover

    def release(self, name: str) -> None:
        self.network.say(f"{self.me}: client of {name} goes")
        self.takeovers[name].over = True
        self._wait(self.ownership.release(name, self.network.clock.now), lambda error: None)

    # --- the process

    def run(self, do: Callable[[], None]) -> None:
        """When it is not frozen; else when it thaws."""
        if self.frozen:
            self._missed.append(do)
        else:
            do()

    def thaw(self) -> None:
        self.frozen = False
        missed, self._missed = self._missed, []
        for do in missed:
            self.run(do)

    def _wait(self, request: int | None, ended: Callable[[BrokerError | None], None]) -> None:
        if request is not None:
            self._waiting[request] = ended
        self._carry_out()

    def _carry_out(self) -> None:
        for command in self.ownership.take():
            match command:
                case Call():
                    self._call(command)
                case Finished(request, error):
                    ended = self._waiting.pop(request, None)
                    if ended is not None:
                        ended(error)
                case Evicted(name):
                    self.takeovers[name].evictions += 1
                    self.network.say(f"{self.me}: evicted from {name}")
                case Claimed(name):
                    if messages := self._claimed_later.pop(name, None):
                        self._acknowledge(messages, lambda: None)
        at = self.ownership.wake_at
        if at is not None and (self._alarm is None or at < self._alarm):
            self._alarm = at
            self.network.clock.after(max(0.0, at - self.network.clock.now), lambda: self.run(self._tick))

    def _tick(self) -> None:
        self._alarm = None
        self.ownership.tick(self.network.clock.now)
        self._carry_out()

    # --- calls

    def _call(self, call: Call) -> None:
        link, network = self.link, self.network

        def answer(what: Answer) -> None:
            self.ownership.answered(call.number, what, network.clock.now)
            self._carry_out()

        network.say(f"{self.me}: {call.what}")
        asked = isinstance(call.what, Ask | AskOwn)
        if not asked and not self.linked:
            network.clock.after(0.001, lambda: self.run(lambda: answer(BrokerUnavailable("not connected"))))
            return
        pause = call.what.pause if isinstance(call.what, Ask) else 0.0
        network.clock.after(
            pause,
            lambda: network.call(
                self,
                lambda: self._apply(call.what, link),
                lambda what: self.run(lambda: answer({} if asked and isinstance(what, BrokerError) else what)),
                ASKED_SECONDS if asked else CALL_SECONDS,
                asks=asked,
            ),
        )

    def _apply(self, what: What, link: int) -> Answer:
        broker = self.network.broker
        match what:
            case Ask(names):
                return {name: Listed(broker.subscribers(name), broker.length(name)) for name in names}
            case AskOwn():
                return dict.fromkeys(broker.subscribed(self.me), Listed((self.me,)))
            case Subscribe(names, offset) if link == self.link:
                self.told_link = link
                broker.subscribe(self.me, names, offset)
            case Unsubscribe(names) if link == self.link:
                broker.unsubscribe(self.me, names)
            case Replace(names, of_link) if of_link == self.link:
                self.told_link = link
                broker.replace(self.me, names)
        return None

    def notice(self, name: str) -> None:
        self.network.say(f"{self.me}: noticed {name}")
        self.ownership.noticed(name, self.network.clock.now)
        self._carry_out()

    # --- link

    def break_link(self) -> None:
        """What is on its way over it is lost. The broker forgets the client, if its proxy has not died."""
        if self.linked:
            forgotten = self.network.happens(0.5)
            self.network.say(
                f"{self.me}: link {self.link} broken, {'forgotten' if forgotten else 'its proxy has died'}"
            )
            self.linked = False
            if forgotten:
                self.network.clock.after(self.network.random.uniform(0, 0.3), lambda: self._gone(self.link))
            self.network.clock.after(self.network.random.uniform(0.1, 3), lambda: self.run(self._connect))

    def _gone(self, link: int) -> None:
        if link == self.link and not self.linked:
            self.network.broker.forget_client(self.me)

    def _connect(self) -> None:
        self.link += 1
        self.linked = True
        self._polling += 1
        self._stay_ready(self.link)

    def _stay_ready(self, link: int) -> None:
        """As `Connection`: the hook of a new link is run until it succeeds."""

        def again(error: BrokerError | None) -> None:
            if self.linked and link == self.link:
                if error is not None:
                    self.network.clock.after(0.3, lambda: self.run(lambda: self._stay_ready(link)))
                else:
                    self._poll(self._polling)
                    self._wait(self.ownership.links.settled(link, self.network.clock.now), lambda error: None)

        if self.linked and link == self.link:
            self._wait(self.ownership.links.linked(link), again)

    def _sync(self) -> None:
        def done(error: BrokerError | None) -> None:
            self.network.clock.after(SYNC_SECONDS, lambda: self.run(self._sync))

        self._wait(self.ownership.links.full_sync(self.link), done)

    # --- messages

    def _poll(self, polling: int) -> None:
        """One at a time; a broken link's poll brings nothing any more."""
        if polling != self._polling or not self.linked:
            return

        def received(messages: list[Received]) -> None:
            if polling == self._polling and self.linked:
                self._receive(polling, messages)

        self.network.poll(self, lambda messages: self.run(lambda: received(messages)))

    def _receive(self, polling: int, messages: list[Received]) -> None:
        done: list[Received] = []
        for message in messages:
            fate = self.ownership.message(message.name, message.position, self.network.clock.now)
            match fate:
                case Fate.DELIVER | Fate.ACKNOWLEDGE:
                    later = self.ownership.claiming(message.name)
                    (self._claimed_later.setdefault(message.name, []) if later else done).append(message)
                    if fate is Fate.DELIVER:
                        self.takeovers[message.name].positions.append(message.position)
                        self._deliver(self, message)
                case Fate.HAND_BACK | Fate.WAIT | Fate.KEEP:
                    seconds = {Fate.HAND_BACK: HAND_BACK_SECONDS, Fate.WAIT: WAIT_SECONDS, Fate.KEEP: KEPT_SECONDS}
                    self._change_invisible(message, seconds[fate])
        self._carry_out()
        if not done:
            self._poll(polling)
            return

        self._acknowledge(done, lambda: self._poll(polling))

    def _acknowledge(self, messages: list[Received], then: Callable[[], None]) -> None:
        def answered(answer: Answer) -> None:
            if isinstance(answer, BrokerError):
                self.ownership.heal({message.name for message in messages}, self.network.clock.now)
                self._carry_out()
            then()

        def acknowledge() -> Answer:
            for message in messages:
                self.network.broker.acknowledge(message.name, message.position, message.batch)
            return None

        self.network.call(self, acknowledge, lambda answer: self.run(lambda: answered(answer)), ACK_SECONDS)

    def _change_invisible(self, message: Received, seconds: float) -> None:
        def change() -> Answer:
            self.network.broker.change_invisible(message.name, message.position, message.batch, seconds)
            return None

        self.network.call(self, change, lambda answer: None)
