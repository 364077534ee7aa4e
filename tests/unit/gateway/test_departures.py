"""The timetable of the partitions: what leaves together, when, and what waits."""

from __future__ import annotations

import asyncio
import functools
import itertools
from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from litevoice_broker.errors import BrokerError, BrokerUnavailable, Overloaded
from litevoice_broker.producer import Done
from litevoice_contracts.envelopes import Bundle
from litevoice_gateway.departures import TURN_SECONDS, Departures, Parcel, next_departure, packed

BEAT = 0.002
FAR = 3600.0


class Station:
    """Sees bundles leave, and answers for them when told to."""

    def __init__(self, *, partitions: int = 1, beat_seconds: float = BEAT) -> None:
        self.left: list[tuple[int, list[bytes]]] = []
        self.unanswered: list[Done] = []
        self.fails_with: BrokerError | None = None
        self.told: list[tuple[bytes, BaseException | None]] = []
        self.may_leave = True
        self.departures = Departures(self.send, lambda _: "g_1", partitions, beat_seconds, lambda: self.may_leave)

    def send(self, partition: int, bundle: Bundle, done: Done) -> None:
        if self.fails_with is not None:
            raise self.fails_with
        assert bundle.gateway == "g_1"
        self.left.append((partition, bundle.envelopes))
        self.unanswered.append(done)

    def add(self, envelope: bytes, partition: int = 0) -> None:
        self.departures.add(partition, envelope, lambda error: self.told.append((envelope, error)))

    def answer(self, error: BaseException | None = None) -> None:
        self.unanswered.pop(0)(error)

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                await asyncio.sleep(BEAT / 4)


class Collector:
    """Collects `envelopes` and hands them over when the bundle leaves."""

    def __init__(self, station: Station, *envelopes: bytes) -> None:
        self._station = station
        self._envelopes = envelopes

    def board(self) -> None: ...

    def depart(self) -> None:
        for envelope in self._envelopes:
            self._station.add(envelope)


class Broken:
    def board(self) -> None: ...

    def depart(self) -> None:
        raise RuntimeError("broken")


async def test_everything_of_a_partition_leaves_in_one_bundle_in_order() -> None:
    station = Station(partitions=2)
    station.add(b"replay")
    station.departures.wait(0, Collector(station, b"a", b"b"))
    station.departures.wait(0, Collector(station, b"c"))
    station.add(b"x", partition=1)
    await station.until(lambda: len(station.left) == 2)
    assert sorted(station.left) == [(0, [b"replay", b"a", b"b", b"c"]), (1, [b"x"])]
    assert station.told == [], "the broker has not answered"
    station.answer()
    station.answer()
    assert sorted(told for told, _ in station.told) == [b"a", b"b", b"c", b"replay", b"x"]


async def test_one_bundle_in_flight_and_what_comes_meanwhile_leaves_once_it_is_answered() -> None:
    station = Station()
    station.add(b"1")
    await station.until(lambda: station.left)
    for envelope in (b"2", b"3"):
        station.add(envelope)
    await asyncio.sleep(3 * BEAT)
    assert len(station.left) == 1
    station.answer()
    await station.until(lambda: len(station.left) == 2)
    assert station.left[1] == (0, [b"2", b"3"])


async def test_a_passenger_that_fails_holds_nobody_up() -> None:
    station = Station()
    station.departures.wait(0, Broken())
    station.departures.wait(0, Collector(station, b"a"))
    await station.until(lambda: station.left)
    assert station.left == [(0, [b"a"])]


async def test_what_the_producer_has_no_room_for_leaves_later() -> None:
    station = Station()
    station.fails_with = Overloaded("full")
    station.add(b"1")
    await asyncio.sleep(3 * BEAT)
    assert station.told == []
    station.fails_with = None
    station.add(b"2")
    await station.until(lambda: station.left)
    assert station.left == [(0, [b"1", b"2"])]


async def test_what_can_never_be_sent_is_reported() -> None:
    station = Station()
    station.fails_with = BrokerUnavailable("closed")
    station.add(b"1")
    await station.until(lambda: station.told)
    assert station.told == [(b"1", station.fails_with)]
    assert station.left == []


async def test_the_broker_s_refusal_reaches_every_envelope() -> None:
    station = Station()
    station.add(b"1")
    station.add(b"2")
    await station.until(lambda: station.left)
    error = BrokerError("no")
    station.answer(error)
    assert station.told == [(b"1", error), (b"2", error)]


async def test_closing_waits_for_no_beat_but_for_the_answers() -> None:
    station = Station(partitions=3, beat_seconds=FAR)
    for partition in range(3):
        station.add(b"last words", partition)
    closing = asyncio.create_task(station.departures.close())
    await station.until(lambda: len(station.left) == 3)
    assert not closing.done()
    station.add(b"a late word", 2)
    for _ in range(3):
        station.answer()
    await station.until(lambda: len(station.left) == 4)
    assert not closing.done()
    station.answer()
    await asyncio.wait_for(closing, 10)
    assert [error for _, error in station.told] == [None] * 4


async def test_without_a_beat_a_bundle_leaves_as_soon_as_the_one_before_is_answered() -> None:
    station = Station(beat_seconds=0)
    station.add(b"1")
    station.add(b"2")
    await station.until(lambda: station.left)
    assert station.left == [(0, [b"1", b"2"])]
    station.add(b"3")
    station.answer()
    await station.until(lambda: len(station.left) == 2)


async def test_who_collects_again_at_once_takes_the_next_bundle_too() -> None:
    station = Station()
    boarded: list[int] = []

    class Regular:
        def board(self) -> None:
            boarded.append(len(station.left))

        def depart(self) -> None:
            station.add(b"again")
            station.departures.wait(0, self)

    station.departures.wait(0, Regular())
    for number in range(3):
        await station.until(lambda number=number: len(station.left) > number)  # type: ignore[misc]
        assert station.left[number] == (0, [b"again"])
        station.answer()
    assert boarded[:3] == [0, 1, 2], "once before each"


@given(st.floats(0, 1e6), st.integers(1, 100), st.sampled_from([0.02, 0.05, 0.1, 1.0]))
def test_partitions_take_turns_within_a_beat(now: float, partitions: int, beat: float) -> None:
    times = [next_departure(now, partition, partitions, beat) for partition in range(partitions)]
    assert all(now <= time + 1e-6 and time <= now + beat + 1e-6 for time in times)
    turns = Counter(times)
    assert len(turns) == max(1, min(partitions, int(beat / TURN_SECONDS)))
    assert max(turns.values()) - min(turns.values()) <= 1, "evenly"
    gaps = [b - a for a, b in itertools.pairwise(sorted(turns))]
    assert all(gap == pytest.approx(beat / len(turns), abs=1e-6) for gap in gaps)


@given(st.floats(0, 1e6), st.integers(1, 100), st.sampled_from([0.02, 0.05, 0.1, 1.0]))
def test_who_needs_it_soon_waits_half_a_beat_and_no_departure_is_added_but_in_the_middle(
    now: float, partitions: int, beat: float
) -> None:
    for partition in range(partitions):
        regular = next_departure(now, partition, partitions, beat)
        soon = next_departure(now, partition, partitions, beat, soon=True)
        assert now <= soon + 1e-6 and soon <= now + beat / 2 + 1e-6
        assert regular - soon == pytest.approx(0, abs=1e-6) or regular - soon == pytest.approx(beat / 2, abs=1e-6)


async def test_somebody_who_waits_brings_the_departure_forward() -> None:
    to_the_middle = 0.2
    station = Station(beat_seconds=2 * (asyncio.get_running_loop().time() + to_the_middle))
    station.departures.wait(0, Collector(station, b"in time"))
    station.departures.wait(0, Collector(station, b"soon"), soon=True)
    station.departures.wait(0, Collector(station, b"whenever it leaves"))
    await station.until(lambda: station.left)
    assert station.left == [(0, [b"in time", b"soon", b"whenever it leaves"])]


def test_without_a_beat_a_departure_is_now() -> None:
    assert next_departure(12.5, 3, 8, 0) == 12.5


@given(st.lists(st.integers(0, 30), max_size=30))
def test_a_bundle_takes_what_fits_in_order(sizes: list[int]) -> None:
    parcels = [Parcel(bytes(size), lambda error: None) for size in sizes]
    bundles = packed(parcels, 20)
    assert [parcel for bundle in bundles for parcel in bundle] == parcels
    assert all(len(bundle) == 1 or sum(len(p.envelope) for p in bundle) <= 20 for bundle in bundles)
    firsts = [bundle[0] for bundle in bundles[1:]]
    before = [sum(len(p.envelope) for p in bundle) for bundle in bundles]
    assert all(size + len(first.envelope) > 20 for size, first in zip(before, firsts, strict=False)), "none too early"


async def test_what_may_not_leave_leaves_when_it_may() -> None:
    station = Station()
    station.may_leave = False
    collector = Collector(station, b"collected")
    station.add(b"1")
    station.departures.wait(0, collector)
    await asyncio.sleep(3 * BEAT)
    station.add(b"2")
    assert station.left == []
    station.departures.go_on()
    assert station.left == []
    station.may_leave = True
    station.departures.go_on()
    await station.until(lambda: station.left)
    assert [sorted(envelopes) for _, envelopes in station.left] == [[b"1", b"2", b"collected"]]


async def test_what_is_dropped_does_not_leave_and_is_told() -> None:
    station = Station()
    station.may_leave = False
    for session in ("s_1", "s_2", "s_1"):
        told = functools.partial(lambda name, error: station.told.append((name, error)), session.encode())
        station.departures.add(0, session.encode(), told, session)
    error = BrokerError("taken over by another gateway")
    station.departures.drop("s_1".__ne__, error)
    assert station.told == [(b"s_1", error)] * 2
    station.may_leave = True
    station.departures.go_on()
    await station.until(lambda: station.left)
    assert station.left == [(0, [b"s_2"])]
