"""A session's packets on their way to the worker, sans I/O: collected into envelopes, numbered, and kept until the
worker is done with them, so that a worker that lost them can be given them again."""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from litevoice_contracts.conversation import CODEC_BYTES_PER_SECOND, Codec, Mark, Snapshot
from litevoice_contracts.envelopes import DownEnvelope, ResumePoint, UpEnvelope
from litevoice_contracts.events import Handover, Progress
from litevoice_contracts.packets import Audio, EpochEnd, GiveUp, Packet, Silence, described
from litevoice_gateway import commands as do
from litevoice_gateway.epochs import new_epoch
from litevoice_gateway.handover import handover, needed, run_of, says_something
from litevoice_gateway.lacking import first_number, is_lacked, lacks_an_end, lacks_an_utterance, lacks_numbers
from litevoice_gateway.limits import Limits
from litevoice_gateway.pending import Pending
from litevoice_gateway.probe import Probe
from litevoice_gateway.runs import Run, Runs, joined, marked, seconds, size_of
from litevoice_gateway.session_state import SessionState
from litevoice_gateway.snapshots import snapshot_before

MAX_ENVELOPE_BYTES = 512 * 1024
"""Packets go out in envelopes of about this size at most: well below the broker's limit, with room for a snapshot."""
RETAINED_EXTRA_BYTES = 1 << 20
"""Room for packets that are not audio, on top of `retained_seconds` of audio."""
SNAPSHOT_INTERVAL_SECONDS = 10.0
"""While nothing is said, the snapshot goes along so often: a worker that starts anew needs no replay then."""

MAX_ATTEMPTS = 3
"""After so many attempts from which nothing came an open turn is given up: it may be what kills its workers."""

_IN_TIME, _SOON = do.AwaitDeparture(), do.AwaitDeparture(soon=True)


class PacketLog:
    """Packets in, `Publish` commands into `out`.

    Attributes:
        epoch: of this owner; -1 until `begin`. Before it packets are only collected.
        next_seq: number of the next packet of the epoch.
        handing_over: messages for the next owner that the broker has not confirmed yet.
        pending: packets that the broker has not confirmed yet.
        waits_until: so long a worker's question waits for what the owner before may be about to leave, when that is
            part of an utterance, or the client's numbers show that it is missing: a worker that had to begin without
            would understand the rest alone, or tell the client that it is lost.
    """

    __slots__ = (
        "_answered",
        "_awaiting",
        "_batch",
        "_former",
        "_lacked",
        "_limits",
        "_new",
        "_out",
        "_probe",
        "_replayed",
        "_replayed_at",
        "_retained",
        "_sent_snapshot",
        "_sent_snapshot_at",
        "_session_id",
        "_state",
        "_tie",
        "_wall_milliseconds",
        "epoch",
        "handing_over",
        "next_seq",
        "pending",
        "waits_until",
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
        self.handing_over = 0
        self.pending = Pending(limits)
        self.waits_until = 0.0
        self._batch: list[Run] = []
        self._awaiting: do.AwaitDeparture | None = None
        self._retained = Runs()
        self._sent_snapshot: Snapshot | None = None
        self._sent_snapshot_at = 0.0
        self._replayed = 0
        self._replayed_at = -1
        self._lacked = False  # the worker has begun without what was left to us, and was made to ask
        self._answered = new  # a worker has told its progress in this epoch, or there was none before

    @property
    def is_open(self) -> bool:
        return self.epoch >= 0

    @property
    def retained(self) -> int:
        """Packets published that no worker has said it is done with."""
        return self._retained.packets

    @property
    def retained_envelopes(self) -> int:
        """The envelopes that they went out in, each counted until it is done with as a whole."""
        return len(self._retained)

    @property
    def held_bytes(self) -> int:
        """Of packets that wait for the broker or are kept for a replay."""
        return self.pending.size + self._retained.size + self._state.handed.size

    @property
    def oldest_at(self) -> float | None:
        """When the oldest retained envelope's first packet came; None when there is none."""
        return self._retained.oldest_at

    # Packets

    def begin(self, now: float, *, ask: bool = False, since: float | None = None) -> None:
        """Opens an epoch higher than every one seen, and sends what has been collected. `since`: when we became the
        owner, if that may be long ago and another one may have come meanwhile, whose epoch ours must not exceed.

        With `ask` the worker is asked at once about what a former owner has left open, unless something goes to it
        anyway: it may be gone, and a client that never stays for `probe_seconds` would wait for as long as it moves.
        """
        late_ms = 0 if since is None else int((now - since) * 1000)
        self.epoch = new_epoch(self._wall_milliseconds() - late_ms, self._tie, self._state.epoch)
        self._forgive_if_idle()
        ask = ask and self.turn_is_open and not (self._state.asked or self.pending.collected)
        lacked = self._lacked
        self.answer(now)
        self.flush(now)
        if lacked:  # also of a replay under the number that the worker has begun with
            self._lacked = True
            self._provoke(1)
        elif ask:
            self._out.append(do.Observe("probes"))
            self._ask()

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
            for part in seconds(packet.data, CODEC_BYTES_PER_SECOND[codec]):
                self._collect(part, codec, now, None)
        else:
            self._collect(packet, codec, now, client_seq)
        if self.is_open and not isinstance(packet, Audio):
            self._await(_SOON)
        elif self._awaiting is None:
            self.await_departure()
        self.pending.grew(now)

    def depart(self, now: float) -> None:
        """The partition's bundle leaves. A worker's question that has waited for what is in it comes first."""
        self._awaiting = None
        self.answer(now)
        self.flush(now)

    def flush(self, now: float) -> None:
        """Sends the collected packets, once the epoch is open."""
        if not self.is_open:
            return
        batch, self._batch = self._batch, []
        self.pending.sent(now)
        for run in batch:
            envelope = self._envelope(self.next_seq, run, self._snapshot_to_send(now), None)
            self._out.append(do.Publish(envelope, len(run.packets), run.last_client_seq, run.size, run.at))
            self.next_seq += len(run.packets)
            self._retain(run)

    def end(self, now: float) -> None:
        """Sends what is left, and the end of the epoch; nothing when no packet was ever sent. What no worker is done
        with is left to the next owner."""
        if self.is_open and (self.next_seq or self.pending.collected):
            self._collect(EpochEnd(), self._state.snapshot.config.input_codec, now, None)
            self.flush(now)
        if self._says_something or self._may_end_an_utterance:
            self._hand_over()

    # The worker

    def progress(self, progress: Progress) -> None:
        """Nothing up to there is needed any more; a worker that begins there needs what else the event says."""
        self._state.handed.told(progress, lacked=self._lacked)
        if progress.upto.epoch == self.epoch:
            self._answered = True
            self._retained.drop(progress.upto.seq + 1 - self._first_retained)

    def answer(self, now: float) -> None:
        """Sends the worker what it has asked for, if it has, and if that was not sent yet."""
        if not self.is_open:
            return
        if self._state.handed and 0 <= self._replayed_at < self._state.handed.at:
            self._replayed_at = self._state.handed.at
            if self._handed:
                self._lacked = True
                self._provoke(1)
        if not self._state.asked or self._replayed >= self._state.attempt:
            return
        if now < self.waits_until and not self._state.left and self._lacks_something:
            self._out.append(do.WakeAt(self.waits_until))
            return
        self._replayed, self._replayed_at = self._state.attempt, self._state.position
        self._probe.heard(now)
        self._forgive_if_idle()
        if self._state.left:  # the next one is to ask: should it die of the turn, the log says that it had begun
            self._provoke(1)
            return
        if self._state.fruitless >= MAX_ATTEMPTS:
            self._give_up(now)
        self._out.append(do.Observe("replays"))
        self._replay()

    def reject(self, rejected: int, current: int) -> None:
        """A worker knows of epoch `current` and refused packets of the epoch `rejected`.

        When that is ours, what is retained becomes the beginning of a higher one. Another worker may have applied some
        of it: each is made to ask, and begins anew from the replay. Not where the client's numbers show that something
        is missing before it: that came to an owner in between, which was killed perhaps, and the worker alone may have
        it. What is retained is sent again there, unless a worker has begun with it; of what has numbers nothing takes
        effect twice.
        Made to ask is also one that has refused what an earlier owner has left, and that it lacks: it has begun without
        it. For less it must not begin anew, for the same reason.
        """
        settled, again = self._state.snapshot.cursor.client_seq, first_number((*self._retained, *self._batch))
        if any(entry.epoch == rejected and is_lacked(entry, settled, again) for entry in self._handed):
            self._lacked = True
            if self.is_open:
                self._provoke(1)
        if not self.is_open or rejected != self.epoch:
            return
        self._settle()
        self._former = Mark(self.epoch, self._first_retained)
        self.epoch = new_epoch(self._wall_milliseconds(), self._tie, max(current, self._state.epoch))
        self.next_seq = self._retained.packets
        self._new = False
        if self._lacks_numbers and self._state.spoken_in != rejected:
            self._send_again()
        else:
            self._provoke()

    def heard(self, now: float) -> None:
        """A sign of life of the worker."""
        self._probe.heard(now)

    def tick(self, now: float, *, probe: bool, ask_now: bool = False, unproven: bool = False) -> None:
        """Asks a quiet worker, if `probe`; with `ask_now` one of which nothing is known yet. Answers one that waits.
        `unproven`: nothing of the log has come since the session was taken over."""
        self.answer(now)
        broker_answers = self.pending.answered_within(self._limits.probe_seconds, now)
        expected = self._state.awaiting_response or bool(self._retained or self._state.handed)
        waiting = probe and self.is_open and broker_answers and expected
        due = self._probe.due(now, waiting=waiting, unproven=unproven and self.turn_is_open)
        if due == "look" or (ask_now and waiting):
            self._out.append(do.WakeReplies())
        if due == "ask" or (ask_now and waiting):
            self._out.append(do.Observe("probes"))
            self._ask()

    def _ask(self) -> None:
        """A worker that misses something before `next_seq` says so."""
        self._out.append(do.Publish(self._envelope(self.next_seq, self._nothing, None, None), 0))

    def _provoke(self, missing: int = 0) -> None:
        """Has a worker ask, for it has begun without something; with `missing` also one that misses no packet."""
        envelope = self._envelope(self.next_seq + missing, self._nothing, None, None)
        self._out.append(do.Publish(replace(envelope, provokes=True), 0))

    def _send_again(self) -> None:
        """To whoever has all that comes before it."""
        for first, run in self._kept:
            self._out.append(do.Publish(self._envelope(first.seq, run, None, None), 0))

    @property
    def turn_is_open(self) -> bool:
        """Something is expected of a worker: in a turn, or because of what no worker is done with."""
        return self._state.in_turn or self._says_something

    @property
    def _says_something(self) -> bool:
        """What no worker is done with is more than silence."""
        return self._state.handed.says_something or says_something(self._retained.all_packets)

    @property
    def _lacks_something(self) -> bool:
        return lacks_an_utterance(self._state, self.epoch) or self._lacks_numbers

    @property
    def _lacks_numbers(self) -> bool:
        if self._answered:
            return False
        expects = bool(self.pending.collected) or self.turn_is_open
        return lacks_numbers(self._state, (*self._retained, *self._batch), expects=expects)

    @property
    def _may_end_an_utterance(self) -> bool:
        """There is silence that no worker has said it has, after something that an earlier owner has left: that may be
        on its way here."""
        return not self._answered and any(isinstance(packet, Silence) for packet in self._retained.all_packets)

    def _hand_over(self) -> None:
        """What was left to this owner stands in the log already; the next one may begin to read behind it."""
        handed = self._state.handed
        entries = list(handed.entries) if handed.since <= self._state.restore_position else []
        entries += [handover(self.epoch, at.seq, run, handed.progress, self._former) for at, run in self._kept]
        for entry in entries:
            envelope = DownEnvelope(self.epoch, self._state.turn, [entry], self._state.attempt)
            self._out.append(do.HandOver(envelope.encode()))
            self.handing_over += 1

    def _forgive_if_idle(self) -> None:
        if not self.turn_is_open:
            self._state.forgive()

    def _give_up(self, now: float) -> None:
        """What is retained is not sent again; in its place a worker is told to end the turn."""
        self.flush(now)
        self._out.append(do.Observe("given_up"))
        lost = self._state.handed.audio_ms + sum(run.audio_ms for run in self._retained)
        self._state.handed.drop()
        self._retained.drop(self._retained.packets)
        run = Run(self._state.snapshot.config.input_codec, now)
        run.add(GiveUp(self._state.fruitless, lost, self._state.attempt), 0, None)
        self.next_seq += 1
        self._retain(run)

    @property
    def _handed(self) -> list[Handover]:
        """What earlier owners have left, and a worker that begins anew needs."""
        ends = self._state.snapshot.cursor.untranscribed
        return needed(self._state.handed.entries, self._retained, ends[0].end if ends else None)

    @property
    def _kept(self) -> list[tuple[Mark, Run]]:
        """What is retained, as it leaves, each with the mark of its first packet."""
        return marked(joined(self._retained, MAX_ENVELOPE_BYTES), Mark(self.epoch, self._first_retained))

    @property
    def _first_retained(self) -> int:
        return self.next_seq - self._retained.packets

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
        self.pending.collect(size)

    def _replay(self) -> None:
        """Snapshot, what earlier owners have left, and all retained packets, under their old numbers."""
        self._lacked = False
        self._settle()
        runs = [(Mark(entry.epoch, entry.seq), run_of(entry)) for entry in self._handed] + self._kept
        if not runs or lacks_an_end(self._state, self.epoch, *runs[-1]):  # which says that this is all
            runs.append((Mark(self.epoch, self.next_seq), self._nothing))
        (first, run), *rest = runs
        envelope = self._envelope(first.seq, run, self._snapshot_before(first), self._state.resume_point)
        beside, question = self._state.resume_out_of_band, self._state.question
        answer = replace(
            envelope, epoch=first.epoch, asker=question.sender, question=question.number, resume_out_of_band=beside
        )
        self._out.append(do.Publish(answer, 0))
        due = Mark(first.epoch, first.seq + len(run.packets))
        for mark, run in rest:
            envelope = self._envelope(mark.seq, run, None, None)
            continues = mark != due and (mark.seq > 0 or not run.packets)
            self._out.append(do.Publish(replace(envelope, epoch=mark.epoch, continues=continues), 0))
            due = Mark(mark.epoch, mark.seq + len(run.packets))

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
        return self._snapshot_before(Mark(self.epoch, self.next_seq))

    def _snapshot_before(self, first: Mark) -> Snapshot:
        refused = [(entry.former, entry.epoch) for entry in self._state.handed.entries]
        refused.append((self._former, self.epoch))
        return snapshot_before(first, self._state.snapshot, self._state.handed.progress, refused)

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
        self._retained.add(run)
        bound = self._limits.retained_seconds * CODEC_BYTES_PER_SECOND[run.codec] + RETAINED_EXTRA_BYTES
        before, dropped = self._retained.packets, 0
        if self._state.handed and self._retained.size + self._state.handed.size > bound:
            dropped = self._state.handed.drop()
        while self._retained.size > bound:
            self._retained.drop_size(self._retained.size - bound)
        dropped += before - self._retained.packets
        if dropped:
            self._out.append(do.Observe("dropped", "retained_packets", dropped))

    def _settle(self) -> None:
        """A worker that begins from the log's snapshot needs nothing before its boundary: the one that made it may have
        died before it has told of that."""
        boundary = self._state.snapshot.boundary
        if boundary is not None and boundary.epoch == self.epoch:
            self._retained.drop(boundary.seq + 1 - self._first_retained)
