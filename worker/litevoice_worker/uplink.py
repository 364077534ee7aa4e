"""Puts a session's packets into the one order that counts, whatever comes twice: epoch by epoch, seq by seq.

Pure: envelopes in, packets to apply out, the clock passed in.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from litevoice_contracts.conversation import Codec, Mark
from litevoice_contracts.envelopes import UpEnvelope
from litevoice_contracts.packets import EpochEnd, Packet

MAX_HELD_ENVELOPES = 100
"""Envelopes of a newer epoch that wait for the end of the current one; at the bound the newer epoch begins."""


@dataclass(frozen=True, slots=True)
class Numbered:
    """One packet with its place in the upstream and the codec of its audio."""

    mark: Mark
    packet: Packet
    codec: Codec


@dataclass(slots=True)
class Received:
    """What an envelope amounts to.

    Attributes:
        packets: to be applied now, in order.
        duplicates: packets that were applied before.
        gap: packets are missing before this envelope, nothing of it was taken.
        rejected: the envelope is of an older epoch and brings something new.
    """

    packets: list[Numbered] = field(default_factory=list)
    duplicates: int = 0
    gap: bool = False
    rejected: bool = False


class Uplink:
    """Order of one session's packets.

    Attributes:
        epoch: the current epoch.
        next_seq: number of the packet that comes next.
        deadline: when a waiting newer epoch begins even without the end of the current one; None when none waits.
    """

    def __init__(self, epoch_wait_seconds: float) -> None:
        self.epoch = 0
        self.next_seq = 0
        self.deadline: float | None = None
        self._epoch_wait_seconds = epoch_wait_seconds
        self._ended = False
        self._previous = Mark(-1, -1)
        self._held: list[UpEnvelope] = []

    def start(self, epoch: int, seq: int) -> None:
        """Takes packet `seq` of `epoch` as the next one, as a snapshot says."""
        if epoch != self.epoch:
            self._previous = self.applied
        self.epoch, self.next_seq, self._ended = epoch, seq, False
        self._held = [envelope for envelope in self._held if envelope.epoch > epoch]
        if not self._held:
            self.deadline = None

    @property
    def applied(self) -> Mark:
        """The last packet that was given out; its seq is -1 before the first."""
        return Mark(self.epoch, self.next_seq - 1)

    @property
    def ended(self) -> bool:
        """The owner has closed the current epoch, and no other has begun one."""
        return self._ended

    def receive(self, envelope: UpEnvelope, now: float) -> Received:
        """What to apply after this envelope, packets of waiting epochs included."""
        received = Received()
        self._take(envelope, now, received)
        self._release(now, received)
        return received

    def tick(self, now: float) -> Received:
        """What to apply because a newer epoch has waited long enough."""
        received = Received()
        self._release(now, received)
        return received

    def _take(self, envelope: UpEnvelope, now: float, received: Received) -> None:
        if envelope.epoch > self.epoch:
            self._held.append(envelope)
            if self.deadline is None:
                self.deadline = now + self._epoch_wait_seconds
        elif envelope.epoch < self.epoch:
            seen = envelope.epoch == self._previous.epoch and envelope.last <= self._previous
            received.duplicates += len(envelope.packets) if seen else 0
            received.rejected |= not seen
        elif envelope.seq > self.next_seq:
            received.gap = True
        else:
            new = envelope.packets[self.next_seq - envelope.seq :]
            received.duplicates += len(envelope.packets) - len(new)
            for packet in new:
                received.packets.append(Numbered(Mark(self.epoch, self.next_seq), packet, envelope.codec))
                self.next_seq += 1
                self._ended |= isinstance(packet, EpochEnd)

    def _release(self, now: float, received: Received) -> None:
        while self._held and (self._ended or now >= (self.deadline or now) or len(self._held) >= MAX_HELD_ENVELOPES):
            held, self._held, self.deadline = self._held, [], None
            self._previous = self.applied
            self.epoch, self.next_seq, self._ended = held[0].epoch, 0, False
            for envelope in held:
                self._take(envelope, now, received)
