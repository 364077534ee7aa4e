"""What has come of a session while its owner was asked for more and has not answered. The broker has it, and the client
may have been told so: if that owner is killed now, or stands still, nobody else can send it again."""

from __future__ import annotations

from msgspec.structs import replace

from litevoice_contracts.conversation import Snapshot
from litevoice_contracts.envelopes import UpEnvelope
from litevoice_contracts.packets import EpochEnd, GiveUp, Packet, audio_bytes

MAX_ENVELOPES, MAX_AUDIO_BYTES = 100, 1 << 20
"""Of one session; what comes after that is not kept."""


class Unanswered:
    """Envelopes of the epoch that the question was about, without a gap. Only what the client has numbered: of that
    nothing takes effect twice, whoever else has it. Nothing that begins with a replay: what earlier owners have left
    is in it, which a later answer lacks because it is over, perhaps as one that was told as lost (seed 70572)."""

    __slots__ = ("_audio_bytes", "_broken", "_envelopes")

    def __init__(self) -> None:
        self._envelopes: list[UpEnvelope] = []
        self._audio_bytes = 0
        self._broken = False

    def clear(self) -> None:
        if self._envelopes or self._broken:
            self._envelopes, self._audio_bytes, self._broken = [], 0, False

    def add(self, envelope: UpEnvelope) -> None:
        kept = self._envelopes
        if not envelope.packets or self._broken or (kept and envelope.epoch != kept[0].epoch):
            return
        if kept and envelope.last <= kept[-1].last:
            return  # sent again
        size = self._audio_bytes + sum(map(audio_bytes, envelope.packets))
        full = len(kept) >= MAX_ENVELOPES or size > MAX_AUDIO_BYTES
        gap = bool(kept) and envelope.seq > kept[-1].last.seq + 1
        replay = not kept and envelope.asker
        if gap or full or replay or not _is_numbered(envelope):
            self._broken = True
        else:
            kept.append(envelope)
            self._audio_bytes = size

    def before(self, answer: UpEnvelope) -> list[UpEnvelope]:
        """The envelopes to begin with, the first with the answer's snapshot. The answer alone, unless a later owner has
        given it, to which none of this was left, and this goes on where the snapshot ends."""
        snapshot, kept = answer.snapshot, _until_again(self._envelopes, answer)
        given_up = any(isinstance(packet, GiveUp) for packet in answer.packets)
        if not kept or snapshot is None or answer.epoch <= kept[0].epoch or given_up or not _goes_on(kept, snapshot):
            return [answer]
        first = kept[0]
        begin = replace(
            answer,
            epoch=first.epoch,
            seq=first.seq,
            packets=first.packets,
            codec=first.codec,
            client_seqs=first.client_seqs,
        )
        return [begin, *kept[1:], answer]


def _until_again(kept: list[UpEnvelope], answer: UpEnvelope) -> list[UpEnvelope]:
    """What of it comes before all that the client has sent again; the epoch ends there. With the rest an utterance that
    has ended in the later epoch would go on beyond its end."""
    again = next((number for number in answer.client_seqs or () if number is not None), None)
    if again is None:
        return kept
    left: list[UpEnvelope] = []
    for envelope in kept:
        numbers = envelope.client_seqs or []
        count = next((at for at, number in enumerate(numbers) if number is not None and number >= again), None)
        if count is None:
            left.append(envelope)
            continue
        if left or count:
            packets: list[Packet] = [*envelope.packets[:count], EpochEnd()]
            left.append(replace(envelope, packets=packets, client_seqs=[*numbers[:count], None]))
        break
    return left


def _goes_on(kept: list[UpEnvelope], snapshot: Snapshot) -> bool:
    """Nothing that anybody has is missing between the two, and something is new. What comes before the first packet of
    an owner, the answer would have brought if anybody had left it."""
    first, last, boundary = kept[0], kept[-1], snapshot.boundary
    if boundary is not None and boundary >= last.last:
        return False
    if first.seq == 0 and (boundary is None or boundary.epoch < first.epoch):
        return True
    done, number = snapshot.cursor.client_seq, next(iter(first.client_seqs or ()), None)
    return done is not None and number is not None and number <= done + 1


def _is_numbered(envelope: UpEnvelope) -> bool:
    """All of it, but for the end of the epoch."""
    numbers = envelope.client_seqs or []
    ends = sum(isinstance(packet, EpochEnd) for packet in envelope.packets)
    return sum(number is not None for number in numbers) == len(envelope.packets) - ends > 0
