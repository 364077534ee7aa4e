"""A session's packets on their way to the worker, sans I/O: collected into envelopes, numbered, and kept until the
worker is done with them, so that a worker that lost them can be given them again."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from msgspec.structs import replace

from litevoice_contracts.conversation import CODEC_BYTES_PER_SECOND, Codec, Mark, Snapshot
from litevoice_contracts.envelopes import ResumePoint, UpEnvelope
from litevoice_contracts.events import Progress
from litevoice_contracts.packets import Audio, EpochEnd, GiveUp, Packet, Silence, described
from litevoice_gateway import commands as do
from litevoice_gateway.epochs import new_epoch
from litevoice_gateway.limits import Limits
from litevoice_gateway.probe import Probe
from litevoice_gateway.runs import Run, joined, size_of
from litevoice_gateway.session_state import SessionState

MAX_ENVELOPE_BYTES = 512 * 1024
"""Packets go out in envelopes of about this size at most: well below the broker's limit, with room for a snapshot."""
RETAINED_EXTRA_BYTES = 1 << 20
"""Room for packets that are not audio, on top of `retained_seconds` of audio."""
SNAPSHOT_INTERVAL_SECONDS = 10.0
"""While nothing is said, the snapshot goes along so often: a worker that starts anew needs no replay then."""

MAX_ATTEMPTS = 3
"""After so many attempts from which nothing came an open turn is given up: it may be what kills its workers."""

_NONE: deque[Run] = deque(maxlen=0)
"""Shared by all sessions that retain nothing, which are most: an empty deque takes 600 bytes. Never changed."""
_IN_TIME, _SOON = do.AwaitDeparture(), do.AwaitDeparture(soon=True)


class PacketLog:
    """Packets in, `Publish` commands into `out`.

    Attributes:
        epoch: of this owner; -1 until `begin`. Before it packets are only collected.
        next_seq: number of the next packet of the epoch.
        unconfirmed: packets handed out for the first time and not confirmed by the broker yet.
        full_since: since when `max_pending_packets` or `max_pending_bytes` wait for the broker (until half of both are
            left), else None.
    """

    __slots__ = (
        "_awaiting",
        "_batch",
        "_collected",
        "_confirmed_at",
        "_former",
        "_limits",
        "_new",
        "_out",
        "_pending_bytes",
        "_probe",
        "_progress",
        "_replayed",
        "_retained",
        "_retained_bytes",
        "_retained_packets",
        "_sent_snapshot",
        "_sent_snapshot_at",
        "_session_id",
        "_state",
        "_tie",
        "_wall_milliseconds",
        "epoch",
        "full_since",
        "next_seq",
        "unconfirmed",
    )

    def __init__(
        self,
        session_id: str,
        limits: Limits,
        state: SessionState,
        wall_milliseconds: Callable[[], int],
        out: list[do.Command],
        *,
        tie: int = 0,
        new: bool = True,
    ) -> None:
        """`tie`: see `new_epoch`. `new`: no worker can know the session yet."""
        self._session_id = session_id
        self._limits = limits
        self._state = state
        self._wall_milliseconds = wall_milliseconds
        self._out = out
        self._tie = tie
        self._new = new
        self._former: Mark | None = None  # the epoch's first packet, as it was numbered in the one that was refused
        self._probe = Probe(limits.probe_seconds)
        self.epoch = -1
        self.next_seq = 0
        self.unconfirmed = 0
        self.full_since: float | None = None
        self._batch: list[Run] = []
        self._collected = 0
        self._pending_bytes = 0
        self._awaiting: do.AwaitDeparture | None = None
        self._retained = _NONE
        self._retained_packets = 0
        self._retained_bytes = 0
        self._sent_snapshot: Snapshot | None = None
        self._sent_snapshot_at = 0.0
        self._confirmed_at = 0.0
        self._replayed = 0
        self._progress: Progress | None = None

    @property
    def is_open(self) -> bool:
        return self.epoch >= 0

    @property
    def collected(self) -> int:
        """Packets that have no number yet."""
        return self._collected

    @property
    def retained(self) -> int:
        """Packets published that no worker has said it is done with."""
        return self._retained_packets

    @property
    def retained_envelopes(self) -> int:
        """The envelopes that they went out in, each counted until it is done with as a whole."""
        return len(self._retained)

    @property
    def held_bytes(self) -> int:
        """Of packets that wait for the broker or are kept for a replay."""
        return self._pending_bytes + self._retained_bytes

    @property
    def oldest_at(self) -> float | None:
        """When the oldest retained envelope's first packet came; None when there is none."""
        return self._retained[0].at if self._retained else None

    # Packets

    def begin(self, now: float) -> None:
        """Opens an epoch higher than every one seen, and sends what has been collected."""
        self.epoch = new_epoch(self._wall_milliseconds(), self._tie, self._state.epoch)
        self.answer(now)
        self.flush(now)

    def await_departure(self) -> bool:
        """Asks for the partition's next bundle; False while packets are only collected."""
        if self.is_open:
            self._await(_SOON if self._state.user_turn else _IN_TIME)
        return self.is_open

    def add(self, packet: Packet, codec: Codec, now: float, client_seq: int | None = None) -> None:
        """Leaves with the partition's next bundle.

        Long audio leaves in packets of a second, so that a worker hears others in between. What the client has numbered
        stays whole: the number says whether a worker has it.
        """
        if client_seq is None and isinstance(packet, Audio) and len(packet.data) > CODEC_BYTES_PER_SECOND[codec]:
            for part in _seconds(packet.data, CODEC_BYTES_PER_SECOND[codec]):
                self._collect(part, codec, now, None)
        else:
            self._collect(packet, codec, now, client_seq)
        if self.is_open and not isinstance(packet, Audio):
            self._await(_SOON)
        elif self._awaiting is None:
            self.await_departure()
        if self.full_since is None:  # what was collected cannot make it end
            self._measure(now)

    def depart(self, now: float) -> None:
        """The partition's bundle leaves."""
        self._awaiting = None
        self.flush(now)

    def flush(self, now: float) -> None:
        """Sends the collected packets, once the epoch is open."""
        if not self.is_open:
            return
        batch, self._batch, self._collected = self._batch, [], 0
        for run in batch:
            envelope = self._envelope(self.next_seq, run, self._snapshot_to_send(now), None)
            self._out.append(do.Publish(envelope, len(run.packets), run.last_client_seq, run.size))
            self.next_seq += len(run.packets)
            self.unconfirmed += len(run.packets)
            self._retain(run)

    def end(self, now: float) -> None:
        """Sends what is left, and the end of the epoch; nothing when no packet was ever sent."""
        if self.is_open and (self.next_seq or self._collected):
            self._collect(EpochEnd(), self._state.snapshot.config.input_codec, now, None)
            self.flush(now)

    def confirmed(self, packets: int, now: float, size: int) -> None:
        """The broker has them, `size` bytes in all, or they are lost."""
        self._confirmed_at = now
        self.unconfirmed -= packets
        self._pending_bytes -= size
        self._measure(now)

    # The worker

    def progress(self, progress: Progress) -> None:
        """Nothing up to there is needed any more; a worker that begins there needs what else the event says."""
        if progress.upto.epoch != self.epoch:
            return
        if self._progress is None or self._progress.upto <= progress.upto:
            self._progress = progress
        self._drop(progress.upto.seq + 1 - self._first_retained)

    def answer(self, now: float) -> None:
        """Sends the worker what it has asked for, if it has, and if that was not sent yet."""
        if not (self._state.asked and self.is_open and self._replayed < self._state.attempt):
            return
        self._replayed = self._state.attempt
        self._probe.heard(now)
        if self._state.fruitless >= MAX_ATTEMPTS and self._turn_is_open:
            self._give_up(now)
        self._out.append(do.Observe("replays"))
        self._replay()

    def reject(self, rejected: int, current: int) -> None:
        """A worker knows of epoch `current` and refused packets of the epoch `rejected`.

        When that is ours, what is retained becomes the beginning of a higher one. Another worker may have applied some
        of it: each is made to ask, and begins anew from the replay.
        """
        if not self.is_open or rejected != self.epoch:
            return
        self._former = Mark(self.epoch, self._first_retained)
        self.epoch = new_epoch(self._wall_milliseconds(), self._tie, max(current, self._state.epoch))
        self.next_seq = self._retained_packets
        self._new = False
        self._ask()

    def heard(self, now: float) -> None:
        """A sign of life of the worker."""
        self._probe.heard(now)

    def tick(self, now: float, *, probe: bool, ask_now: bool = False) -> None:
        """Asks a quiet worker, if `probe`; with `ask_now` one of which nothing is known yet."""
        broker_answers = not self.unconfirmed or now - self._confirmed_at < self._limits.probe_seconds
        expected = self._state.awaiting_response or bool(self._retained)
        waiting = probe and self.is_open and broker_answers and expected
        due = self._probe.due(now, waiting=waiting)
        if due == "look" or (ask_now and waiting):
            self._out.append(do.WakeReplies())
        if due == "ask" or (ask_now and waiting):
            self._out.append(do.Observe("probes"))
            self._ask()

    def _ask(self) -> None:
        """A worker that misses something before `next_seq` says so."""
        self._out.append(do.Publish(self._envelope(self.next_seq, self._nothing, None, None), 0))

    @property
    def _turn_is_open(self) -> bool:
        return self._state.in_turn or any(
            not isinstance(packet, Silence) for run in self._retained for packet in run.packets
        )

    def _give_up(self, now: float) -> None:
        """What is retained is not sent again; in its place a worker is told to end the turn."""
        self.flush(now)
        self._out.append(do.Observe("given_up"))
        lost = sum(run.audio_ms for run in self._retained)
        self._drop(self._retained_packets)
        run = Run(self._state.snapshot.config.input_codec, now)
        run.add(GiveUp(self._state.fruitless, lost), 0, None)
        self.next_seq += 1
        self._retain(run)

    @property
    def _first_retained(self) -> int:
        return self.next_seq - self._retained_packets

    def _await(self, departure: do.AwaitDeparture) -> None:
        if self._awaiting is None or departure.soon > self._awaiting.soon:
            self._awaiting = departure
            self._out.append(departure)

    def _collect(self, packet: Packet, codec: Codec, now: float, client_seq: int | None) -> None:
        packet = described(packet, codec)
        size = size_of(packet)
        run = self._batch[-1] if self._batch else None
        if run is None or run.codec != codec or run.size + size > MAX_ENVELOPE_BYTES:
            self._batch.append(run := Run(codec, now))
        run.add(packet, size, client_seq)
        self._collected += 1
        self._pending_bytes += size

    def _replay(self) -> None:
        """Snapshot and all retained packets under their old numbers."""
        first, *rest = joined(self._retained, MAX_ENVELOPE_BYTES) or [self._nothing]
        seq = self._first_retained
        self._out.append(
            do.Publish(self._envelope(seq, first, self._snapshot_before(seq), self._state.resume_point), 0)
        )
        seq += len(first.packets)
        for run in rest:
            self._out.append(do.Publish(self._envelope(seq, run, None, None), 0))
            seq += len(run.packets)

    def _snapshot_to_send(self, now: float) -> Snapshot | None:
        """The snapshot for an envelope that begins at `next_seq`, None when it would not help.

        Only a worker that does not know the session needs it, and such a worker can begin with this envelope only
        when nothing is missing before it. An owner that has restored the session may not have read the end of its log
        yet: its first worker has to ask, and the question is the end of the log.
        """
        if self._retained if self.next_seq else not self._new:
            return None
        snapshot = self._state.snapshot
        known = snapshot is self._sent_snapshot
        if self.next_seq and known and now - self._sent_snapshot_at < SNAPSHOT_INTERVAL_SECONDS:
            return None
        self._sent_snapshot, self._sent_snapshot_at = snapshot, now
        return self._snapshot_before(self.next_seq)

    def _snapshot_before(self, seq: int) -> Snapshot:
        """The snapshot, told to hold everything before packet `seq`; at an epoch's start its boundary stays."""
        snapshot, progress = self._state.snapshot, self._progress
        if progress is not None and (snapshot.boundary is None or snapshot.boundary < progress.upto):
            cursor = replace(snapshot.cursor, audio_ms=progress.audio_ms, noise_floor=progress.noise_floor)
            snapshot = replace(snapshot, cursor=cursor)
        if self._former is not None:  # what has taken effect must not do so under its new number
            cursor, former = snapshot.cursor, self._former
            events, packet = self._renumbered(cursor.events, former), self._renumbered(cursor.packet, former)
            snapshot = replace(snapshot, cursor=replace(cursor, events=events, packet=packet))
        return replace(snapshot, boundary=Mark(self.epoch, seq - 1)) if seq else snapshot

    def _renumbered(self, mark: Mark | None, former: Mark) -> Mark | None:
        if mark is None or mark.epoch != former.epoch or mark < former:
            return mark
        return Mark(self.epoch, mark.seq - former.seq)

    @property
    def _nothing(self) -> Run:
        return Run(self._state.snapshot.config.input_codec, 0.0)

    def _envelope(self, seq: int, run: Run, snapshot: Snapshot | None, resume: ResumePoint | None) -> UpEnvelope:
        return UpEnvelope(
            session_id=self._session_id,
            epoch=self.epoch,
            seq=seq,
            turn=self._state.turn,
            packets=run.packets,
            codec=run.codec,
            attempt=self._state.attempt,
            snapshot=snapshot,
            resume=resume,
            client_seqs=run.client_seqs,
        )

    def _retain(self, run: Run) -> None:
        if self._retained is _NONE:
            self._retained = deque()
        self._retained.append(run)
        self._retained_packets += len(run.packets)
        self._retained_bytes += run.size
        bound = self._limits.retained_seconds * CODEC_BYTES_PER_SECOND[run.codec] + RETAINED_EXTRA_BYTES
        before = self._retained_packets
        while self._retained_bytes > bound:
            self._drop(self._retained[0].first(self._retained_bytes - bound))
        if self._retained_packets < before:
            self._out.append(do.Observe("dropped", "retained_packets", before - self._retained_packets))

    def _drop(self, count: int) -> None:
        """Forgets the oldest `count` of what is retained, or all."""
        while count > 0 and self._retained:
            run = self._retained[0]
            packets = min(count, len(run.packets))
            if packets < len(run.packets):
                self._retained_bytes -= run.drop(packets)
            else:
                self._retained_bytes -= run.size
                self._retained.popleft()
            self._retained_packets -= packets
            count -= packets
        if not self._retained:
            self._retained = _NONE

    def _measure(self, now: float) -> None:
        packets, max_packets = self._collected + self.unconfirmed, self._limits.max_pending_packets
        size, max_size = self._pending_bytes, self._limits.max_pending_bytes
        if self.full_since is None and (packets >= max_packets or size >= max_size):
            self.full_since = now
        elif self.full_since is not None and packets <= max_packets // 2 and size <= max_size // 2:
            self.full_since = None


def _seconds(data: bytes, size: int) -> Iterable[Audio]:
    return (Audio(data[begin : begin + size]) for begin in range(0, len(data), size))
