"""Owners of LiteTopics in virtual time over a model broker: the seed decides every delay, fault and interleaving.

What is real is the state machine (`Ownership`); an `Owner` is what channel, subscription and receiver are around it. It
reaches the broker through `World.call` and `World.poll` only, which add delays and faults.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from litevoice_broker.errors import BrokerError, BrokerUnavailable
from litevoice_broker.lite.commands import (
    Answer,
    Ask,
    AskOwn,
    Call,
    Evicted,
    Fate,
    Finished,
    Replace,
    Subscribe,
    Unsubscribe,
    What,
)
from litevoice_broker.lite.ownership import Ownership
from litevoice_broker.lite.receiver import ACK_SECONDS, HAND_BACK_SECONDS, KEPT_SECONDS, WAIT_SECONDS
from litevoice_broker.lite.subscription import ASKED_SECONDS
from tests.unit.broker.model_broker import Clock, ModelBroker, Received

SYNC_SECONDS = 3.0
POLL_SECONDS = 5.0
CALL_SECONDS = 5.0
"""How long an answer is waited for."""
SETTLED_SECONDS = 30.0
"""Longer than INVISIBLE_SECONDS, a full sync, a poll and the waits of a takeover that brought nothing."""


@dataclass(frozen=True, slots=True)
class Faults:
    """How probable each is: of a call, a poll or a notice; the last three, of a second."""

    slow: float = 0.1
    lost_request: float = 0.0
    lost_answer: float = 0.0
    lost_wake_up: float = 0.0
    late_notice: float = 0.2
    broken_link: float = 0.0
    frozen: float = 0.0
    restart: float = 0.0


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
    """One process."""

    def __init__(self, world: World, me: str) -> None:
        self.me = me
        self.world = world
        self.ownership = Ownership(me, pause=world.random.uniform)
        self.link = 0
        self.linked = False
        self.told_link = 0
        """Over which the broker sends notices: the one that it has got the last subscription over."""
        self.frozen = False
        self.takeovers: dict[str, Takeover] = {}
        self._waiting: dict[int, Callable[[BrokerError | None], None]] = {}
        self._missed: list[Callable[[], None]] = []
        self._alarm: float | None = None
        self._polling = 0
        self._syncing = False
        self._connect()
        world.clock.after(world.random.uniform(0, SYNC_SECONDS), self._sync)

    # --- the user

    def take_over(self, name: str, position: int) -> Takeover:
        takeover = self.takeovers[name] = Takeover(self.me, self.world.clock.now)

        def ended(error: BrokerError | None) -> None:
            takeover.ended = self.world.clock.now
            takeover.over |= error is not None
            self.world.say(f"{self.me}: takeover of {name} ended: {error}")

        self.world.say(f"{self.me}: client of {name} comes, at {position}")
        ownership, now = self.ownership, self.world.clock.now
        fences = self.world.fences
        self._wait(ownership.begin([name], now) if fences else ownership.take_over(name, position, now), ended)
        return takeover

    def release(self, name: str) -> None:
        self.world.say(f"{self.me}: client of {name} goes")
        self.takeovers[name].over = True
        self._wait(self.ownership.release(name, self.world.clock.now), lambda error: None)

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
                    self.world.say(f"{self.me}: evicted from {name}")
        at = self.ownership.wake_at
        if at is not None and (self._alarm is None or at < self._alarm):
            self._alarm = at
            self.world.clock.after(max(0.0, at - self.world.clock.now), lambda: self.run(self._tick))

    def _tick(self) -> None:
        self._alarm = None
        self.ownership.tick(self.world.clock.now)
        self._carry_out()

    # --- calls

    def _call(self, call: Call) -> None:
        link, world = self.link, self.world

        def answer(what: Answer) -> None:
            self.ownership.answered(call.number, what, world.clock.now)
            self._carry_out()

        world.say(f"{self.me}: {call.what}")
        asked = isinstance(call.what, Ask | AskOwn)
        if not asked and not self.linked:
            world.clock.after(0.001, lambda: self.run(lambda: answer(BrokerUnavailable("not connected"))))
            return
        pause = call.what.pause if isinstance(call.what, Ask) else 0.0
        world.clock.after(
            pause,
            lambda: world.call(
                self,
                lambda: self._apply(call.what, link),
                lambda what: self.run(lambda: answer({} if asked and isinstance(what, BrokerError) else what)),
                ASKED_SECONDS if asked else CALL_SECONDS,
                asks=asked,
            ),
        )

    def _apply(self, what: What, link: int) -> Answer:
        broker = self.world.broker
        match what:
            case Ask(names):
                return {name: broker.subscribers(name) for name in names}
            case AskOwn():
                return dict.fromkeys(broker.subscribed(self.me), (self.me,))
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
        self.world.say(f"{self.me}: noticed {name}")
        self.ownership.noticed(name, self.world.clock.now)
        self._carry_out()

    # --- link

    def break_link(self) -> None:
        """What is on its way over it is lost. The broker forgets the client, if its proxy has not died."""
        if self.linked:
            forgotten = self.world.happens(0.5)
            self.world.say(f"{self.me}: link {self.link} broken, {'forgotten' if forgotten else 'its proxy has died'}")
            self.linked = False
            if forgotten:
                self.world.clock.after(self.world.random.uniform(0, 0.3), lambda: self._gone(self.link))
            self.world.clock.after(self.world.random.uniform(0.1, 3), lambda: self.run(self._connect))

    def _gone(self, link: int) -> None:
        if link == self.link and not self.linked:
            self.world.broker.forget_client(self.me)

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
                    self.world.clock.after(0.3, lambda: self.run(lambda: self._stay_ready(link)))
                else:
                    self._poll(self._polling)
                    self._wait(self.ownership.settled(link, self.world.clock.now), lambda error: None)

        if self.linked and link == self.link:
            self._wait(self.ownership.linked(link), again)

    def _sync(self) -> None:
        def done(error: BrokerError | None) -> None:
            self.world.clock.after(SYNC_SECONDS, lambda: self.run(self._sync))

        self._wait(self.ownership.full_sync(self.link), done)

    # --- messages

    def _poll(self, polling: int) -> None:
        """One at a time; a broken link's poll brings nothing any more."""
        if polling != self._polling or not self.linked:
            return

        def received(messages: list[Received]) -> None:
            if polling == self._polling and self.linked:
                self._receive(polling, messages)

        self.world.poll(self, lambda messages: self.run(lambda: received(messages)))

    def _receive(self, polling: int, messages: list[Received]) -> None:
        done: list[Received] = []
        for message in messages:
            fate = self.ownership.message(message.name, message.position, self.world.clock.now)
            match fate:
                case Fate.DELIVER | Fate.ACKNOWLEDGE:
                    done.append(message)
                    if fate is Fate.DELIVER:
                        self.takeovers[message.name].positions.append(message.position)
                        self.world.deliver(self, message)
                case Fate.HAND_BACK | Fate.WAIT | Fate.KEEP:
                    seconds = {Fate.HAND_BACK: HAND_BACK_SECONDS, Fate.WAIT: WAIT_SECONDS, Fate.KEEP: KEPT_SECONDS}
                    self._change_invisible(message, seconds[fate])
        self._carry_out()
        if not done:
            self._poll(polling)
            return

        def answered(answer: Answer) -> None:
            if isinstance(answer, BrokerError):
                self.ownership.heal({message.name for message in done}, self.world.clock.now)
                self._carry_out()
            self._poll(polling)

        def acknowledge() -> Answer:
            for message in done:
                self.world.broker.acknowledge(message)
            return None

        self.world.call(self, acknowledge, lambda answer: self.run(lambda: answered(answer)), ACK_SECONDS)

    def _change_invisible(self, message: Received, seconds: float) -> None:
        def change() -> Answer:
            self.world.broker.change_invisible(message, seconds)
            return None

        self.world.call(self, change, lambda answer: None)


class World:
    """`owners` processes, `sessions` clients that move between them while somebody sends to their LiteTopics. `fences`:
    nobody sends, and who comes takes one step, as a worker does for a partition."""

    def __init__(
        self,
        seed: int,
        faults: Faults,
        *,
        owners: int = 3,
        sessions: int = 2,
        seconds: float = 20.0,
        fences: bool = False,
    ) -> None:
        self.fences = fences
        self.random = Random(seed)
        self.faults = faults
        self.clock = Clock()
        self.story: list[str] = []
        self.up = True
        self.broker = ModelBroker(self.clock, self.random, on_notice=self._notify, on_wake=self._wake)
        self.broker.lost_wake_ups = faults.lost_wake_up
        self._open_polls: dict[str, Callable[[], None]] = {}
        self._notice_at: dict[tuple[str, int], float] = {}
        self._ends = seconds
        self.owners = {f"owner-{number}": Owner(self, f"owner-{number}") for number in range(owners)}
        self.takeovers: dict[str, list[Takeover]] = {f"s-{number}": [] for number in range(sessions)}
        self.clients: dict[str, list[int]] = {name: [] for name in self.takeovers}
        for name in self.takeovers:
            self._later(0.5, 0.5, lambda name=name: self._move(name))  # type: ignore[misc]
            if not fences:
                self._later(0.0, 1.0, lambda name=name: self._send(name))  # type: ignore[misc]
        for number in range(int(seconds)):
            self.clock.after(number + self.random.random(), self._fault)

    def run(self) -> None:
        """Until everything had time to settle; then the broker is asked to deliver what it has once more."""
        self.clock.run(self._ends)
        self.faults = Faults(slow=0.0, late_notice=0.0)
        self.broker.lost_wake_ups = 0.0
        for owner in self.owners.values():
            owner.thaw()
        self.clock.run(SETTLED_SECONDS)
        if not self.fences:
            for name in self.takeovers:
                self.broker.send(name)
            self.clock.run(SETTLED_SECONDS)

    def say(self, what: str) -> None:
        self.story.append(f"{self.clock.now:8.3f} {what}")

    def owned_by(self, name: str) -> list[str]:
        return [owner.me for owner in self.owners.values() if owner.ownership.get(name) is not None]

    # --- what came of it

    def broken(self) -> list[str]:
        """What must never be, when everything has settled."""
        found = []
        for name, takeovers in self.takeovers.items():
            owners, listed, seen = self.owned_by(name), self.broker.subscribers(name), self.clients[name]
            if len(owners) > 1 or owners != listed:
                found.append(f"{name}: owned by {owners}, the broker lists {listed}")
            if seen != list(range(len(seen))):
                found.append(f"{name}: its client has got {seen}")
            if owners == [takeovers[-1].owner] and len(seen) < self.broker.length(name):
                found.append(f"{name}: its client has got {len(seen)} of {self.broker.length(name)}")
            for owner in self.owners.values():
                takeover = owner.takeovers.get(name)
                if takeover is not None and not takeover.over and takeover.evictions != (owner.me not in owners):
                    found.append(f"{name}: {owner.me} was told {takeover.evictions} times that it lost it")
        return found

    def unfair(self) -> list[str]:
        """LiteTopics whose newest owner has lost them to an older one, or to nobody."""
        found = []
        for name, takeovers in self.takeovers.items():
            begun = takeovers[-1].begun
            newest = [takeover for takeover in takeovers if takeover.ended is None or takeover.ended >= begun]
            if not any(takeover.over for takeover in newest):
                owners, expected = self.owned_by(name), sorted({takeover.owner for takeover in newest})
                if not set(owners) & set(expected):
                    found.append(f"{name}: owned by {owners}, not {expected}")
        return found

    # --- network

    def delay(self) -> float:
        return self.random.uniform(0.05, 1.0) if self.happens(self.faults.slow) else self.random.uniform(0.001, 0.02)

    def happens(self, probability: float) -> bool:
        return self.random.random() < probability

    def call(
        self,
        owner: Owner,
        apply: Callable[[], Answer],
        answered: Callable[[Answer], None],
        timeout_seconds: float = CALL_SECONDS,
        *,
        asks: bool = False,
    ) -> None:
        """Answered once: when it has been applied, or when its answer does not come in time."""
        failed = BrokerUnavailable("no answer")
        link = owner.link

        def arrive() -> None:
            if not self.up:
                self.clock.after(self.delay(), lambda: answered(BrokerUnavailable("no broker")))
                return
            answer = apply()
            lost = not asks and (self.happens(self.faults.lost_answer) or link != owner.link)
            self.clock.after(timeout_seconds if lost else self.delay(), lambda: answered(failed if lost else answer))

        if not asks and self.happens(self.faults.lost_request):
            self.clock.after(timeout_seconds, lambda: answered(failed))
        else:
            self.clock.after(self.delay(), arrive)

    def poll(self, owner: Owner, received: Callable[[list[Received]], None]) -> None:
        open_until = self.clock.now + POLL_SECONDS
        link = owner.link

        def ready() -> None:
            self._open_polls.pop(owner.me, None)
            self.clock.after(self.delay(), answer)

        def answer() -> None:
            if link != owner.link or not owner.linked:
                return
            messages = self.broker.poll(owner.me) if self.up else []
            if not messages and self.clock.now < open_until:
                self._open_polls[owner.me] = ready
            else:
                self.clock.after(self.delay(), lambda: received(messages))

        def end() -> None:
            if self._open_polls.get(owner.me) is ready:
                ready()

        self.clock.after(self.delay(), answer)
        self.clock.after(POLL_SECONDS, end)

    def _wake(self, client: str) -> None:
        if client in self._open_polls:
            self._open_polls.pop(client)()

    def _notify(self, client: str, name: str) -> None:
        """In order, over the link that is there now, if it lasts."""
        owner = self.owners[client]
        link = owner.link
        if not owner.linked or owner.told_link != link:
            return
        late = self.random.uniform(0.1, 2.0) if self.happens(self.faults.late_notice) else self.random.uniform(0, 0.01)
        at = max(self.clock.now + late, self._notice_at.get((client, link), 0.0))
        self._notice_at[client, link] = at

        def arrive() -> None:
            if owner.linked and owner.link == link:
                owner.run(lambda: owner.notice(name))

        self.clock.after(at - self.clock.now, arrive)

    # --- what happens

    def _later(self, low: float, high: float, do: Callable[[], None]) -> None:
        self.clock.after(self.random.uniform(low, high), do)

    def _send(self, name: str) -> None:
        if self.clock.now < self._ends:
            if self.up:
                self.broker.send(name)
            self._later(0.0, self.random.choice([0.05, 0.5, 3.0]), lambda: self._send(name))

    def _move(self, name: str) -> None:
        """The client comes to some owner, and tells it what it has seen."""
        if self.clock.now >= self._ends:
            return
        owner = self.random.choice(list(self.owners.values()))
        previous = self.takeovers[name][-1] if self.takeovers[name] else None
        if previous is not None and previous.ended is not None and self.happens(0.2):
            left = self.owners[previous.owner]
            if not left.frozen:
                left.release(name)
        if not owner.frozen:
            self.come(name, owner)
        self._later(0.0, self.random.choice([0.1, 1.0, 4.0]), lambda: self._move(name))

    def come(self, name: str, owner: Owner) -> None:
        self.takeovers[name].append(owner.take_over(name, len(self.clients[name])))

    def deliver(self, owner: Owner, message: Received) -> None:
        """The client listens to the owner that it came to last."""
        if self.takeovers[message.name][-1].owner == owner.me:
            self.clients[message.name].append(message.position)

    def _fault(self) -> None:
        owner = self.random.choice(list(self.owners.values()))
        if self.happens(self.faults.broken_link):
            owner.break_link()
        if self.happens(self.faults.frozen) and not owner.frozen:
            self.say(f"{owner.me}: frozen")
            owner.frozen = True
            self._later(0.1, 4.0, owner.thaw)
        if self.happens(self.faults.restart) and self.up:
            self.say("broker down")
            self.up = False
            self.broker.restart()
            self._later(3.5, 8.0, self._up_again)

    def _up_again(self) -> None:
        self.say("broker up")
        self.broker.restart()
        self.up = True
