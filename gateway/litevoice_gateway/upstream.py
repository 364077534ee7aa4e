"""A session's side towards the worker, sans I/O: when packets go out, when the open turn is sent again, when to ask."""

from __future__ import annotations

from collections.abc import Callable

from litevoice_contracts.conversation import Codec, Mark
from litevoice_contracts.packets import Packet
from litevoice_gateway import commands as do
from litevoice_gateway.limits import Limits
from litevoice_gateway.probe import Probe
from litevoice_gateway.restore import Folded
from litevoice_gateway.uplink import Uplink


class Upstream:
    """Commands go into `out`.

    Attributes:
        full_since: since when `max_pending_packets` wait for the broker (until half of them are left), else None.
    """

    __slots__ = (
        "_confirmed_at",
        "_folded",
        "_limits",
        "_out",
        "_probe",
        "_replay_asked",
        "_uplink",
        "_wall_milliseconds",
        "full_since",
    )

    def __init__(
        self,
        session_id: str,
        limits: Limits,
        folded: Folded,
        wall_milliseconds: Callable[[], int],
        out: list[do.Command],
    ) -> None:
        self._uplink = Uplink(session_id, limits.batch_seconds, limits.retained_seconds)
        self._probe = Probe(limits.probe_seconds)
        self._limits = limits
        self._folded = folded
        self._wall_milliseconds = wall_milliseconds
        self._out = out
        self._replay_asked = False
        self._confirmed_at = 0.0
        self.full_since: float | None = None

    @property
    def is_open(self) -> bool:
        return self._uplink.is_open

    @property
    def unconfirmed(self) -> int:
        return self._uplink.unconfirmed

    @property
    def collected(self) -> int:
        return self._uplink.collected

    @property
    def retained_envelopes(self) -> int:
        return self._uplink.retained_envelopes

    @property
    def oldest_at(self) -> float | None:
        return self._uplink.oldest_at

    def begin(self, now: float) -> None:
        """Opens an epoch higher than every one seen, and sends what has been collected."""
        self._uplink.begin(max(self._wall_milliseconds(), self._folded.epoch + 1))
        self.flush(now)
        if self._replay_asked:
            self._replay(now)

    def add(self, packet: Packet, codec: Codec, now: float) -> None:
        self._uplink.add(packet, codec, now)
        self._measure(now)
        due = self._uplink.due
        if due is None or not self._uplink.is_open:
            return
        if now >= due:
            self.flush(now)
        elif self._uplink.collected == 1:
            self._out.append(do.WakeAt(due))

    def flush(self, now: float) -> None:
        if self._uplink.is_open:
            self._publish(now, end=False)

    def end(self, now: float) -> None:
        """Sends what is left and closes the epoch."""
        if self._uplink.is_open:
            self._publish(now, end=True)

    def confirmed(self, packets: int, now: float) -> None:
        self._confirmed_at = now
        self._uplink.confirmed(packets)
        self._measure(now)

    def asked_for_replay(self) -> None:
        """A worker wants the open turn; `answer` sends it, unless its reply to an earlier replay comes first."""
        self._replay_asked = True

    def worker_goes_on(self) -> None:
        self._replay_asked = False

    def answer(self, now: float) -> None:
        if self._replay_asked and self._uplink.is_open:
            self._replay(now)

    def reject(self, current: int) -> None:
        """The worker knows of epoch `current`, which is not ours: everything of ours was refused."""
        if not self._uplink.is_open or current < self._uplink.epoch:
            return
        epoch = max(self._wall_milliseconds(), current + 1)
        self._out.extend(do.Publish(envelope, 0) for envelope in self._uplink.reopen(epoch, self._folded))

    def heard(self, now: float, *, answered: bool) -> None:
        self._probe.heard(now, answered=answered)

    def tick(self, now: float, *, probe: bool) -> None:
        """Sends the batch that is due; asks a quiet worker, if `probe`."""
        if self._uplink.due is not None and now >= self._uplink.due:
            self.flush(now)
        broker_answers = not self._uplink.unconfirmed or now - self._confirmed_at < self._limits.probe_seconds
        expected = self._folded.awaiting_response or self._uplink.retained > 0
        waiting = probe and self._uplink.is_open and broker_answers and expected
        match self._probe.check(now, waiting=waiting):
            case "replay":
                self._replay(now)
            case "nudge":
                self._out.append(do.Publish(self._uplink.nudge(self._folded), 0))
            case None:
                pass

    def progress(self, upto: Mark) -> None:
        self._uplink.progress(upto)

    def _publish(self, now: float, *, end: bool) -> None:
        envelopes = self._uplink.end(self._folded, now) if end else self._uplink.flush(self._folded, now)
        self._out.extend(do.Publish(envelope, fresh) for envelope, fresh in envelopes)
        if self._uplink.dropped:
            self._out.append(do.Dropped("retained_packets", self._uplink.dropped))
            self._uplink.dropped = 0

    def _replay(self, now: float) -> None:
        self._replay_asked = False
        self._folded.attempt += 1
        self._probe.replayed(now)
        self._out.append(do.Replayed())
        self._out.extend(do.Publish(envelope, 0) for envelope in self._uplink.replay(self._folded))

    def _measure(self, now: float) -> None:
        bound = self._limits.max_pending_packets
        if self.full_since is None and self._uplink.pending >= bound:
            self.full_since = now
        elif self.full_since is not None and self._uplink.pending <= bound // 2:
            self.full_since = None
