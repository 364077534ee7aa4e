"""The upstream of one session: collects packets into envelopes, numbers them, and keeps those of the open turn, so that
a worker that lost them can be given them again."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace

import msgspec

from litevoice_contracts.conversation import CODEC_BYTES_PER_SECOND, Codec, Mark, Snapshot
from litevoice_contracts.envelopes import ResumePoint, UpEnvelope
from litevoice_contracts.packets import Audio, EpochEnd, Packet
from litevoice_gateway.restore import Folded

MAX_ENVELOPE_BYTES = 512 * 1024
"""Packets go out in envelopes of about this size at most: well below the broker's limit, with room for a snapshot."""
RETAINED_EXTRA_BYTES = 1 << 20
"""Room for packets that are not audio, on top of `retained_seconds` of audio."""
SNAPSHOT_INTERVAL_SECONDS = 10.0
"""While nothing is said, the snapshot goes along so often: a worker that starts anew needs no replay then."""

_size_encoder = msgspec.msgpack.Encoder()


@dataclass(frozen=True, slots=True)
class Entry:
    packet: Packet
    codec: Codec
    size: int
    at: float
    ends_envelope: bool = False


class Uplink:
    """Packets in, envelopes out.

    Attributes:
        epoch: of this owner; -1 until `begin`. Before it packets are only collected.
        next_seq: number of the next packet of the epoch.
        unconfirmed: packets handed out for the first time and not confirmed by the broker yet.
        dropped: retained packets given up at the bound, since the last look.
    """

    def __init__(self, session_id: str, batch_seconds: float, retained_seconds: int) -> None:
        self._session_id = session_id
        self._batch_seconds = batch_seconds
        self._retained_seconds = retained_seconds
        self.epoch = -1
        self.next_seq = 0
        self.unconfirmed = 0
        self.dropped = 0
        self._batch: list[Entry] = []
        self._batch_bytes = 0
        self._due: float | None = None
        self._retained: deque[Entry] = deque()
        self._retained_bytes = 0
        self._retained_envelopes = 0
        self._sent_snapshot: Snapshot | None = None
        self._sent_snapshot_at = 0.0

    @property
    def is_open(self) -> bool:
        return self.epoch >= 0

    @property
    def collected(self) -> int:
        """Packets that have no number yet."""
        return len(self._batch)

    @property
    def pending(self) -> int:
        """Packets that the broker has not confirmed."""
        return len(self._batch) + self.unconfirmed

    @property
    def retained(self) -> int:
        """Packets published that no worker has said it is done with."""
        return len(self._retained)

    @property
    def retained_envelopes(self) -> int:
        """The envelopes that they went out in, each counted until it is done with as a whole."""
        return self._retained_envelopes

    @property
    def oldest_at(self) -> float | None:
        """When the oldest retained packet came; None when there is none."""
        return self._retained[0].at if self._retained else None

    @property
    def due(self) -> float | None:
        """When the collected packets shall go out; None when there are none."""
        return self._due

    def begin(self, epoch: int) -> None:
        self.epoch = epoch

    def add(self, packet: Packet, codec: Codec, now: float) -> None:
        """Collects one packet. Audio waits for the batch to fill; anything else is due at once."""
        audio = isinstance(packet, Audio)
        size = len(packet.data) if isinstance(packet, Audio) else len(_size_encoder.encode(packet))
        self._batch.append(Entry(packet, codec, size, now))
        self._batch_bytes += size
        if not audio or self._batch_bytes >= MAX_ENVELOPE_BYTES:
            self._due = now
        elif self._due is None:
            self._due = now + self._batch_seconds

    def flush(self, folded: Folded, now: float) -> list[tuple[UpEnvelope, int]]:
        """The collected packets as envelopes, each with the number of packets in it. Only after `begin`."""
        batch, self._batch, self._batch_bytes, self._due = self._batch, [], 0, None
        out: list[tuple[UpEnvelope, int]] = []
        for entries in _chunks(batch):
            snapshot = self._snapshot_to_send(folded, now)
            out.append((self._envelope(folded, self.next_seq, entries, snapshot, None), len(entries)))
            self.next_seq += len(entries)
            self.unconfirmed += len(entries)
            self._retain(entries)
        return out

    def end(self, folded: Folded, now: float) -> list[tuple[UpEnvelope, int]]:
        """What is left, and the end of the epoch; nothing when no packet was ever sent."""
        if not self.next_seq and not self._batch:
            return []
        self.add(EpochEnd(), folded.snapshot.config.input_codec, now)
        return self.flush(folded, now)

    def progress(self, upto: Mark) -> None:
        """Nothing up to `upto` is needed any more."""
        if upto.epoch != self.epoch:
            return
        while self._retained and self._first_retained <= upto.seq:
            self._drop_first()

    def replay(self, folded: Folded) -> list[UpEnvelope]:
        """Snapshot and all retained packets under their old numbers; `folded.attempt` is the new attempt already."""
        first = self._first_retained
        return self._again(folded, first, _before(folded.snapshot, self.epoch, first))

    def reopen(self, epoch: int, folded: Folded) -> list[UpEnvelope]:
        """The same under a new epoch, whose first packets they become: the old epoch was refused as a whole."""
        self.epoch = epoch
        self.next_seq = len(self._retained)
        return self._again(folded, 0, folded.snapshot) if self._retained else []

    def nudge(self, folded: Folded) -> UpEnvelope:
        """An envelope of nothing: a worker that misses something will say so."""
        return self._envelope(folded, self.next_seq, [], None, None)

    def confirmed(self, packets: int) -> None:
        self.unconfirmed -= packets

    @property
    def _first_retained(self) -> int:
        return self.next_seq - len(self._retained)

    def _again(self, folded: Folded, first: int, snapshot: Snapshot) -> list[UpEnvelope]:
        out: list[UpEnvelope] = []
        seq = first
        for entries in _chunks(self._retained) or [[]]:
            head = not out
            resume = folded.resume_point if head else None
            out.append(self._envelope(folded, seq, entries, snapshot if head else None, resume))
            seq += len(entries)
        return out

    def _snapshot_to_send(self, folded: Folded, now: float) -> Snapshot | None:
        """The snapshot for an envelope that begins at `next_seq`, None when it would not help.

        Only a worker that does not know the session needs it, and such a worker can begin with this envelope only
        when nothing is missing before it.
        """
        if self._retained and self.next_seq:
            return None
        known = folded.snapshot is self._sent_snapshot
        if self.next_seq and known and now - self._sent_snapshot_at < SNAPSHOT_INTERVAL_SECONDS:
            return None
        self._sent_snapshot, self._sent_snapshot_at = folded.snapshot, now
        return _before(folded.snapshot, self.epoch, self.next_seq)

    def _envelope(
        self,
        folded: Folded,
        seq: int,
        entries: list[Entry],
        snapshot: Snapshot | None,
        resume: ResumePoint | None,
    ) -> UpEnvelope:
        return UpEnvelope(
            session_id=self._session_id,
            epoch=self.epoch,
            seq=seq,
            turn=folded.turn,
            packets=[entry.packet for entry in entries],
            codec=entries[0].codec if entries else folded.snapshot.config.input_codec,
            attempt=folded.attempt,
            snapshot=snapshot,
            resume=resume,
        )

    def _retain(self, entries: list[Entry]) -> None:
        self._retained_envelopes += 1
        for entry in (*entries[:-1], replace(entries[-1], ends_envelope=True)):
            self._retained.append(entry)
            self._retained_bytes += entry.size
            bound = self._retained_seconds * CODEC_BYTES_PER_SECOND[entry.codec] + RETAINED_EXTRA_BYTES
            while self._retained_bytes > bound:
                self._drop_first()
                self.dropped += 1

    def _drop_first(self) -> None:
        entry = self._retained.popleft()
        self._retained_bytes -= entry.size
        self._retained_envelopes -= entry.ends_envelope


def _before(snapshot: Snapshot, epoch: int, seq: int) -> Snapshot:
    """The snapshot, told to hold everything before packet `seq` of `epoch`; at an epoch's start it stays as it is."""
    return msgspec.structs.replace(snapshot, boundary=Mark(epoch, seq - 1)) if seq else snapshot


def _chunks(entries: Iterable[Entry]) -> list[list[Entry]]:
    """Consecutive entries of one codec, up to about MAX_ENVELOPE_BYTES each."""
    chunks: list[list[Entry]] = []
    size = 0
    for entry in entries:
        if not chunks or chunks[-1][-1].codec != entry.codec or size + entry.size > MAX_ENVELOPE_BYTES:
            chunks.append([])
            size = 0
        chunks[-1].append(entry)
        size += entry.size
    return chunks
