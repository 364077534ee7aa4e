"""Known faults that can be put back, to see that the simulator finds them: name → what patches the product.

A patch lasts as long as the process.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

import litevoice_gateway.packet_log
import litevoice_worker.turn
from litevoice_broker.errors import BrokerError
from litevoice_broker.lite.commands import Replace
from litevoice_broker.lite.full_sync import Gate
from litevoice_broker.lite.ownership import Ownership
from litevoice_broker.lite.topic import Topic
from litevoice_broker.partition_consumer import PartitionConsumer
from litevoice_broker.producer import Producer, _Lane, _Pending
from litevoice_contracts.conversation import Mark
from litevoice_contracts.events import TurnReplay
from litevoice_contracts.positions import EventId
from litevoice_gateway import commands as do
from litevoice_gateway.homes import Homes
from litevoice_gateway.hub import Hub
from litevoice_gateway.intake import Intake
from litevoice_gateway.packet_log import PacketLog
from litevoice_gateway.protocols import Restored
from litevoice_gateway.session import Session
from litevoice_gateway.session_state import SessionState
from litevoice_gateway.standstill import Standstill
from litevoice_worker.claims import Claims
from litevoice_worker.dialogue import Dialogue
from litevoice_worker.order import PacketOrder
from litevoice_worker.outlet import Outlet
from litevoice_worker.ownership import Certain
from litevoice_worker.ownership import Ownership as Partitions
from litevoice_worker.response import Response

PLANTS: dict[str, Callable[[], None]] = {}


def _plant(function: Callable[[], None]) -> Callable[[], None]:
    PLANTS[function.__name__.strip("_").replace("_", "-")] = function
    return function


def _put(where: Any, name: str, value: Any) -> Any:
    """What was there before."""
    before = getattr(where, name)
    setattr(where, name, value)
    return before


# --- LiteTopics: takeovers, notices, full syncs, heals


@_plant
def _notices_are_not_listened_to() -> None:
    _put(Ownership, "noticed", lambda *_: None)


@_plant
def _nobody_else_is_believed_to_own_anything() -> None:
    _put(Topic, "whose", lambda *_: True)


@_plant
def _takeovers_take_one_step() -> None:
    """The broker ignores an offset that is the committed one, and goes on waiting for the last owner."""

    def claim(self: Topic) -> Any:
        found = whole(self)
        del found.steps[:-1]
        return found

    whole = _put(Topic, "claim", claim)


@_plant
def _an_evicted_loser_comes_back_with_its_full_sync() -> None:
    evicted: dict[Gate, dict[str, None]] = {}

    def evict(self: Ownership, topic: Topic, **how: Any) -> None:
        evicted.setdefault(self._gate, {})[topic.name] = None
        really(self, topic, **how)

    def begin(self: Gate, topics: Any) -> Replace | None:
        call: Replace | None = sync(self, topics)
        if call is not None:
            self._sync.call = call = Replace(tuple(dict.fromkeys((*call.names, *evicted.get(self, ())))), call.link)  # type: ignore[union-attr]
        return call

    really, sync = _put(Ownership, "_evict", evict), _put(Gate, "begin", begin)


@_plant
def _what_is_missing_is_never_healed() -> None:
    def gap_lasts(self: Topic, now: float, busy_until: float) -> bool:
        really(self, now, busy_until)
        self.heal = None
        return False

    _put(Ownership, "heal", lambda *_: None)
    really = _put(Topic, "gap_lasts", gap_lasts)


# --- the producer


@_plant
def _what_is_sent_again_is_taken_for_new() -> None:
    """By a worker that has taken the partition between the two."""
    _put(Certain, "__contains__", lambda self, message: message.offset >= self.offset)


@_plant
def _unclear_answers_are_taken_for_confirmations() -> None:
    async def send(self: Producer, lane: _Lane, batch: list[_Pending]) -> None:
        deadline = batch[0].deadline
        batch[0].deadline = 0.0  # the first failure is the last
        try:
            await until_confirmed(self, lane, batch)
        except BrokerError as error:
            if not error.retryable and self.ready:
                raise
        finally:
            batch[0].deadline = deadline

    until_confirmed = _put(Producer, "_send_until_confirmed", send)


@_plant
def _a_session_has_several_messages_on_their_way() -> None:
    """The outlet does not wait for confirmations, and the producer has no lanes for LiteTopics."""

    def enqueue(self: Producer, key: tuple[str, ...], message: Any, done: Any) -> None:
        if key[0] != "lite":
            in_lanes(self, key, message, done)
            return
        pending = _Pending(message, message.ByteSize(), done, asyncio.get_running_loop().time() + self._give_up_seconds)
        asyncio.get_running_loop().create_task(self._deliver(_Lane("lite"), [pending]))

    def send_next(self: Outlet) -> None:
        one_by_one(self)
        self._in_flight = False

    in_lanes, one_by_one = _put(Producer, "_enqueue", enqueue), _put(Outlet, "send_next", send_next)


# --- the gateway


@_plant
def _message_ids_are_ignored() -> None:
    _put(SessionState, "has", lambda *_: False)


@_plant
def _stale_attempts_count() -> None:
    def apply(self: SessionState, position: int, envelope: Any) -> Any:
        return really(self, position, replace(envelope, attempt=max(envelope.attempt, self.attempt)))

    really = _put(SessionState, "apply", apply)


@_plant
def _only_a_live_session_counts_attempts() -> None:
    """Who reads the log anew folds it differently."""

    def end_attempt(self: SessionState, event: Any, message: Any) -> Any:
        found = really(self, event, message)
        self.attempt -= 1
        return found

    def control(self: Session, events: Any, now: float) -> None:
        self._state.attempt += sum(isinstance(entry.event, TurnReplay) for entry in events)
        controls(self, events, now)

    really, controls = _put(SessionState, "_end_attempt", end_attempt), _put(Session, "_control", control)


@_plant
def _a_resumed_client_misses_a_position() -> None:
    def init(self: Session, opening: Any, protocol: Any, *rest: Any) -> None:
        really(self, opening, protocol, *rest)
        if self.resumed:
            at = self._target
            self._target = EventId(at.position + 1, at.snapshot, at.part)

    really = _put(Session, "__init__", init)


@_plant
def _packets_are_acknowledged_before_the_broker_has_them() -> None:
    def depart(self: Session, now: float) -> None:
        really(self, now)
        for command in list(self._out):
            if isinstance(command, do.Publish) and command.client_seq is not None:
                self.confirmed(0, now, command.client_seq)

    really = _put(Session, "depart", depart)


@_plant
def _what_is_sent_is_not_kept() -> None:
    """For a worker that begins anew."""
    _put(PacketLog, "_retain", lambda *_: None)


@_plant
def _nothing_is_left_to_the_next_owner() -> None:
    """Of what no worker is done with when a session leaves its gateway."""
    _put(PacketLog, "_hand_over", lambda *_: None)


@_plant
def _silence_is_not_left_to_the_next_owner() -> None:
    """Although it may end what the owner before has left."""
    _put(PacketLog, "_may_end_an_utterance", False)


@_plant
def _an_old_epochs_rejection_is_taken_for_our_own() -> None:
    def reject(self: PacketLog, rejected: int, current: int) -> None:
        really(self, self.epoch, current)

    really = _put(PacketLog, "reject", reject)


@_plant
def _a_gateway_that_stood_still_does_not_ask_whose_its_sessions_are() -> None:
    _put(Standstill, "awake", lambda *_: True)


@_plant
def _a_gateway_that_stood_still_gives_up_what_it_asks_about() -> None:
    """Then nobody tells it that a session is somebody else's, and what waits leaves."""
    told: set[str] = set()

    def evicted(self: Hub, name: str) -> None:
        told.add(name)
        really(self, name)

    async def look_again(self: Standstill) -> None:
        told.clear()
        await look(self)

    async def is_over(_: Standstill) -> None: ...

    really, look = _put(Hub, "_evicted", evicted), _put(Standstill, "_look_again", look_again)
    _put(Standstill, "is_over", is_over)
    _put(Homes, "own", lambda _, name: name not in told)


@_plant
def _who_takes_over_asks_nobody() -> None:
    """It waits for `probe_seconds`, however short its client stays."""

    def begin(self: PacketLog, now: float, *, ask: bool = False, since: float | None = None) -> None:
        really(self, now, ask=False, since=since)

    really = _put(PacketLog, "begin", begin)


@_plant
def _a_turn_is_given_up_after_its_first_attempt() -> None:
    _put(litevoice_gateway.packet_log, "MAX_ATTEMPTS", 1)


# --- the worker: packets and turns


@_plant
def _packets_are_lost() -> None:
    """Of each envelope with several packets, one does not reach the worker's state machine."""

    def fewer(self: PacketOrder, packets: list[Any], client_seqs: list[Any], codec: Any, arrival: Any) -> None:
        give_out(self, packets, client_seqs, codec, arrival)
        if len(arrival.packets) > 1:
            del arrival.packets[1]

    give_out = _put(PacketOrder, "_give_out", fewer)


@_plant
def _what_a_client_sends_again_counts_again() -> None:
    _put(PacketOrder, "_sent_again", lambda *_: False)


@_plant
def _packets_are_applied_whatever_their_number() -> None:
    def take(self: PacketOrder, envelope: Any, now: float, arrival: Any) -> None:
        if envelope.epoch == self.epoch and envelope.seq < self.next_seq:
            envelope = replace(envelope, seq=self.next_seq)
        really(self, envelope, now, arrival)

    really = _put(PacketOrder, "_take", take)
    _put(PacketOrder, "_sent_again", lambda *_: False)


@_plant
def _nobody_waits_for_the_end_of_an_epoch() -> None:
    """Neither a gateway, until the broker has it, before it lets its client go elsewhere, nor a worker: one of them is
    enough."""

    def init(self: PacketOrder, epoch_wait_seconds: float) -> None:
        really(self, 0.0)

    really = _put(PacketOrder, "__init__", init)
    _put(Session, "settled", True)


@_plant
def _a_pause_forgets_the_beginning_of_an_utterance() -> None:
    _put(litevoice_worker.turn, "UNDECIDED_PAUSE_SECONDS", litevoice_worker.turn.PAUSE_SECONDS)


@_plant
def _the_first_utterance_is_told_as_done() -> None:
    """When its epoch is over before anything was settled."""
    _put(Dialogue, "boundary", property(lambda self: self._begin.mark or Mark(self._order.epoch, -1)))


@_plant
def _a_clients_events_take_effect_again() -> None:
    _put(Dialogue, "take_effect", lambda *_: True)


@_plant
def _a_resumed_answer_begins_its_sentence_again() -> None:
    def init(self: Response, *arguments: Any, **named: Any) -> None:
        really(self, *arguments, **named)
        self._skip_bytes = 0

    really = _put(Response, "__init__", init)


# --- the worker: partitions


@_plant
def _who_is_not_listed_is_believed_to_be_gone_at_once() -> None:
    """A restarted broker lists nobody: two workers take a partition, and neither leaves."""

    def unsure(self: Claims) -> None:
        self._sure_since = self._pulse_at

    _put(Claims, "_unsure", unsure)
    _put(Claims, "_outranked", lambda *_: False)


@_plant
def _owners_do_not_look_at_their_fences() -> None:
    _put(Claims, "_of_held", lambda *_, **__: None)
    _put(Partitions, "lost", lambda *_: None)


@_plant
def _a_thawed_worker_publishes_at_once() -> None:
    _put(Claims, "pulse", lambda self, now: setattr(self, "_pulse_at", now))
    _put(Claims, "doubtful", lambda *_: False)


@_plant
def _the_order_of_a_dead_worker_stays_locked() -> None:
    async def nothing(*_: Any) -> tuple[int, int | None]:
        return 0, None

    for where, name in ((Partitions, "_reset_order_lock"), (Partitions, "_watch"), (PartitionConsumer, "_free")):
        _put(where, name, nothing)


# --- bounds, silences, losses


@_plant
def _a_quiet_session_is_not_kept_alive() -> None:
    _put(Hub, "_keep_alive", lambda *_: None)


@_plant
def _what_a_gateway_loses_is_not_counted() -> None:
    _put(Hub, "lost", lambda *_: None)


@_plant
def _a_turn_is_never_given_up() -> None:
    _put(litevoice_gateway.packet_log, "MAX_ATTEMPTS", 1000)


@_plant
def _clients_are_read_as_fast_as_they_send() -> None:
    _put(Intake, "_throttle", lambda *_: None)


@_plant
def _a_client_that_comes_back_is_told_of_no_answer_under_way() -> None:
    _put(Session, "_restored", property(lambda self: Restored(len(self._state.snapshot.items), 0, "", 0)))
