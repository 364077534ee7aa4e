"""Gateways, workers and callers around one model broker, for one seed: what happens, and what must never."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from litevoice_contracts.envelopes import KEEP_ALIVE, DownEnvelope
from litevoice_contracts.names import Names, partition_of
from litevoice_gateway.frames import Binary, Message, Text
from tests.simulation import programs
from tests.simulation.answers import QUIET_SECONDS, Question
from tests.simulation.bounds import EXPIRE_SECONDS, Bounds, Idleness
from tests.simulation.client import HURRIED_SECONDS, LONG_PATIENCE_SECONDS, Client
from tests.simulation.faults import STALLS, Fault, callers_hurry, one_of_several, schedule
from tests.simulation.loop import START_SECONDS, Process, VirtualLoop
from tests.simulation.misfortunes import lost_answers, misfortunes
from tests.simulation.model.broker import ModelBroker
from tests.simulation.model.lite_topics import LiteTopics
from tests.simulation.model.network import Network
from tests.simulation.model.partition_topic import PartitionTopic
from tests.simulation.model.proxy import BROKER_TIMEOUT_SECONDS, Proxy
from tests.simulation.model.remoting import ModelRemoting
from tests.simulation.poison import Poison
from tests.simulation.programs import PARTITIONS, Gateway, Program, Readiness, WorkerProgram
from tests.simulation.protocol import said_in
from tests.simulation.seeded import quiet, seeded
from tests.simulation.striking import Strikes
from tests.simulation.watching import Watch, numbers_of
from tests.simulation.wire import GatewayEnd, Wire

SETTLE_SECONDS = 15.0
"""How long after what a fault explains everything may take until it has one owner, the one that the broker lists, and
each caller was answered."""
ANSWER_SECONDS = 3.0
"""What an answer may take when nothing is wrong, counted from the end of the question: three times what it does."""
HEALS_SECONDS = 5.0
"""So long after a broker's restart, or while acknowledgements get lost, gateways claim again what came just before."""
TWO_BROKERS_SHARE = 0.25
"""Of the seeds in which two brokers share the sessions."""
PLAIN_SHARE = 0.25
"""Of the callers that have no acknowledgements."""
STEPS_PER_SECOND = 20_000
"""Callbacks in a second of the world's: more is a loop that spins."""


@dataclass
class Result:
    seed: int
    faults: list[Fault]
    story: list[str]
    broken: list[str]
    questions: int = 0
    slowest: float = 0.0
    steps: int = 0
    longest: float = 0.0
    """The longest wait that no fault explains."""
    lost: int = 0
    """Callers whose question went with gateway and worker, see `World.excused`."""


class World:
    """Attributes:
    story: what happened, with the time. over: no new questions.
    """

    def __init__(self, seed: int, faults: list[Fault] | None = None) -> None:
        shape = Random(f"shape {seed}")
        self.seed = seed
        self.loop = VirtualLoop()
        self.story: list[str] = []
        self.problems: list[str] = []
        self.over = False
        self.stage_random = Random(f"stages {seed}")
        names = [f"gateway-{number}" for number in range(shape.randint(1, 3))]
        self.gateways = names
        self._tail = shape.choice((0.0, 0.0, 0.0, 15.0))
        self.workers = [f"worker-{number}" for number in range(shape.randint(1, 3))]
        self.members = dict.fromkeys(self.workers)
        """The workers that the others are told of."""
        proxies = [f"proxy-{number}:8081" for number in range(shape.randint(1, 2))]
        callers = [f"caller-{number}" for number in range(shape.choice((1, 1, 2, 2, 3)))]
        several = Random(f"brokers {seed}")
        self.names = Names("sim-up", "sim-down", PARTITIONS, 2 if several.random() < TWO_BROKERS_SHARE else 1)
        if faults is None:
            faults = schedule(seed, names, self.workers, proxies, callers)
            own = lost_answers(seed, callers) or misfortunes(seed, proxies, callers)
            faults = own + [fault for fault in faults if fault.kind == "clock jumps"] if own else faults
            faults = one_of_several(several, faults, self.names.brokers)
        self.faults = sorted(faults, key=lambda fault: fault.at)
        self.settings = programs.broker_settings(self.names, proxies)
        self.network = Network(self.loop, Random(f"delays {seed}"))
        random = Random(f"broker {seed}")
        self.brokers = [ModelBroker(self.loop, random, self.names, number) for number in range(self.names.brokers)]
        routes: dict[str, Proxy] = {}
        self.proxies = {name: Proxy(name, self.network, self.brokers, routes) for name in proxies}
        self.remoting = ModelRemoting(self.network, self.brokers)
        self.running: dict[str, Program] = {}
        self.gateways_begun: list[Gateway] = []
        self.wires: list[Wire] = []
        self.bounds = Bounds(seed, len(callers), len(names))
        self.idleness = Idleness(seed, callers)
        self.poison = Poison.drawn(seed, callers)
        plain = Random(f"plain {seed}")
        self.clients = [
            Client(
                self, name, Random(f"{name} {seed}"), acks=plain.random() >= PLAIN_SHARE or name == self.poison.caller
            )
            for name in callers
        ]
        patience = Random(f"patience {seed}")
        for client in self.clients:
            client.patience = LONG_PATIENCE_SECONDS if patience.random() < 1 / 3 else client.patience
        self.readiness = Readiness(self, Random(f"readiness {seed}"))
        self.watching = Watch(self)
        self.strikes = Strikes(self, self.faults)
        if callers_hurry(self.faults):
            hurried = Random(f"hurried {seed}")
            for client in self.clients:
                client.patience = hurried.uniform(*HURRIED_SECONDS)
        self._readers: dict[int, Process | None] = {}
        self._reader_changed: dict[int, float] = {}
        self._slowest = 0.0
        self._watched_steps = 0
        self._longest = 0.0
        self.explained = START_SECONDS
        """Until when a fault explains that an answer does not come."""
        self._own_explained = [START_SECONDS] * self.names.brokers
        """The same of the sessions of one broker."""
        self._workers_explained = START_SECONDS
        """Until when something explains that partitions have no reader, or another one."""
        self._heals_until = self._ways_hurt_until = 0.0
        self.workers_hit: list[float] = []

    # --- a run

    def run(self) -> Result:
        with seeded(self.seed, self.loop), programs.around(self):
            try:
                self.loop.run_until_complete(self._live())
            finally:
                self.loop.abandon()
        questions = sum(len(client.questions) for client in self.clients)
        lost = sum(client.lost for client in self.clients)
        return Result(
            self.seed,
            self.faults,
            self.story,
            self.problems,
            questions,
            self._slowest,
            self.loop.steps,
            self._longest,
            lost,
        )

    async def _live(self) -> None:
        for name in (*self.gateways, *self.workers):
            self.start(name)
        if self.idleness.caller:
            self.loop.within(None, EXPIRE_SECONDS / 6, self._expire)
        for client in self.clients:
            self.loop.within(None, client.random.uniform(0.5, 3.0), client.start)
        strikes = self.strikes
        for fault in self.faults:
            self.loop.within(None, fault.at, strikes.moments.wait_for if fault.moment else strikes.begin, fault)
        await self._until(max((fault.at + fault.seconds for fault in self.faults), default=3.0) + 0.1)
        while not self.problems and (strikes.to_come or self.loop.now < strikes.last_ends):
            await self._until(self.loop.now - START_SECONDS + 0.5)
        self.say("the faults are over")
        await self._settle()
        self.over = True
        while not self.problems and any(client.busy for client in self.clients):
            await self._until(self.loop.now - START_SECONDS + 0.5)
        await self._until(self.loop.now - START_SECONDS + 2.0)  # the last silence is on its way
        if not self.problems:
            self._check_end()

    async def _settle(self) -> None:
        """Until everything is as it should be; sometimes a while longer, for what comes undone again."""
        marks = {client: len(client.questions) for client in self.clients}
        began, seconds = self.loop.now, SETTLE_SECONDS
        seconds += 0.0 if all(client.acks for client in self.clients) else QUIET_SECONDS
        while (unsettled := self._unsettled(marks)) and not self.problems:
            if (
                self.loop.now
                > max(began, self.explained_at_all, *(client.idle_until for client in self.clients)) + seconds
            ):
                self.broken(unsettled)
            await self._until(self.loop.now - START_SECONDS + 0.5)
        self.say("everything has settled")
        await self._until(self.loop.now - START_SECONDS + self._tail)
        if not self.problems and (undone := self.watching.owners_differ()):
            await self._until(self.loop.now - START_SECONDS + 3.0)  # it may just be moving
            if not self.problems and (undone := self.watching.owners_differ()):
                self.broken(f"after all was settled, {undone}")

    def _expire(self) -> None:
        """What nobody has written to for long; a session that lives is none of it."""
        self.loop.within(None, EXPIRE_SECONDS / 6, self._expire)
        for topics in [topics for broker in self.brokers if broker.up for topics in broker.lite.values()]:
            expired = topics.expire(self.loop.now - EXPIRE_SECONDS)
            for client in self.clients:
                if client.session_id in expired and not client.lost:
                    self.broken(f"{client.name}'s session has expired")

    def _unsettled(self, marks: dict[Client, int]) -> str:
        """What is not yet as it should be: everything has its one owner, and each caller was answered since."""
        for client in self.clients:
            if self.loop.now < client.idle_until and not client.lost:
                return f"{client.name} says nothing"
            asked = client.questions[marks[client] :]
            if not client.lost and not any(question.finished for question in asked):
                return f"{client.name} is not answered any more"
        return self.watching.owners_differ()

    async def _until(self, seconds: float) -> None:
        while (left := START_SECONDS + seconds - self.loop.now) > 1e-6 and not self.problems:
            await asyncio.sleep(min(1.0, left))
            self._watch()

    # --- what everybody tells

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return round(self.loop.now - START_SECONDS, 3)

    def say(self, what: str) -> None:
        self.story.append(f"{self.seconds:8.3f} {what}")

    def broken(self, what: str) -> None:
        """Something that must never be."""
        self.say(f"BROKEN: {what}")
        self.problems.append(what)

    def excused(self, client: Client) -> bool:
        """What docs/limits.md says is lost: a gateway was killed, or left while it could not hand over, when it alone
        had what no worker was done with, and another worker reads the partition than when that was said, or one that
        was cut off."""
        question = client.answers.open
        if question is None or not question.exposed or not client.session_id:
            return False
        self._watch_readers()
        partition = partition_of(client.session_id, PARTITIONS)
        return self._reader_changed.get(partition, 0.0) >= question.asked - 1.0

    def counted(self, what: tuple[str, str]) -> int:
        """So often by all gateways."""
        return sum(gateway.counted.seen[what] for gateway in self.gateways_begun)

    def counted_losses(self) -> int:
        """Packets that gateways have counted as lost."""
        return sum(gateway.hub.lost_packets for gateway in self.gateways_begun if gateway.hub is not None)

    def heals(self) -> bool:
        """Whether gateways claim again what they had before the broker's restart, or what they could not acknowledge: a
        whole takeover may fit between two steps of that (docs/adr/0003, "Left alone")."""
        return self.loop.now < self._heals_until

    def answered(self, client: Client, question: Question) -> None:
        seconds = self.loop.now - question.asked
        self._slowest = max(self._slowest, seconds)
        self.say(f"{client.name} has its answer to {question.text!r} after {seconds:.2f} s")

    async def recognizes(self, process: Process, text: str) -> None:
        """A worker's recognizer has understood something."""
        await self.poison.comes_to("recognizer", process, text, self)

    async def computes(self, process: Process, session_id: str, question: str) -> None:
        """A worker asks its responder."""
        self.say(f"{process} computes an answer to {question!r}")
        for client in self.clients:
            if client.session_id != session_id or client.answers.unsure or client.answers.may_be_left(question):
                continue
            for asked in client.questions:
                if asked.text == question and (asked.finished or self.watching.is_finished(client, asked)):
                    self.broken(f"{process} computes the answer to {question!r} although it is finished")
        await self.poison.comes_to("responder", process, question, self)

    # --- programs

    def process(self, name: str) -> Process | None:
        program = self.running.get(name)
        return program.process if program is not None else None

    def accept(self, wire: Wire) -> str:
        """In the gateway's process. "" when the connection was accepted, else why not."""
        program = self.running.get(wire.gateway)
        if not isinstance(program, Gateway) or program.process is not wire.process or program.hub is None:
            return "connection refused"
        state = program.hub.state_for(wire._protocol.session_id)
        if state.draining or state.unready:
            return "draining" if state.draining else f"unready: {state.unready}"
        if state.full in ("sessions", "memory") or (state.full and not wire._protocol.session_id):
            return f"full: {state.full}"
        wire.connection = program.hub.accept(wire._protocol, programs.PRINCIPAL, GatewayEnd(wire), wire.client.name)
        return ""

    def reads(self, wire: Wire, message: Message) -> None:
        """A gateway does, from its client."""
        program = self.running.get(wire.gateway)
        if not wire.client.acks and isinstance(program, Gateway) and isinstance(message, Text | Binary):
            program.read.setdefault(wire.client.name, set()).update(said_in(message.content))

    def exited(self, program: Program) -> None:
        """It has ended by itself."""
        self.say(f"{program.process} has ended")
        self.gone(program)
        self.loop.within(None, 0.5, self.restart, program.process.name)

    def restart(self, name: str) -> None:
        """Unless it is not wanted any more."""
        if name in self.gateways or name in self.members or self.readiness.lacks(name):
            self.start(name)
            self.readiness.answers(name)

    def start(self, name: str) -> None:
        if name in self.running:
            return
        self.explains("start gateway" if name in self.gateways else "start worker", 0.0)
        self.watching.hurt([name], 0.0)
        program: Program = Gateway(self, name) if name in self.gateways else WorkerProgram(self, name)
        self.running[name] = program
        if isinstance(program, Gateway):
            self.gateways_begun.append(program)
        program.process.context.run(program.start)
        self.say(f"{name} starts")

    def gone(self, program: Program) -> None:
        name = program.process.name
        if self.running.get(name) is program:
            del self.running[name]
        self.loop.kill(program.process)
        self.network.process_died(program.process)
        for wire in self.wires:
            if wire.process is program.process:
                wire.gateway_died()

    # --- what faults do beside

    def leave_members(self, name: str) -> None:
        self.members.pop(name, None)
        self.say(f"{name} is no member any more")
        self._tell_members()

    def join_members(self, name: str) -> None:
        self.members[name] = None
        self.say(f"{name} is a member")
        self._tell_members()

    def _tell_members(self) -> None:
        self.explains("scale workers", 0.0)
        for worker in self.workers_running():
            worker.members.change(self, worker.process)

    def left(self, client: Client, gateway: str) -> None:
        """It goes elsewhere."""
        self._expose_if_held_up(gateway, [client])

    def held_up(self, gateway: str) -> None:
        """It stands still from now on, or does not reach the broker: who has just left it fares like who leaves it."""
        left = [client for client in self.clients if client.wire is None or client.wire.gateway != gateway]
        self._expose_if_held_up(gateway, left)

    def _expose_if_held_up(self, gateway: str, clients: Sequence[Client]) -> None:
        """One that stands still, or cannot reach the broker, hands nothing over in time."""
        program = self.running.get(gateway)
        if program is not None and (program.process.frozen or self.hampered(gateway)):
            self.expose(program, clients, lives=True)

    def takes_over(self, gateway: str, session_id: str) -> bool:
        """Its takeover is not done."""
        program = self.running.get(gateway)
        if not isinstance(program, Gateway) or program.hub is None or not session_id:
            return False
        topic = program.hub._homes.of(session_id).channel._ownership.get(session_id)
        return topic is not None and topic.taking

    def hampered(self, program: str) -> bool:
        """It does not reach the broker, or not at once, or did not a moment ago."""
        disturbed = self.loop.now < self._ways_hurt_until or not self.remoting.name_server_up
        return disturbed or self.network.is_cut_off(program)

    def expose(self, program: Program, clients: Sequence[Client], *, lives: bool = False) -> None:
        """What it keeps, nobody else has but a worker; if it `lives`, it may leave that to the next one, late."""
        if isinstance(program, Gateway):
            kept = {one.session.id for one in program.connections() if one.session._packets._says_something}
            for client in clients:
                if client.session_id in kept:
                    client.answers.expose(lives=lives)

    def explained_for(self, client: Client) -> float:
        """Until when something explains that it is not answered: that its broker is away, too."""
        if not client.session_id:
            return self.explained_at_all
        return max(self.explained, self._own_explained[self.names.broker_of(client.session_id)])

    @property
    def explained_at_all(self) -> float:
        return max(self.explained, *self._own_explained)

    def explains(self, kind: str, seconds: float, broker: int | None = None) -> None:
        """Of one `broker`'s sessions only; None for all."""
        until = self.loop.now + seconds + STALLS[kind]
        if broker is None:
            self.explained = max(self.explained, until)
        else:
            self._own_explained[broker] = max(self._own_explained[broker], until)
        if kind.endswith((" worker", " workers")):
            self._workers_explained = max(self._workers_explained, until)
        if self.loop.now < min(self._workers_explained, self._own_explained[0]):  # the first one has the fences
            self.explained = max(self.explained, self._own_explained[0])
        if kind.endswith(("broker", "proxy")) or kind.startswith("deafen"):
            self._ways_hurt_until = max(self._ways_hurt_until, self.loop.now + seconds + BROKER_TIMEOUT_SECONDS)
        if kind.endswith((" broker", " proxy", "cut")) or kind.startswith("isolate"):
            self._heals_until = max(self._heals_until, self.loop.now + seconds + HEALS_SECONDS)

    # --- what must hold

    def _watch(self) -> None:
        if self.loop.steps - self._watched_steps > STEPS_PER_SECOND:
            self.broken(f"{self.loop.steps - self._watched_steps} steps in a second: something spins")
        self._watched_steps = self.loop.steps
        self._watch_readers()
        for client in self.clients:
            question = client.answers.open
            if question is None or (client.answers.unsure and not client.answers.under_way):
                continue
            waits = self.loop.now - max(question.said_at, self.explained_for(client))
            self._longest = max(self._longest, waits)
            if waits > ANSWER_SECONDS:
                client.wrong(f"{client.name} has no answer to {question.text!r}, {waits:.1f} s after it was due")
        self.watching.look()
        for error in self.loop.errors:
            self.broken(f"nobody caught {error}")
        self.loop.errors.clear()

    def _watch_readers(self) -> None:
        for partition in range(PARTITIONS):
            reader = self.reader(partition)
            cut_off = reader is not None and self.hampered(reader.name)
            if cut_off or self._readers.get(partition) is not reader:
                self._readers[partition], self._reader_changed[partition] = reader, self.loop.now

    def reader(self, partition: int) -> Process | None:
        """One that stands still is none when somebody else has taken its place."""
        readers = [program.process for program in self.workers_running() if partition in program.owned]
        return min(readers, key=lambda process: process.frozen, default=None)

    def workers_running(self) -> list[WorkerProgram]:
        return [program for program in self.running.values() if isinstance(program, WorkerProgram)]

    def _check_end(self) -> None:
        for client in self.clients:
            self.watching.compare_with_log(client)
            if client.answers.cancels > client.answers.exposed_cancels and client.acks and not client.lost:
                self.broken(f"{client.name} has cancelled an answer, and is told nothing of it")
        self.watching.compare_with_counted()
        for name, program in self.running.items():
            if isinstance(program, Gateway):
                for connection in program.connections():
                    if connection.session.unconfirmed:
                        self.broken(f"{name}: {connection.session.unconfirmed} packets are not confirmed at the end")

    def sent_up(self, session_id: str) -> set[int]:
        """The numbers that its client has given to what the broker has of it."""
        messages = self.partition(partition_of(session_id, PARTITIONS)).messages
        return {number for message in messages for number in numbers_of(message, session_id)}

    def envelopes(self, session_id: str) -> list[tuple[int, DownEnvelope | None]]:
        """Position by position; None for a message that only keeps the log alive."""
        bodies = enumerate(self.log(session_id))
        return [(position, None if body == KEEP_ALIVE else DownEnvelope.decode(body)) for position, body in bodies]

    def log(self, session_id: str) -> list[bytes]:
        topic = self.replies(session_id).topics.get(session_id)
        return topic.bodies if topic is not None else []

    def replies(self, session_id: str) -> LiteTopics:
        """The parent of its LiteTopic."""
        return self.brokers[self.names.broker_of(session_id)].lite[self.names.reply_topic_of(session_id)]

    def partition(self, number: int) -> PartitionTopic:
        return self.brokers[self.names.broker_of_partition(number)].partitions[self.names.partition_topic(number)]


def run(seed: int, faults: list[Fault] | None = None) -> Result:
    with quiet():
        return World(seed, faults).run()


__all__ = ["Result", "World", "run"]
