"""Bundles on their way to the partitions: everything that waits for one partition leaves in one message, at the
partition's own beat, and in its middle when somebody waits for an answer to what would be in it.

The broker's work grows with the number of messages, so it depends on partitions and bytes, not on sessions. Partitions
take turns within a beat, so that a gateway's work is spread evenly; several share a turn, because half of what a small
message costs a gateway is waking up for it.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from litevoice_broker.errors import BrokerError, Overloaded
from litevoice_broker.producer import Done
from litevoice_contracts.envelopes import BUNDLE_BYTES, Bundle

logger = logging.getLogger(__name__)

CLOSE_SECONDS = 10.0
BOARDING_SECONDS = 0.002
"""Before a bundle leaves: what clients have sent is read from their sockets."""
TURN_SECONDS = 0.05
"""Between the turns of a beat, at least. In turns of 12.5 ms (8 partitions, a beat of 100 ms) a gateway with 100 open
microphones takes more CPU; in one turn for all, the last of them waits for the others."""


class Passenger(Protocol):
    """Whoever has collected something for a partition."""

    def board(self) -> None:
        """The partition's bundle leaves in BOARDING_SECONDS."""

    def depart(self) -> None:
        """The partition's bundle leaves: time to `add` what was collected."""


class Parcel(msgspec.Struct, frozen=True):
    """An encoded envelope, and who is told what became of it."""

    envelope: bytes
    done: Done
    session: str = ""


@dataclass(slots=True)
class _Lane:
    """One partition. `soon`: `timer` may be the middle of a beat. `late`: a departure is due, and waits for the bundles
    in flight, or until it may leave."""

    number: int
    passengers: dict[Passenger, None] = field(default_factory=dict)
    parcels: list[Parcel] = field(default_factory=list)
    timer: asyncio.TimerHandle | None = None
    soon: bool = False
    in_flight: int = 0
    late: bool = False

    @property
    def empty(self) -> bool:
        return not (self.passengers or self.parcels or self.in_flight)


def next_departure(now: float, partition: int, partitions: int, beat_seconds: float, *, soon: bool = False) -> float:
    """The partition's next departure, in the seconds of `now`; its turn in the beat is the later, the higher it is.
    With `soon` those in the middle of a beat count too."""
    if not beat_seconds:
        return now
    turns = max(1, min(partitions, int(beat_seconds / TURN_SECONDS)))
    offset = beat_seconds * (partition * turns // partitions) / turns
    step = beat_seconds / 2 if soon else beat_seconds
    return math.ceil((now - offset) / step) * step + offset


def packed(parcels: Iterable[Parcel], max_bytes: int = BUNDLE_BYTES) -> list[list[Parcel]]:
    """In order, up to `max_bytes` in each; a larger one is alone."""
    bundles: list[list[Parcel]] = []
    size = 0
    for parcel in parcels:
        if not bundles or size + len(parcel.envelope) > max_bytes:
            bundles.append([])
            size = 0
        bundles[-1].append(parcel)
        size += len(parcel.envelope)
    return bundles


class Departures:
    """The timetable of all partitions. `send` gets a partition's number, a bundle, and a callback for the broker's
    answer; it may raise BrokerError. `gateway` gives the sender's name of a partition's bundles.

    While a partition's bundles are unanswered, or `may_leave` says no, its next departure waits; whoever collects is
    bounded by itself.
    """

    def __init__(
        self,
        send: Callable[[int, Bundle, Done], None],
        gateway: Callable[[int], str],
        partitions: int,
        beat_seconds: float,
        may_leave: Callable[[], bool] = lambda: True,
    ) -> None:
        self._send = send
        self._may_leave = may_leave
        self._gateway = gateway
        self._beat_seconds = beat_seconds
        self._lanes = [_Lane(number) for number in range(partitions)]
        self._idle = asyncio.Event()

    def wait(self, partition: int, passenger: Passenger, *, soon: bool = False) -> None:
        """`passenger` takes part in the next departure, once; a departure that is needed `soon` may be in the
        middle of a beat."""
        lane = self._lanes[partition]
        lane.passengers[passenger] = None
        self._arm(lane, soon=soon)

    def add(self, partition: int, envelope: bytes, done: Done, session: str = "") -> None:
        """Leaves with the next departure, in the order of the calls. `done` is called once, with None after the
        broker's confirmation."""
        lane = self._lanes[partition]
        lane.parcels.append(Parcel(envelope, done, session))
        self._arm(lane)

    def drop(self, is_ours: Callable[[str], bool], error: BrokerError) -> None:
        """What has not left of sessions that are not ours does not leave any more."""
        for lane in self._lanes:
            ours = {session: is_ours(session) for session in {parcel.session for parcel in lane.parcels}}
            dropped = [parcel for parcel in lane.parcels if not ours[parcel.session]]
            if dropped:
                lane.parcels = [parcel for parcel in lane.parcels if ours[parcel.session]]
                self._report(dropped, error)

    def go_on(self) -> None:
        """What `may_leave` held up leaves now."""
        for lane in self._lanes:
            if lane.late and not lane.in_flight:
                self._depart(lane)

    async def close(self) -> None:
        """Everything leaves as soon as possible; returns when the broker has answered for it, or CLOSE_SECONDS."""
        self._beat_seconds = 0.0
        for lane in self._lanes:
            if lane.timer is not None:
                self._depart(lane)
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                while not all(lane.empty for lane in self._lanes):
                    self._idle.clear()
                    await self._idle.wait()
        except TimeoutError:
            logger.warning("bundles were not confirmed in time")
        for lane in self._lanes:
            self._disarm(lane)

    def _arm(self, lane: _Lane, *, soon: bool = False) -> None:
        if lane.late or (lane.timer is not None and lane.soon >= soon):
            return
        self._disarm(lane)
        loop = asyncio.get_running_loop()
        at = next_departure(loop.time(), lane.number, len(self._lanes), self._beat_seconds, soon=soon)
        lane.timer, lane.soon = loop.call_at(at, self._board if self._beat_seconds else self._depart, lane), soon

    def _disarm(self, lane: _Lane) -> None:
        if lane.timer is not None:
            lane.timer.cancel()
            lane.timer = None

    def _board(self, lane: _Lane) -> None:
        lane.timer = asyncio.get_running_loop().call_later(BOARDING_SECONDS, self._depart, lane)
        lane.soon = True  # no other departure comes before it
        for passenger in list(lane.passengers):
            passenger.board()

    def _depart(self, lane: _Lane) -> None:
        self._disarm(lane)
        lane.late = bool(lane.in_flight) or not self._may_leave()
        if lane.late:
            return
        passengers, lane.passengers = lane.passengers, {}
        for passenger in passengers:
            try:
                passenger.depart()
            except Exception:
                logger.exception("a session could not be collected")
        self._disarm(lane)  # what they added leaves now
        bundles, lane.parcels = packed(lane.parcels), []
        for number, parcels in enumerate(bundles):
            try:
                bundle = Bundle(self._gateway(lane.number), [parcel.envelope for parcel in parcels])
                self._send(lane.number, bundle, functools.partial(self._answered, lane, parcels))
            except Overloaded:
                lane.parcels = [parcel for left in bundles[number:] for parcel in left]
                self._arm(lane)
                return
            except BrokerError as error:
                self._report(parcels, error)
            else:
                lane.in_flight += 1
        if lane.passengers:
            self._arm(lane)  # for the next departure

    def _answered(self, lane: _Lane, parcels: list[Parcel], error: BaseException | None) -> None:
        lane.in_flight -= 1
        self._report(parcels, error)
        if lane.late and not lane.in_flight:
            self._depart(lane)
        if lane.empty:
            self._idle.set()

    def _report(self, parcels: list[Parcel], error: BaseException | None) -> None:
        for parcel in parcels:
            try:
                parcel.done(error)
            except Exception:
                logger.exception("a session could not take the broker's answer")
