"""What must hold at every moment, whatever dies: beside what each caller checks by itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from litevoice_contracts import events
from litevoice_contracts.conversation import SessionConfig
from litevoice_contracts.envelopes import Bundle, DownEnvelope, UpEnvelope
from litevoice_contracts.names import partition_of
from litevoice_contracts.packets import Audio, CreateItem, EpochEnd
from litevoice_gateway.connections import Connection
from litevoice_gateway.session_state import SessionState
from tests.simulation.loop import Process
from tests.simulation.model.partition_topic import Stored
from tests.simulation.programs import PARTITIONS, Gateway, Program, WorkerProgram
from tests.simulation.protocol import CODEC
from tests.simulation.stages import answer_to, number_of

if TYPE_CHECKING:
    from tests.simulation.answers import Question
    from tests.simulation.client import Client
    from tests.simulation.world import World

P = TypeVar("P", bound=Program)
OVERLAP_SECONDS = 2.0
"""So long may a session have two owners when no fault explains it: who loses it waits for its client's Close."""
RECOVERY_SECONDS = 10.0
"""After a worker's own fault, or its proxy's, others may take it for gone: until it has been synced three times, which
needs the broker of the fences."""

AFTERWARDS_SECONDS, LATE_MESSAGES = 2.0, 1
"""What a worker that stood still had handed to its gRPC threads before leaves it at the thaw, and nothing else
(docs/adr/0014)."""

DOUBT_SECONDS = 1.0
"""So long does it take an owner that is told of another one to look who is there, step out, and look again."""

ASKED_SECONDS = 5.0
"""So long may a gateway that stood still wait for the broker to say whose its sessions are."""


class Watch:
    def __init__(self, world: World) -> None:
        self._world = world
        self._two_since: dict[str, float] = {}
        self._epochs: dict[Connection, int] = {}
        self._hurt_until: dict[str, float] = {}
        self._thawed: list[_Thawed] = []

    def hurt(self, programs: Iterable[str], seconds: float) -> None:
        """Something has happened to them, which is over after so long."""
        until = self._world.loop.now + seconds + RECOVERY_SECONDS
        for name in programs:
            self._hurt_until[name] = max(until, self._hurt_until.get(name, 0.0))

    def thaws(self, worker: WorkerProgram, sessions: Iterable[str]) -> None:
        """It goes on; others have taken the partitions of these sessions from it meanwhile."""
        if worker.worker is None:
            return
        for session_id in sessions:
            name, began = worker.process.name, len(self._world.log(session_id))
            found = _Thawed(worker.worker._message_ids.sender, session_id, began, self._world.loop.now, name)
            self._thawed.append(found)
            self._world.loop.within(None, AFTERWARDS_SECONDS, self._end_of, found)

    def gateway_thaws(self, gateway: Gateway) -> None:
        """It goes on. What others have opened a newer epoch of by now it must not send any more, unless a caller comes
        back to it: what is left to it then it sends again. What it sends before the broker has said whose it is, is
        only looked at when the broker could say it."""
        if gateway.hub is None or self._world.hampered(gateway.process.name):
            return
        names = {home.news.name for home in gateway.hub._homes._all}
        begun = [client.session_id for client in self._world.clients if client.session_id]
        epochs = {session_id: self._newest_epoch(session_id, names) for session_id in begun}
        began = {number: len(self._world.partition(number).messages) for number in range(PARTITIONS)}
        now = self._world.loop.wall()
        self._world.loop.within(None, ASKED_SECONDS, self._look_at_thawed, gateway.process, names, epochs, began, now)

    def _look_at_thawed(
        self, process: Process, names: set[str], epochs: Mapping[str, int], began: Mapping[int, int], thawed_at: float
    ) -> None:
        if self._world.hampered(process.name) or process.name in self._world.loop.clocks_off:
            return
        sent = [
            (message.born_at, envelope)
            for number, first in began.items()
            for message in self._world.partition(number).messages[first:]
            if message.born_at >= thawed_at and message.properties.get("gateway") in names
            for envelope in _envelopes(message)
            if any(not isinstance(packet, EpochEnd) for packet in envelope.packets)
        ]
        for client in self._world.clients:
            until = client.opened.get(process.name, 0.0)
            until = until if until > thawed_at else float("inf")
            own = [one.epoch for at, one in sent if one.session_id == client.session_id and at < until]
            if own and max(own) < epochs.get(client.session_id, -1) and not client.overtaken:
                self._world.broken(f"{process} stood still, and sends what it had of another gateway's session")

    def _newest_epoch(self, session_id: str, names: set[str]) -> int:
        """That others have sent in."""
        partition = self._world.partition(partition_of(session_id, PARTITIONS))
        others = (one for one in partition.messages if one.properties.get("gateway") not in names)
        found = (envelope for message in others for envelope in _envelopes(message))
        return max((envelope.epoch for envelope in found if envelope.session_id == session_id), default=-1)

    def _end_of(self, thawed: _Thawed) -> None:
        thawed.end = len(self._world.log(thawed.session_id))

    # --- again and again

    def look(self) -> None:
        self._look_at_owners()
        self._look_at_epochs()
        self._look_at_the_dead()
        self._look_at_attempts()
        self._look_at_bounds()

    def _look_at_owners(self) -> None:
        """The newest owner is the only one: the one before is told (docs/adr/0003)."""
        world = self._world
        for client in world.clients:
            owners = [
                name
                for name, program in self._running(Gateway)
                if program.hub is not None and client.session_id in program.hub.sessions
            ]
            if len(owners) < 2:
                self._two_since.pop(client.name, None)
                continue
            since = max(self._two_since.setdefault(client.name, world.loop.now), world.explained_for(client))
            if world.loop.now - since > OVERLAP_SECONDS:
                world.broken(f"{client.name}'s session is held by {owners} for {world.loop.now - since:.1f} s")

    def _look_at_epochs(self) -> None:
        """An owner begins another epoch only when a worker has refused its own, by name."""
        for name, program in self._running(Gateway):
            for connection in program.connections():
                epoch = connection.session._packets.epoch
                known = self._epochs.setdefault(connection, epoch)
                if epoch == known:
                    continue
                self._epochs[connection] = epoch
                if known >= 0 and known not in self._refused(connection.session.id):
                    self._world.broken(f"{name} begins its epoch anew, which nobody has refused")

    def _look_at_the_dead(self) -> None:
        """A worker that lives, and that nothing has happened to, is not taken for gone: not when a restarted broker
        lists nobody (docs/adr/0014)."""
        now = self._world.loop.now
        if not self._world.brokers[0].up:
            for name in [name for name, until in self._hurt_until.items() if until > now]:
                self._hurt_until[name] = max(self._hurt_until[name], now + RECOVERY_SECONDS)
        workers = {name: program for name, program in self._running(WorkerProgram) if not self._is_hurt(name, now)}
        for name, program in workers.items():
            if program.worker is None:
                continue
            for gone in program.worker._ownership._gone:
                if gone in workers:
                    self._world.broken(f"{name} takes {gone} for gone, which is there")

    def _look_at_attempts(self) -> None:
        """While a worker's question is open, who reads the log from its beginning knows of it what an owner knows, who
        may have forgiven what was asked about nothing."""
        for name, gateway in self._running(Gateway):
            for connection in gateway.connections():
                owner = connection.session._state
                log = self._world.envelopes(connection.session.id) if owner.asked else []
                if not log or log[-1][0] != owner.position:
                    continue
                state = SessionState(0, SessionConfig(input_codec=CODEC, output_codec=CODEC))
                for position, envelope in log:
                    if envelope is None:
                        state.skip(position, unreadable=False)
                    else:
                        state.apply(position, envelope)
                known, read = (owner.attempt, owner.fruitless), (state.attempt, state.fruitless)
                if known[0] != read[0] or known[1] > read[1]:
                    self._world.broken(f"{name} knows of attempts {known}, its log is read as {read}")

    def _look_at_bounds(self) -> None:
        for name, gateway in self._running(Gateway):
            if exceeded := self._world.bounds.exceeded(gateway):
                self._world.broken(f"{name} holds {exceeded}")

    def _is_hurt(self, name: str, now: float) -> bool:
        return self._hurt_until.get(name, 0.0) > now

    def _running(self, kind: type[P]) -> list[tuple[str, P]]:
        running = self._world.running.items()
        return [(name, one) for name, one in running if isinstance(one, kind) and not one.process.frozen]

    def _refused(self, session_id: str) -> set[int]:
        envelopes = (one for _, one in self._world.envelopes(session_id) if one is not None)
        return {event.rejected for one in envelopes for event in one.events if isinstance(event, events.EpochRejected)}

    # --- when it is asked

    def is_finished(self, client: Client, question: Question) -> bool:
        """A worker has said the whole answer, whether or not it counts: the models have been paid. Not when that came
        too late for whoever computes it again, see `_is_late`."""
        answer = "".join(answer_to(question.text))
        return any(
            isinstance(event, events.ResponseFinished)
            and event.status == "completed"
            and event.text == answer
            and not self._is_late(client.session_id, position, envelope)
            for position, envelope in self._world.envelopes(client.session_id)
            if envelope is not None
            for event in envelope.events
        )

    def in_doubt(self, client: Client, gateway: str) -> bool:
        """A loser's full sync was quicker than its notice, since the gateway has taken the session over: while two are
        listed neither knows who came last. Or the gateway has come after the notice: the loser, which has stepped out,
        and has found nobody, claims the session while it comes (docs/adr/0003, "Left alone")."""
        name, now = client.session_id, self._world.loop.now
        topic, proxies = self._world.replies(name).topics[name], self._world.proxies.values()
        claimed = max((at for at, one in topic.claims if one.partition("@")[0] == gateway), default=now)
        for at, loser in topic.put_back:
            told = max(proxy.notices.get((loser, name), 0.0) for proxy in proxies)
            comes_later = at < told <= claimed and loser.partition("@")[0] != gateway
            if (claimed < at < told or comes_later) and now < told + DOUBT_SECONDS:
                return True
        return False

    def _is_late(self, session_id: str, position: int, envelope: DownEnvelope) -> bool:
        """It was on its way when another worker asked, and came to stand behind the question, which ended its attempt:
        nobody can wait for it (docs/adr/0013). So it was made before the question was stored, as far as the senders'
        clocks can be believed, and is the first of its sender behind it: a session has one message on its way."""
        topic, asked_at = self._world.replies(session_id).topics[session_id], None
        for at, other in reversed(self._world.envelopes(session_id)[:position]):
            if other is None or other.id is None or envelope.id is None:
                continue  # a gateway's
            if other.id.sender == envelope.id.sender:
                break
            if isinstance(other.events[0], events.TurnReplay) and other.attempt >= envelope.attempt:
                asked_at = topic.stored[at]
        if asked_at is None:
            return False
        clocks_wrong = any(name in self._world.loop.clocks_off for name in self._world.workers)
        return clocks_wrong or topic.born[position] <= self._world.loop.wall() - self._world.loop.now + asked_at

    def owners_differ(self) -> str:
        """Whose owner is not the one that the broker lists, or who has none; "" when all is well."""
        world = self._world
        fences = world.brokers[0].lite[world.names.control_topic]
        for partition in range(PARTITIONS):
            owners = [program.process.name for program in world.workers_running() if partition in program.owned]
            listed = [one.partition("@")[0] for one in fences.subscribers(world.names.fence(partition))]
            if len(owners) != 1 or owners != listed:
                return f"partition {partition} is read by {owners}, its fence is held by {listed}"
        for client in world.clients:
            owners = [
                name
                for name, program in world.running.items()
                if isinstance(program, Gateway)
                and program.hub is not None
                and client.session_id in program.hub.sessions
            ]
            listed = [one.partition("@")[0] for one in world.replies(client.session_id).subscribers(client.session_id)]
            if client.hello and (len(owners) != 1 or owners != listed):
                return f"{client.name}'s session is held by {owners}, the broker lists {listed}"
        return ""

    def compare_with_counted(self) -> None:
        """What a gateway has read of clients without acknowledgements the broker has, or it has counted it as lost."""
        has = {client: self._world.sent_up(client.session_id) for client in self._world.clients if not client.acks}
        for gateway in self._world.gateways_begun:
            missing = {
                client.name: lost for client in has if (lost := gateway.read.get(client.name, set()) - has[client])
            }
            counted = gateway.hub.lost_packets if gateway.hub is not None else 0
            if sum(map(len, missing.values())) > counted and not gateway.killed:
                self._world.broken(f"{gateway.process} has counted {counted} packets as lost, lost are {missing}")

    def _has_it_again(self, thawed: _Thawed, position: int) -> bool:
        """It had taken the partition back when the message was stored."""
        session_id = thawed.session_id
        stored = self._world.replies(session_id).topics[session_id].stored[position]
        own = (at for at, client in self.claims(session_id) if client.partition("@")[0] == thawed.worker)
        return any(thawed.at < at < stored for at in own)

    def claims(self, session_id: str) -> Sequence[tuple[float, str]]:
        """When workers took the session's partition, and which."""
        fences = self._world.brokers[0].lite[self._world.names.control_topic].topics
        return fences[self._world.names.fence(partition_of(session_id, PARTITIONS))].claims

    def compare_with_log(self, client: Client) -> None:
        """Who reads the log from its beginning must see what the client has seen."""
        state = SessionState(0, SessionConfig(input_codec=CODEC, output_codec=CODEC))
        late = 0
        for position, envelope in self._world.envelopes(client.session_id):
            if envelope is None:
                state.skip(position, unreadable=False)
                continue
            counted = state.apply(position, envelope)
            if isinstance(counted, str):  # it does not count
                late += counted == "stale_attempt" and any(
                    one.published(client.session_id, position, envelope) and not self._has_it_again(one, position)
                    for one in self._thawed
                )
                counted = []
            read = _news(msgspec.to_builtins([entry.event for entry in counted]))
            seen = _news(client.events[position]) if position < len(client.events) else read
            if read != seen:
                kinds = [event["t"] for event in read], [event["t"] for event in seen]
                self._world.broken(
                    f"{client.name}, position {position}: its log is read as {kinds[0]}, it was told {kinds[1]}"
                )
                return
        if late > LATE_MESSAGES:
            self._world.broken(
                f"{client.name}: {late} messages of a worker that stood still and is not its own any more"
            )


def numbers_of(message: Stored, session_id: str) -> Iterable[int]:
    """Of tones and items that were typed, as the client has numbered them."""
    for envelope in _envelopes(message):
        for packet in envelope.packets if envelope.session_id == session_id else ():
            if isinstance(packet, Audio):
                yield number_of(packet.data)
            elif isinstance(packet, CreateItem):
                yield int(packet.item.id[1:])


def _envelopes(message: Stored) -> list[UpEnvelope]:
    return [UpEnvelope.decode(data) for data in Bundle.decode(message.properties, message.body).envelopes]


@dataclass(slots=True)
class _Thawed:
    """A worker that goes on after others have taken a session from it; its log was so long then, and a while later."""

    sender: int
    session_id: str
    begin: int
    at: float
    worker: str
    end: int = 1 << 30

    def published(self, session_id: str, position: int, envelope: DownEnvelope) -> bool:
        own = envelope.id is not None and envelope.id.sender == self.sender
        return own and session_id == self.session_id and self.begin <= position < self.end


def _news(happened: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What a client is told: who shall send again is only for whoever owns the session at that moment."""
    return [event for event in happened if event["t"] not in ("progress", "turn_replay", "epoch_rejected")]
