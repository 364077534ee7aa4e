"""What faults do to the programs, the network and the broker, at the moment that they strike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from litevoice_contracts.names import partition_of
from tests.simulation.faults import STALLS, Fault
from tests.simulation.loop import START_SECONDS, Process
from tests.simulation.misfortunes import Moments
from tests.simulation.programs import PARTITIONS, Gateway, Program, WorkerProgram

if TYPE_CHECKING:
    from tests.simulation.world import World

NOTICED_SECONDS = 2.5  # a program that stood still for less may not notice it


class Strikes:
    """Attributes:
    moments: of conversations, that faults wait for.
    to_come, begun: faults that have not, and that have. last_ends: when the last one that has begun is over.
    """

    def __init__(self, world: World, faults: Sequence[Fault]) -> None:
        self._world = world
        self.moments = Moments(world.loop, self.begin)
        self.to_come = len(faults)
        self.begun = 0
        self.last_ends = START_SECONDS

    def _whose(self, target: str) -> str:
        """The program that is meant by "caller-0's gateway" at this moment; "" for none."""
        caller, _, role = target.partition("'s ")
        client = next((one for one in self._world.clients if one.name == caller), None)
        if not role or client is None:
            return target
        if role == "gateway":
            return client.wire.gateway if client.wire is not None else ""
        reader = self._world.reader(partition_of(client.session_id, PARTITIONS))
        return reader.name if reader is not None and client.session_id else ""

    def strike(self, fault: Fault) -> None:
        """One that was not in the list."""
        self.to_come += 1
        self._world.loop.within(None, 0.0, self.begin, fault)

    def begin(self, fault: Fault) -> None:
        self.to_come -= 1
        self.begun += 1
        self.last_ends = max(self.last_ends, self._world.loop.now + fault.seconds + 0.1)
        hits = self._whose(fault.target)
        self._world.say(f"FAULT {fault}" + (f": {hits or 'nobody'}" if hits != fault.target else ""))
        if fault.target and not hits:
            return
        fault = replace(fault, target=hits)
        if fault.kind in STALLS:
            self._world.explains(fault.kind, fault.seconds, self._broker_alone(fault.target))
        hurt = self._world.workers if fault.kind.endswith("proxy") else [fault.target]
        self._world.watching.hurt(hurt, fault.seconds)
        if fault.target in self._world.workers:
            self._world.workers_hit.append(self._world.loop.now)
        if fault.kind.endswith(("broker", "proxy")):
            for gateway in self._world.gateways:
                self._world.held_up(gateway)
        program = self._world.running.get(fault.target)
        end: Any = None
        match fault.kind.split():
            case ["kill", _]:
                if program is not None:
                    self._kill(program)
                end = partial(self._world.restart, fault.target)
            case ["end", _]:
                if program is not None:
                    self._world.loop.within(program.process, 0.0, program.terminate)
            case ["freeze" | "hang" as how, _]:
                if program is not None and not program.process.frozen:
                    program.process.frozen = True
                    self._world.held_up(fault.target)
                    self._world.readiness.froze(program.process)
                    thaw = partial(self._thaw, program.process, self._world.loop.now)
                    end = thaw if how == "freeze" else partial(self._kill_hung, program)
            case ["cut"]:
                self._world.network.cut(fault.target, fault.other)
                self._world.held_up(fault.target)
                end = lambda: self._world.network.mend(fault.target, fault.other)  # noqa: E731
            case ["isolate", _]:
                for far in (*self._world.proxies, "admin"):
                    self._world.network.cut(fault.target, far)
                    self._world.loop.within(None, fault.seconds, self._world.network.mend, fault.target, far)
                self._world.held_up(fault.target)
            case ["restart", "broker"]:
                broker = next((one for one in self._world.brokers if one.name == fault.target), self._world.brokers[0])
                if broker.up:
                    broker.stop()
                    end = broker.start
            case ["restart", "proxy"]:
                proxy = self._world.proxies[fault.target]
                if proxy.up:
                    proxy.die()
                    end = proxy.start
            case ["name", *_]:
                if self._world.remoting.name_server_up:
                    self._world.remoting.name_server_up = False
                    end = partial(setattr, self._world.remoting, "name_server_up", True)
            case ["slow", _]:
                self._world.network.slow[fault.target] = 1.5
                end = lambda: self._world.network.slow.pop(fault.target, None)  # noqa: E731
            case ["deafen", _]:
                self._world.network.deaf.add(fault.target)
                end = partial(self._world.network.deaf.discard, fault.target)
            case ["lossy" | "failing" as how, _]:
                self._world.proxies[fault.target].lossy = 0.2 if how == "lossy" else 0.6
                end = partial(setattr, self._world.proxies[fault.target], "lossy", 0.0)
            case ["clock", _]:
                self._clock_jumps(fault.target, fault.by)
                end = partial(self._clock_jumps, fault.target, -fault.by)
            case ["late", _]:
                self._notices_are_late(2.0)
                end = partial(self._notices_are_late, 0.0)
            case ["lost", _]:
                self._wake_ups_are_lost(0.3)
                end = partial(self._wake_ups_are_lost, 0.0)
            case ["client", how]:
                client = next(one for one in self._world.clients if one.name == fault.target)
                if how == "vanishes":
                    client.vanish()
                elif how == "insists":
                    client.insist()
                else:
                    client.move(politely=how == "moves")
            case ["scale", _]:
                if len(self._world.members) > 1 and fault.target in self._world.members:
                    self._scale(fault.target, program)
                    end = partial(self._scale_up, fault.target)
        if end is not None:
            self._world.loop.within(None, fault.seconds, self._end, fault, end)

    def _broker_alone(self, target: str) -> int | None:
        """The broker whose sessions alone are concerned when it dies. Without the first one no partition changes its
        owner, see `World.explains`."""
        numbers = (number for number, broker in enumerate(self._world.brokers) if broker.name == target)
        return next(numbers, None)

    def _kill(self, program: Program) -> None:
        program.killed = True
        self._world.expose(program, self._world.clients)
        self._world.gone(program)

    def _kill_hung(self, program: Program) -> None:
        """As kubelet does with what answers no more; it starts a new one."""
        if not program.process.dead:
            self._kill(program)
            self._world.loop.within(None, 0.5, self._world.restart, program.process.name)

    def _thaw(self, process: Process, since: float) -> None:
        world = self._world
        program = world.running.get(process.name)
        if isinstance(program, WorkerProgram) and program.process is process:
            own = {client.session_id: partition_of(client.session_id, PARTITIONS) for client in world.clients}
            taken = [name for name, partition in own.items() if world.reader(partition) is not process]
            world.watching.thaws(program, [name for name in taken if own[name] in program.owned])
        if isinstance(program, Gateway) and program.process is process and world.loop.now - since > NOTICED_SECONDS:
            world.watching.gateway_thaws(program)
        world.loop.thaw(process)
        world.readiness.answers(process.name)

    def _scale(self, name: str, program: Program | None) -> None:
        """A worker fewer: it is told to end, and the others that it does not count."""
        self._world.leave_members(name)
        if program is not None:
            self._world.loop.within(program.process, self._world.network.random.uniform(0.0, 0.5), program.terminate)

    def _scale_up(self, name: str) -> None:
        self._world.start(name)
        self._world.join_members(name)

    def _clock_jumps(self, name: str, seconds: float) -> None:
        self._world.loop.clocks_off[name] = self._world.loop.clocks_off.get(name, 0.0) + seconds

    def _notices_are_late(self, seconds: float) -> None:
        for proxy in self._world.proxies.values():
            proxy.late_notices = seconds

    def _wake_ups_are_lost(self, probability: float) -> None:
        for topics in [topics for broker in self._world.brokers for topics in broker.lite.values()]:
            topics.lost_wake_ups = probability

    def _end(self, fault: Fault, end: Any) -> None:
        self._world.say(f"{fault.kind} {fault.target} is over")
        end()
