"""Consecutive packets of one codec, kept together: an object per packet would be one per frame of every microphone."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Iterator

import msgspec

from litevoice_contracts.conversation import CODEC_BYTES_PER_SECOND, Codec, Mark
from litevoice_contracts.packets import Audio, GiveUp, Packet, Silence, audio_bytes

SILENCE_BYTES = 64
"""What a described packet counts in all bounds: what it takes in memory."""

_encoder = msgspec.msgpack.Encoder()


class Run:
    """Attributes:
    at: when its first packet came.
    size: of all packets, in bytes as the bounds count them.
    client_seqs: the client's own number of each packet; None when none has one.
    """

    __slots__ = ("at", "client_seqs", "codec", "packets", "size")

    def __init__(self, codec: Codec, at: float) -> None:
        self.codec = codec
        self.at = at
        self.size = 0
        self.packets: list[Packet] = []
        self.client_seqs: list[int | None] | None = None

    def add(self, packet: Packet, size: int, client_seq: int | None) -> None:
        self.packets.append(packet)
        self.size += size
        if client_seq is not None and self.client_seqs is None:
            self.client_seqs = [None] * (len(self.packets) - 1)
        if self.client_seqs is not None:
            self.client_seqs.append(client_seq)

    def first(self, size: int) -> int:
        """How many packets from the first on have that size together, or all."""
        sizes = itertools.accumulate(map(size_of, self.packets))
        return next((count for count, total in enumerate(sizes, 1) if total >= size), len(self.packets))

    def drop(self, count: int) -> int:
        """Forgets the first `count` packets; returns their size. Whoever holds the lists keeps them as they are."""
        size = sum(map(size_of, self.packets[:count]))
        self.size -= size
        self.packets = self.packets[count:]
        if self.client_seqs is not None:
            self.client_seqs = self.client_seqs[count:]
        return size

    @property
    def audio_ms(self) -> int:
        """How much audio the packets are, or stand for."""
        given_up = sum(packet.audio_ms for packet in self.packets if isinstance(packet, GiveUp))
        return given_up + sum(map(audio_bytes, self.packets)) * 1000 // CODEC_BYTES_PER_SECOND[self.codec]

    @property
    def last_client_seq(self) -> int | None:
        return next((number for number in reversed(self.client_seqs or ()) if number is not None), None)


_NONE: deque[Run] = deque(maxlen=0)
"""Shared by all that are empty, which are most: an empty deque takes 600 bytes. Never changed."""


class Runs:
    """A queue of runs.

    Attributes:
        packets: how many there are in all.
        size: of all of them.
    """

    __slots__ = ("_runs", "packets", "size")

    def __init__(self) -> None:
        self._runs = _NONE
        self.packets = 0
        self.size = 0

    def __iter__(self) -> Iterator[Run]:
        return iter(self._runs)

    def __len__(self) -> int:
        return len(self._runs)

    @property
    def all_packets(self) -> Iterator[Packet]:
        return (packet for run in self._runs for packet in run.packets)

    @property
    def oldest_at(self) -> float | None:
        """When the oldest run's first packet came; None when there is none."""
        return self._runs[0].at if self._runs else None

    def add(self, run: Run) -> None:
        if self._runs is _NONE:
            self._runs = deque()
        self._runs.append(run)
        self.packets += len(run.packets)
        self.size += run.size

    def drop(self, count: int) -> None:
        """Forgets the oldest `count` packets, or all."""
        while count > 0 and self._runs:
            run = self._runs[0]
            packets = min(count, len(run.packets))
            if packets < len(run.packets):
                self.size -= run.drop(packets)
            else:
                self.size -= run.size
                self._runs.popleft()
            self.packets -= packets
            count -= packets
        if not self._runs:
            self._runs = _NONE

    def drop_size(self, size: int) -> None:
        """Forgets the oldest packets that have `size` together, or the oldest run."""
        self.drop(self._runs[0].first(size))


def joined(runs: Iterable[Run], max_bytes: int) -> list[Run]:
    """The same packets in as few runs of up to `max_bytes` as that makes of whole ones; `runs` stay as they are."""
    longer: list[Run] = []
    for run in runs:
        last = longer[-1] if longer else None
        if last is None or last.codec != run.codec or last.size + run.size > max_bytes:
            longer.append(last := Run(run.codec, run.at))
        if run.client_seqs is not None or last.client_seqs is not None:
            before, more = last.client_seqs, run.client_seqs
            last.client_seqs = (before or [None] * len(last.packets)) + (more or [None] * len(run.packets))
        last.packets += run.packets
        last.size += run.size
    return longer


def marked(runs: Iterable[Run], first: Mark) -> list[tuple[Mark, Run]]:
    """Each with the mark of its first packet."""
    found, seq = [], first.seq
    for run in runs:
        found.append((Mark(first.epoch, seq), run))
        seq += len(run.packets)
    return found


def seconds(data: bytes, size: int) -> Iterable[Audio]:
    """In pieces of a second, which is `size` bytes."""
    return (Audio(data[begin : begin + size]) for begin in range(0, len(data), size))


def size_of(packet: Packet) -> int:
    if isinstance(packet, Audio):
        return len(packet.data)
    return SILENCE_BYTES if isinstance(packet, Silence) else len(_encoder.encode(packet))
