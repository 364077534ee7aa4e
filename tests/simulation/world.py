"""Gateways, workers and callers around one model broker, for one seed: what happens, and what must never."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Any

import msgspec

from litevoice_contracts import events
from litevoice_contracts.conversation import SessionConfig
from litevoice_contracts.envelopes import DownEnvelope
from litevoice_contracts.names import Names
from litevoice_gateway.session_state import SessionState
from tests.simulation import programs
from tests.simulation.client import Client, Question
from tests.simulation.faults import BUSY_SECONDS, LONGEST_SECONDS, Fault, schedule
from tests.simulation.loop import START_SECONDS, Process, VirtualLoop
from tests.simulation.model.broker import ModelBroker
from tests.simulation.model.network import Network
from tests.simulation.model.proxy import Proxy
from tests.simulation.model.remoting import ModelRemoting
from tests.simulation.programs import Gateway, Program, WorkerProgram
from tests.simulation.protocol import CODEC
from tests.simulation.seeded import quiet, seeded
from tests.simulation.wire import GatewayEnd, Wire

CALM_SECONDS = 45.0
"""How long after the last fault everything may take to be as it should; longer than an order lock lasts."""
SILENCE_SECONDS = 75.0
"""The longest that a question may wait for the end of its answer, whatever happens."""
PARTITIONS = 3
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
    counts: dict[str, int] = field(default_factory=dict)


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
        self.workers = [f"worker-{number}" for number in range(shape.randint(1, 3))]
        proxies = [f"proxy-{number}:8081" for number in range(shape.randint(1, 2))]
        callers = [f"caller-{number}" for number in range(shape.randint(1, 4))]
        self.faults = schedule(seed, names, self.workers, proxies, callers) if faults is None else faults
        self.names = Names("sim-up", "sim-down", PARTITIONS)
        self.settings = programs.broker_settings("sim-up", "sim-down", PARTITIONS, proxies)
        self.network = Network(self.loop, Random(f"delays {seed}"))
        self.broker = ModelBroker(self.loop, Random(f"broker {seed}"), self.names)
        routes: dict[str, Proxy] = {}
        self.proxies = {name: Proxy(name, self.network, self.broker, routes) for name in proxies}
        self.remoting = ModelRemoting(self.network, self.broker)
        self.running: dict[str, Program] = {}
        self.wires: list[Wire] = []
        self.clients = [Client(self, name, Random(f"{name} {seed}"), acks=True) for name in callers]
        self._finished: Counter[tuple[str, str]] = Counter()
        self._slowest = 0.0
        self._watched_steps = 0

    # --- a run

    def run(self) -> Result:
        with seeded(self.seed, self.loop), programs.around(self):
            try:
                self.loop.run_until_complete(self._live())
            finally:
                self.loop.abandon()
        questions = sum(len(client.questions) for client in self.clients)
        return Result(self.seed, self.faults, self.story, self.problems, questions, self._slowest, self.loop.steps)

    async def _live(self) -> None:
        for name in (*self.gateways, *self.workers):
            self._start(name)
        for client in self.clients:
            self.loop.within(None, client.random.uniform(0.5, 3.0), client.start)
        for fault in self.faults:
            self.loop.within(None, fault.at, self._begin, fault)
        ends = max((fault.at + fault.seconds for fault in self.faults), default=0.0)
        await self._until(max(ends, 10.0) + 2.0)
        self.say("the faults are over")
        await self._until(max(ends, 10.0) + CALM_SECONDS)
        settled = len(self.problems)
        if not settled:
            self._check_owners()
        marks = {client.name: len(client.questions) for client in self.clients}
        await self._until(max(ends, 10.0) + CALM_SECONDS + 10.0)
        self.over = True
        for _ in range(60):
            if self.problems or not any(client.busy for client in self.clients):
                break
            await self._until(self.loop.now - START_SECONDS + 0.5)
        await self._until(self.loop.now - START_SECONDS + 3.0)  # the last silence is on its way
        if not self.problems:
            self._check_end(marks)

    async def _until(self, seconds: float) -> None:
        while (left := START_SECONDS + seconds - self.loop.now) > 1e-6 and not self.problems:
            await asyncio.sleep(min(1.0, left))
            self._watch()

    # --- what everybody tells

    def say(self, what: str) -> None:
        self.story.append(f"{self.loop.now - START_SECONDS:8.3f} {what}")

    def broken(self, what: str) -> None:
        """Something that must never be."""
        self.say(f"BROKEN: {what}")
        self.problems.append(what)

    def answered(self, client: Client, question: Question) -> None:
        seconds = self.loop.now - question.asked
        self._slowest = max(self._slowest, seconds)
        self.say(f"{client.name} has its answer to {question.text!r} after {seconds:.2f} s")

    def computes(self, process: Process, question: str) -> None:
        """A worker asks its responder."""
        self.say(f"{process} computes an answer to {question!r}")
        for client in self.clients:
            for asked in client.questions:
                if asked.text == question and self._is_finished(client, asked):
                    self.broken(f"{process} computes the answer to {question!r} although it is finished")

    # --- programs

    def process(self, name: str) -> Process | None:
        program = self.running.get(name)
        return program.process if program is not None else None

    def accept(self, wire: Wire) -> str:
        """In the gateway's process. "" when the connection was accepted, else why not."""
        program = self.running.get(wire.gateway)
        if not isinstance(program, Gateway) or program.process is not wire.process or program.hub is None:
            return "connection refused"
        state = program.hub.state
        if state.draining or state.unready:
            return "draining" if state.draining else f"unready: {state.unready}"
        self.wires.append(wire)
        wire.connection = program.hub.accept(wire._protocol, programs.PRINCIPAL, GatewayEnd(wire), wire.client.name)
        return ""

    def exited(self, program: Program) -> None:
        """It has ended by itself."""
        self.say(f"{program.process} has ended")
        self._gone(program)
        self.loop.within(None, 0.5, self._start, program.process.name)

    def _start(self, name: str) -> None:
        if name in self.running:
            return
        program: Program = Gateway(self, name) if name in self.gateways else WorkerProgram(self, name)
        self.running[name] = program
        program.process.context.run(program.start)
        self.say(f"{name} starts")

    def _gone(self, program: Program) -> None:
        name = program.process.name
        if self.running.get(name) is program:
            del self.running[name]
        self.loop.kill(program.process)
        self.network.process_died(program.process)
        for wire in self.wires:
            if wire.process is program.process:
                wire.gateway_died()

    # --- faults

    def _begin(self, fault: Fault) -> None:
        self.say(f"FAULT {fault}")
        program = self.running.get(fault.target)
        end: Any = None
        match fault.kind.split():
            case ["kill", _]:
                if program is not None:
                    self._gone(program)
                end = lambda: self._start(fault.target)  # noqa: E731
            case ["end", _]:
                if program is not None:
                    self.loop.within(program.process, 0.0, program.terminate)
            case ["freeze", _]:
                if program is not None and not program.process.frozen:
                    program.process.frozen = True
                    end = lambda: self.loop.thaw(program.process)  # noqa: E731
            case ["cut"]:
                self.network.cut(fault.target, fault.other)
                end = lambda: self.network.mend(fault.target, fault.other)  # noqa: E731
            case ["restart", "broker"]:
                if self.broker.up:
                    self.broker.stop()
                    end = self.broker.start
            case ["restart", "proxy"]:
                proxy = self.proxies[fault.target]
                if proxy.up:
                    proxy.die()
                    end = proxy.start
            case ["name", *_]:
                if self.remoting.name_server_up:
                    self.remoting.name_server_up = False
                    end = partial(setattr, self.remoting, "name_server_up", True)
            case ["slow", _]:
                self.network.slow[fault.target] = 1.5
                end = lambda: self.network.slow.pop(fault.target, None)  # noqa: E731
            case ["lossy", _]:
                self.proxies[fault.target].lossy = 0.2
                end = partial(setattr, self.proxies[fault.target], "lossy", 0.0)
            case ["late", _]:
                self._notices_are_late(2.0)
                end = partial(self._notices_are_late, 0.0)
            case ["lost", _]:
                self._wake_ups_are_lost(0.3)
                end = partial(self._wake_ups_are_lost, 0.0)
            case ["client", how]:
                client = next(one for one in self.clients if one.name == fault.target)
                client.move(politely=how == "moves")
        if end is not None:
            self.loop.within(None, fault.seconds, self._end, fault, end)

    def _notices_are_late(self, seconds: float) -> None:
        for proxy in self.proxies.values():
            proxy.late_notices = seconds

    def _wake_ups_are_lost(self, probability: float) -> None:
        for topics in self.broker.lite.values():
            topics.lost_wake_ups = probability

    def _end(self, fault: Fault, end: Any) -> None:
        self.say(f"{fault.kind} {fault.target} is over")
        end()

    # --- what must hold

    def _watch(self) -> None:
        if self.loop.steps - self._watched_steps > STEPS_PER_SECOND:
            self.broken(f"{self.loop.steps - self._watched_steps} steps in a second: something spins")
        self._watched_steps = self.loop.steps
        for client in self.clients:
            question = client._open
            if question is not None and self.loop.now - question.asked > SILENCE_SECONDS:
                self.broken(f"{client.name} waits for {SILENCE_SECONDS:.0f} s for an answer to {question.text!r}")
        for error in self.loop.errors:
            self.broken(f"nobody caught {error}")
        self.loop.errors.clear()

    def _check_owners(self) -> None:
        fences = self.broker.lite[self.names.control_topic]
        for partition in range(PARTITIONS):
            owners = [
                name
                for name, program in self.running.items()
                if isinstance(program, WorkerProgram) and partition in program.owned
            ]
            listed = [one.partition("@")[0] for one in fences.subscribers(self.names.fence(partition))]
            if len(owners) != 1 or owners != listed:
                self.broken(f"partition {partition} is read by {owners}, its fence is held by {listed}")
        replies = self.broker.lite[self.names.reply_topic]
        for client in self.clients:
            owners = [
                name
                for name, program in self.running.items()
                if isinstance(program, Gateway)
                and program.hub is not None
                and client.session_id in program.hub.sessions
            ]
            listed = [one.partition("@")[0] for one in replies.subscribers(client.session_id)]
            if client.hello and (len(owners) != 1 or owners != listed):
                self.broken(f"{client.name}'s session is held by {owners}, the broker lists {listed}")

    def _check_end(self, marks: dict[str, int]) -> None:
        for client in self.clients:
            if client.busy:
                assert client._open is not None
                self.broken(f"{client.name} has no answer to {client._open.text!r} at the end")
            elif len(client.questions) <= marks[client.name]:
                self.broken(f"{client.name} asks nothing any more")
            self._compare_with_log(client)
        for name, program in self.running.items():
            if isinstance(program, Gateway):
                for connection in program.connections():
                    if connection.session.unconfirmed:
                        self.broken(f"{name}: {connection.session.unconfirmed} packets are not confirmed at the end")

    def _log(self, client: Client) -> list[bytes]:
        topic = self.broker.lite[self.names.reply_topic].topics.get(client.session_id)
        return topic.bodies if topic is not None else []

    def _is_finished(self, client: Client, question: Question) -> bool:
        if not question.response:
            return False
        return any(
            isinstance(event, events.ResponseFinished) and event.response_id == question.response
            for body in self._log(client)
            for event in DownEnvelope.decode(body).events
        )

    def _compare_with_log(self, client: Client) -> None:
        """Who reads the log from its beginning must see what the client has seen."""
        state = SessionState(0, SessionConfig(input_codec=CODEC, output_codec=CODEC))
        for position, body in enumerate(self._log(client)):
            counted = state.apply(position, DownEnvelope.decode(body))
            if isinstance(counted, str):  # it does not count
                counted = []
            read = _news(msgspec.to_builtins([entry.event for entry in counted]))
            seen = _news(client.events[position]) if position < len(client.events) else read
            if read != seen:
                kinds = [event["t"] for event in read], [event["t"] for event in seen]
                self.broken(
                    f"{client.name}, position {position}: its log is read as {kinds[0]}, it was told {kinds[1]}"
                )
                return


def _news(happened: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What a client is told: who shall send again is only for whoever owns the session at that moment."""
    return [event for event in happened if event["t"] not in ("progress", "turn_replay", "epoch_rejected")]


def run(seed: int, faults: list[Fault] | None = None) -> Result:
    with quiet():
        return World(seed, faults).run()


__all__ = ["BUSY_SECONDS", "LONGEST_SECONDS", "Result", "World", "run"]
