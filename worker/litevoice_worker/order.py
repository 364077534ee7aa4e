"""Puts a session's packets into the one order that counts, whatever arrives twice, late or not at all: epoch by epoch,
seq by seq. Decides what to do with each envelope: begin from its snapshot, apply it, or ask the owner to send more.

Pure: envelopes in, packets out, the clock passed in. A session begins from a snapshot only if nothing can be missing
before the envelope and nobody else can have applied it; otherwise a TurnReplay costs one round trip and is exact.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from operator import itemgetter
from typing import Literal

from msgspec import Struct

from litevoice_contracts.conversation import Codec, Mark
from litevoice_contracts.envelopes import DownEnvelope, UpEnvelope
from litevoice_contracts.events import TurnReplay
from litevoice_contracts.packets import AUDIO, Audio, EpochEnd, GiveUp, Packet, Silence, audio_bytes, silence
from litevoice_worker.audio import SAMPLE_BYTES, UNITS_PER_BYTE
from litevoice_worker.unanswered import Unanswered

MAX_HELD_ENVELOPES = 100
"""Envelopes of a newer epoch that wait for the end of the current one; at the bound the newer epoch begins."""
ASK_AGAIN_SECONDS = 2.0
"""A TurnReplay that brought nothing is repeated after this long, if packets still arrive."""
REJECT_AGAIN_SECONDS = 1.0
"""A former owner that goes on sending is told so this often; whoever sends it again, as an answer, each time."""
MAX_BACKLOG_BYTES = 8 << 20
MAX_BACKLOG_PACKETS = 8192
"""Packets that wait for a transcript; beyond it the session is dropped and asked for again."""


@lru_cache(maxsize=256)
def _one_silence(size: int) -> Silence:
    return Silence(size)


class Numbered(Struct, frozen=True, gc=False):
    """A packet with its mark and the codec of its audio, made by `of`. A worker holds more of them than of all else, so
    the garbage collector, which finds cycles, does not look at them, and equal silences are one object.

    Attributes:
        epoch, seq: its mark.
        offset: how many bytes of the audio are done with.
        length: how many are not, without a trailing half sample; 0 for a client event.
    """

    epoch: int
    seq: int
    packet: Packet
    codec: Codec
    offset: int
    length: int

    @classmethod
    def of(cls, epoch: int, seq: int, packet: Packet, codec: Codec) -> Numbered:
        size = audio_bytes(packet)
        if isinstance(packet, Silence):
            packet = _one_silence(packet.size)
        return cls(epoch, seq, packet, codec, 0, size - size % SAMPLE_BYTES[codec])

    @property
    def mark(self) -> Mark:
        return Mark(self.epoch, self.seq)

    def after(self, offset: int) -> Numbered:
        """What is left after `offset` bytes."""
        done = min(max(offset - self.offset, 0), self.length)
        return Numbered(self.epoch, self.seq, self.packet, self.codec, self.offset + done, self.length - done)

    @property
    def audio(self) -> bytes:
        """The audio that is not done with."""
        if not isinstance(self.packet, Audio):
            return silence(self.length, self.codec)
        data = self.packet.data
        return data if len(data) == self.length else data[self.offset : self.offset + self.length]

    @property
    def units(self) -> int:
        """How much audio that is (see audio.py)."""
        return self.length * UNITS_PER_BYTE[self.codec]


def joined(packets: Sequence[Numbered]) -> bytes:
    """The audio of packets of one codec."""
    if all(isinstance(packet.packet, Silence) for packet in packets):
        return silence(sum(packet.length for packet in packets), packets[0].codec)
    return b"".join(packet.audio for packet in packets)


@dataclass(slots=True)
class Arrival:
    """What an envelope, or the passing of time, amounts to.

    Attributes:
        begin: the session begins anew from this envelope's snapshot, before `packets`.
        packets: to be applied now, in order.
        duplicates: packets that were applied before.
        gap: packets are missing before this envelope; nothing of it was taken.
        rejected: the envelope is of this older epoch and brings something new: its sender is to be told.
        question: to be published: the owner is asked to send more.
    """

    begin: UpEnvelope | None = None
    packets: list[Numbered] = field(default_factory=list)
    duplicates: int = 0
    gap: bool = False
    rejected: int | None = None
    question: DownEnvelope | None = None


class PacketOrder:
    """The order of one session's packets.

    Attributes:
        known: the session's state is in memory and complete up to the next packet.
        attempt: the newest replay that was begun from.
        epoch: the current epoch.
        next_seq: number of the packet that comes next.
        ended: the owner has closed the current epoch, and no other has begun one.
        deadline: when a waiting newer epoch begins even without the end of the current one; None when none waits.
    """

    __slots__ = (
        "_asked",
        "_client_seq",
        "_client_seqs",
        "_epoch_wait_seconds",
        "_failed",
        "_held",
        "_previous",
        "_rejected",
        "_settled_client_seq",
        "_unanswered",
        "attempt",
        "deadline",
        "ended",
        "epoch",
        "known",
        "next_seq",
    )

    def __init__(self, epoch_wait_seconds: float) -> None:
        self.known = False
        self.attempt = 0
        self.epoch = 0
        self.next_seq = 0
        self.ended = False
        self.deadline: float | None = None
        self._epoch_wait_seconds = epoch_wait_seconds
        self._previous = Mark(-1, -1)
        self._held: list[UpEnvelope] = []
        self._unanswered = Unanswered()
        self._failed = False
        self._asked: tuple[int, float] | None = None  # attempt and time of the TurnReplay that is still unanswered
        self._rejected: tuple[int, float] | None = None  # epoch and time of the last rejection
        self._client_seq: int | None = None  # of the newest packet that was given out
        self._client_seqs: list[tuple[Mark, int]] = []  # of those that are not settled
        self._settled_client_seq: int | None = None

    @property
    def applied(self) -> Mark:
        """The last packet that was given out; its seq is -1 before the first."""
        return Mark(self.epoch, self.next_seq - 1)

    @property
    def asked(self) -> bool:
        """A question was not answered yet."""
        return self._asked is not None

    def settle(self, mark: Mark) -> None:
        """Nothing up to `mark` is needed any more."""
        settled = bisect_right(self._client_seqs, mark, key=itemgetter(0))
        if settled:
            self._settled_client_seq = self._client_seqs[settled - 1][1]
            del self._client_seqs[:settled]

    def client_seq(self, mark: Mark) -> int | None:
        """The client's own number of a packet that is not settled."""
        at = bisect_left(self._client_seqs, mark, key=itemgetter(0))
        found = at < len(self._client_seqs) and self._client_seqs[at][0] == mark
        return self._client_seqs[at][1] if found else None

    @property
    def settled_client_seq(self) -> int | None:
        """The client's own number of the last packet that is settled."""
        return self._settled_client_seq

    def receive(self, envelope: UpEnvelope, now: float, *, uncertain: bool = False) -> Arrival:
        """The session's next envelope; `uncertain`: a former owner of the partition may have applied it already.

        The packets of waiting epochs come with it when their turn has come.
        """
        arrival = Arrival()
        match self._decide(envelope, now, uncertain=uncertain):
            case "begin":
                begin, *others = self._unanswered.before(envelope)
                arrival.begin = begin
                self._begin(begin)
                for one in (begin, *others):
                    if self.known:
                        self._apply(one, now, arrival)
            case "apply":
                self._apply(envelope, now, arrival)
            case "ask":
                unknown = not self.known
                self._ask(envelope, now, arrival)
                if unknown:
                    self._unanswered.add(envelope)
            case "drop":
                if self._asked is not None:
                    self._unanswered.add(envelope)
        return arrival

    def tick(self, now: float) -> Arrival:
        """What to apply because a newer epoch has waited long enough."""
        arrival = Arrival()
        gap = self._release(now, arrival)
        if gap is not None:
            self._ask(gap, now, arrival)
        self._refuse(arrival, now)
        return arrival

    def forget(self, *, failed: bool = False) -> None:
        """The session's state is lost: only a replay, or a snapshot with nothing missing after it, begins it anew.
        `failed`: because of what was in it, perhaps."""
        if self.known or failed:
            self._unanswered.clear()
        self.known, self._failed = False, failed
        self._held, self.deadline = [], None  # their owner has them

    def _decide(self, envelope: UpEnvelope, now: float, *, uncertain: bool) -> Literal["begin", "apply", "ask", "drop"]:
        if self.known and envelope.epoch < self.epoch:
            return "apply"  # nothing but duplicates, or rejected
        if self.known and envelope.provokes and envelope.attempt < self.attempt:
            return "drop"  # has begun since from what answered it: it was sent again, or comes late
        if self._asked is not None:
            attempt, asked_at = self._asked
            answers = _is_complete(envelope)
            if envelope.attempt > attempt and (answers or not envelope.packets):
                # Who is asked in a later attempt has asked in one that had ended: nobody counts that.
                return "begin" if answers and not uncertain else "ask"
            return "ask" if now - asked_at >= ASK_AGAIN_SECONDS else "drop"
        if not self.known:
            if envelope.packets and all(isinstance(packet, EpochEnd) for packet in envelope.packets):
                return "drop"  # an owner that leaves has nothing to ask for
            return "begin" if not uncertain and _begins_cleanly(envelope) else "ask"
        if envelope.attempt > self.attempt:
            return "begin" if _is_complete(envelope) else "ask"
        return "apply"

    def _begin(self, envelope: UpEnvelope) -> None:
        """Takes the envelope's first packet as the next one, as its snapshot says."""
        self.known, self._asked, self.attempt = True, None, envelope.attempt
        self._unanswered.clear()
        if envelope.epoch != self.epoch:
            self._previous = self.applied
        self.epoch, self.next_seq, self.ended = envelope.epoch, envelope.seq, False
        if envelope.snapshot is not None:
            self._client_seq = self._settled_client_seq = envelope.snapshot.cursor.client_seq
            self._client_seqs.clear()
        self._held = [held for held in self._held if held.epoch > envelope.epoch]
        if not self._held:
            self.deadline = None

    def _ask(self, envelope: UpEnvelope, now: float, arrival: Arrival) -> None:
        """The question ends the attempt: nothing counts before the replay, whatever arrives."""
        self.attempt = max(self.attempt, envelope.attempt)
        self._asked = (self.attempt, now)
        if self.known:
            event = TurnReplay("gap", self.applied, envelope.provokes)
        else:
            event = TurnReplay("failed" if self._failed else "unknown_session")
        arrival.question = DownEnvelope(max(envelope.epoch, self.epoch), envelope.turn, [event], self.attempt)
        self.forget()

    def _apply(self, envelope: UpEnvelope, now: float, arrival: Arrival) -> None:
        self._take(envelope, now, arrival)
        gap = envelope if arrival.gap else self._release(now, arrival)
        if gap is not None:
            self._ask(gap, now, arrival)
        self._refuse(arrival, now, answers=bool(envelope.asker))

    def _refuse(self, arrival: Arrival, now: float, *, answers: bool = False) -> None:
        if arrival.rejected is not None:
            epoch, rejected_at = self._rejected or (-1, 0.0)
            if arrival.rejected == epoch and now - rejected_at < REJECT_AGAIN_SECONDS and not answers:
                arrival.rejected = None
            else:
                self._rejected = (arrival.rejected, now)

    def _take(self, envelope: UpEnvelope, now: float, arrival: Arrival) -> None:
        if envelope.epoch > self.epoch and not (envelope.packets or envelope.seq or envelope.continues):
            pass  # a new owner asks, and has said nothing yet: what the former one has sent may be on its way
        elif envelope.epoch > self.epoch:
            self._held.append(envelope)
            if self.deadline is None:
                self.deadline = now + self._epoch_wait_seconds
        elif envelope.epoch < self.epoch:
            known = envelope.epoch == self._previous.epoch and envelope.last <= self._previous
            arrival.duplicates += len(envelope.packets) if known else 0
            arrival.rejected = arrival.rejected if known else envelope.epoch
        elif envelope.seq > self.next_seq and not envelope.continues:
            arrival.gap = True
        else:
            if envelope.continues:
                self.next_seq = max(self.next_seq, envelope.seq)
            seen = self.next_seq - envelope.seq
            arrival.duplicates += min(seen, len(envelope.packets))
            self._give_out(envelope.packets[seen:], (envelope.client_seqs or [])[seen:], envelope.codec, arrival)

    def _give_out(self, packets: list[Packet], client_seqs: list[int | None], codec: Codec, arrival: Arrival) -> None:
        given = [Numbered.of(self.epoch, seq, packet, codec) for seq, packet in enumerate(packets, self.next_seq)]
        self.next_seq += len(packets)
        self.ended = self.ended or any(isinstance(packet, EpochEnd) for packet in packets)
        if client_seqs:
            fresh = zip(given, client_seqs, strict=True)
            given = [packet for packet, client_seq in fresh if not self._sent_again(packet.mark, client_seq)]
            arrival.duplicates += len(packets) - len(given)
        arrival.packets += given

    def _sent_again(self, mark: Mark, client_seq: int | None) -> bool:
        """The client did not know whether another gateway had it."""
        if client_seq is None:
            return False
        if self._client_seq is not None and client_seq <= self._client_seq:
            return True
        self._client_seq = client_seq
        self._client_seqs.append((mark, client_seq))
        return False

    def _release(self, now: float, arrival: Arrival) -> UpEnvelope | None:
        """Begins the epochs that have waited long enough. Returns an envelope before which packets are missing."""
        while self._held and (self.ended or now >= (self.deadline or now) or len(self._held) >= MAX_HELD_ENVELOPES):
            held, self._held, self.deadline = self._held, [], None
            self._previous = self.applied
            self.epoch, self.next_seq, self.ended = held[0].epoch, 0, False
            for envelope in held:
                self._take(envelope, now, arrival)
                if arrival.gap:
                    return envelope
        return None


class Backlog:
    """Packets in order that wait to be applied, bounded by whoever looks at `full`.

    Attributes:
        bytes, units: how much audio they are (units: see audio.py).
    """

    __slots__ = ("_packets", "bytes", "units")

    def __init__(self) -> None:
        self._packets: list[Numbered] = []
        self.bytes = 0
        self.units = 0

    def __len__(self) -> int:
        return len(self._packets)

    @property
    def full(self) -> bool:
        return self.bytes > MAX_BACKLOG_BYTES or len(self._packets) > MAX_BACKLOG_PACKETS

    @property
    def next_is_audio(self) -> bool:
        return isinstance(self._packets[0].packet, AUDIO)

    @property
    def gives_up(self) -> bool:
        """The next packet ends what is open, though it was not heard."""
        return bool(self._packets) and isinstance(self._packets[0].packet, GiveUp)

    @property
    def next_mark(self) -> Mark | None:
        return self._packets[0].mark if self._packets else None

    def add(self, packets: list[Numbered]) -> None:
        self._packets += packets
        self._count(packets, 1)

    def put_back(self, packets: list[Numbered]) -> None:
        """These come before all others."""
        self._packets[:0] = packets
        self._count(packets, 1)

    def take(self) -> Numbered:
        """The next packet."""
        return self._take(1)[0]

    def take_audio(self, units: int) -> list[Numbered]:
        """The next packets, which are audio of one codec: as many as it takes to get `units`, at least one."""
        codec, count = self._packets[0].codec, 0
        length = units // UNITS_PER_BYTE[codec]
        for packet in self._packets:
            if packet.codec != codec or (count and length <= 0) or not isinstance(packet.packet, AUDIO):
                break
            length -= packet.length
            count += 1
        return self._take(count)

    def clear(self) -> None:
        self._packets.clear()
        self.bytes = self.units = 0

    def _take(self, count: int) -> list[Numbered]:
        taken = self._packets[:count]
        del self._packets[:count]
        self._count(taken, -1)
        return taken

    def _count(self, packets: list[Numbered], sign: int) -> None:
        size = units = 0
        for packet in packets:
            size += packet.length
            units += packet.length * UNITS_PER_BYTE[packet.codec]
        self.bytes += sign * size
        self.units += sign * units


def _is_complete(envelope: UpEnvelope) -> bool:
    """It has a snapshot, and while responses are under way, how far those have got: only a replay tells."""
    snapshot = envelope.snapshot
    if snapshot is None or (snapshot.pending is not None and envelope.resume is None):
        return False
    return not snapshot.out_of_band or envelope.resume_out_of_band is not None


def _begins_cleanly(envelope: UpEnvelope) -> bool:
    snapshot = envelope.snapshot
    if snapshot is None or not _is_complete(envelope):
        return False
    return envelope.seq == 0 or snapshot.boundary == Mark(envelope.epoch, envelope.seq - 1)
