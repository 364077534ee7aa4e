"""Turns packets of audio into utterances. The result depends on nothing but the packets since the last restart and the
noise floor there, so a worker that begins there decides the same, to the sample, in whatever portions the packets come.

The gate hears everything, the network only what the gate lets through, and somewhere else: `hear` and `heard` say what
it has to hear next. Window and sample positions are counted from where the codec's stream began.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from litevoice_contracts.conversation import QUIETEST_FLOOR, Codec, Mark, TurnDetection
from litevoice_contracts.packets import silent
from litevoice_worker.audio import (
    SAMPLE_BYTES,
    SAMPLE_RATES,
    UNITS_PER_BYTE,
    UNITS_PER_MILLISECOND,
    Samples,
    decode,
)
from litevoice_worker.endpointing import SAMPLE_RATE, START_WINDOWS, WINDOW_MILLISECONDS, WINDOW_SAMPLES, Endpointer
from litevoice_worker.gate import HANGOVER_WINDOWS, PRE_ROLL_WINDOWS, Gate, energies
from litevoice_worker.opening import NO_SAMPLES, Opening, Stream
from litevoice_worker.order import Numbered, joined

MIN_COMMIT_MILLISECONDS = 100
"""A shorter buffer counts as empty when the client commits it."""
QUIET_MILLISECONDS = 2000
"""How much silence beyond what is kept makes older packets unnecessary."""
STEP_MILLISECONDS = 1000
"""How much audio is heard at once."""
_PADDING_WINDOWS = 2 * START_WINDOWS  # on top of the padding: what has just begun to look like speech


@dataclass(frozen=True, slots=True)
class Started:
    """Speech began; `audio_ms` includes the padding before it."""

    audio_ms: int


@dataclass(frozen=True, slots=True)
class Utterance:
    """Samples at 16 kHz, and when it ends in the session's audio."""

    samples: Samples
    audio_ms: int

    @property
    def seconds(self) -> float:
        return len(self.samples) / SAMPLE_RATE


@dataclass(frozen=True, slots=True)
class Ended:
    """An utterance ended, or so much of it is there that it is recognized in parts.

    Attributes:
        mark: the packet that it ends in.
        consumed: how many of that packet's bytes are up to its end; None: all.
        rest: what comes after its end, to be heard after a restart.
        more: the utterance goes on; the restart is to continue it.
    """

    utterance: Utterance
    mark: Mark
    consumed: int | None
    rest: list[Numbered]
    more: bool = False


@dataclass(frozen=True, slots=True)
class Portion:
    """Windows for the network, (n, 512) samples at 16 kHz; `Listener.heard` gets their probabilities of speech."""

    stream: Stream
    windows: Samples


@dataclass(frozen=True, slots=True)
class Quiet:
    """The last packet that is no longer needed, the time of its end, and the packets after it, to be heard afresh."""

    mark: Mark
    audio_ms: int
    rest: list[Numbered]


Found = Started | Ended


class Listener:
    """One session's ear. With turn detection off, all audio belongs to the utterance until it is committed.

    Attributes:
        gated: windows that the network did not have to hear, since somebody last looked.
        started_ms: where the utterance began that was detected last; None since the restart.
    """

    __slots__ = (
        "_base_ms",
        "_bytes",
        "_codec",
        "_continues",
        "_detection",
        "_earlier",
        "_endpointer",
        "_energies",
        "_gate",
        "_kept_units",
        "_max_seconds",
        "_opening",
        "_packets",
        "_packets_at",
        "_partial",
        "_quiet_units",
        "_stream_units",
        "_units",
        "_windows",
        "gated",
        "started_ms",
    )

    def __init__(self, max_utterance_seconds: int) -> None:
        """An utterance that is longer comes in parts of this length."""
        self._max_seconds = max_utterance_seconds
        self._gate = Gate(QUIETEST_FLOOR)
        self._detection: TurnDetection | None = None
        self._kept_units = self._quiet_units = 0
        self._opening: Opening | None = None
        self.gated = 0
        self.restart(None, 0, QUIETEST_FLOOR)

    def restart(
        self, detection: TurnDetection | None, audio_ms: int, noise_floor: float, *, continues: bool = False
    ) -> None:
        """Forgets all audio; the next to arrive begins at `audio_ms`, in an open utterance if that `continues`."""
        self._continues = continues
        if detection != self._detection:
            self._detection = detection
            self._kept_units = _kept_units(detection)
            self._quiet_units = QUIET_MILLISECONDS * UNITS_PER_MILLISECOND + self._kept_units
        self._gate.floor = noise_floor
        self._base_ms = audio_ms
        self._units = 0
        self.started_ms: int | None = None
        self._earlier: list[Numbered] = []  # packets of former streams
        self._packets: list[Numbered] = []  # packets of the stream, the first of which ...
        self._begin_stream(None)

    def _begin_stream(self, codec: Codec | None) -> None:
        self._codec = codec
        self._stream_units = self._units
        self._earlier += self._packets
        self._packets = []
        self._packets_at = 0  # ... begins here, in bytes
        self._bytes = 0
        self._partial = b""  # what does not fill a window yet
        self._windows = 0  # decided
        self._energies: list[float | None] = []  # of the next windows; None: the gate has had it
        self._close()

    @property
    def audio_ms(self) -> int:
        """Audio since the session began."""
        return self._base_ms + self._units // UNITS_PER_MILLISECOND

    @property
    def noise_floor(self) -> float:
        return self._gate.floor

    @property
    def empty(self) -> bool:
        """No audio has been heard since the restart."""
        return not self._units

    @property
    def open(self) -> bool:
        """An utterance is open: its audio must not be forgotten."""
        return self._continues or (self._endpointer.speaking if self._endpointer else bool(self._units))

    @property
    def voiced_milliseconds(self) -> int:
        """How much of the detected utterance was speech, so far."""
        return self._endpointer.voiced * WINDOW_MILLISECONDS if self._endpointer else 0

    @property
    def hushed(self) -> bool:
        """An utterance goes on of somebody who, it seemed, had not finished, and who has said nothing since."""
        waits = self._continues and self._detection is not None and bool(self._detection.eagerness)
        return waits and not self.voiced_milliseconds

    @property
    def undecided(self) -> bool:
        """What was heard last may have begun an utterance."""
        if self._opening is not None or not self._partial:
            return self._opening is not None
        assert self._codec is not None
        last = joined(self._packets)[-self._window_bytes :]
        if len(last) < self._window_bytes:
            return not silent(last, self._codec)
        return self._gate.loud(energies(decode(last, self._codec).reshape(1, -1))[0])

    @property
    def appetite(self) -> int:
        """How much audio to hear next, in units (see audio.py): up to where `quiet` may have something to say."""
        most = STEP_MILLISECONDS * UNITS_PER_MILLISECOND
        return most if self._detection is None or self.open else min(most, max(0, self._quiet_units - self._units))

    def hear(self, packets: Sequence[Numbered]) -> tuple[list[Found], Portion | None]:
        """The next packets, all of one codec: what is found there, and what the network has to hear first.

        While a portion is with the network, nothing else may be heard. After Ended comes a restart.
        """
        if self._detection is None:
            return self._dictate(packets), None
        codec = packets[0].codec
        if codec != self._codec:
            if self._endpointer and self._endpointer.speaking:
                return [self._ended(self._bytes, packets)], None
            self._begin_stream(codec)
            if self._continues:
                self._continue(codec)
        audio = joined(packets)
        self._bytes += len(audio)
        self._units += len(audio) * UNITS_PER_BYTE[codec]
        self._packets += packets
        self._measure(codec, audio)
        if self._opening is not None:
            self._opening.feed(audio)
        return [], self._next_portion()

    def heard(self, probabilities: Sequence[float]) -> tuple[list[Found], Portion | None]:
        """What the network says of the last portion."""
        found: list[Found] = []
        assert self._detection is not None
        assert self._endpointer is not None
        for probability in probabilities:
            assert self._opening is not None
            change = self._endpointer.feed(probability)
            self._windows += 1
            energy = self._energies.pop(0)
            if energy is not None:
                self._opening.quiet = 0 if self._gate.loud(energy) else self._opening.quiet + 1
                self._gate.adapt(energy, speech=self._endpointer.speaking)
            if change == "started":
                found.append(self._started(self._detection, self._opening))
            samples = self._windows * WINDOW_SAMPLES - self._opening.start
            full = self._endpointer.speaking and samples >= self._max_seconds * SAMPLE_RATE
            if change == "stopped" or full:
                found.append(self._ended(self._windows * self._window_bytes, (), more=full))
                return found, None
            if self._opening.quiet >= HANGOVER_WINDOWS and not self._endpointer.speaking:
                self._close()
                break
        if self._endpointer.speaking:
            self._drop_decided()
        return found, self._next_portion()

    def commit(self) -> Utterance | None:
        """The open utterance, or the rest of it, as it is now; None if there is (next to) none."""
        if self._continues and self._opening is None:
            return Utterance(NO_SAMPLES, self.audio_ms)
        if not self.open or self._opening is None:
            return None
        if (
            self._detection is None
            and not self._continues
            and self._units < MIN_COMMIT_MILLISECONDS * UNITS_PER_MILLISECOND
        ):
            return None
        samples = self._opening.utterance(None)
        return Utterance(samples, self.audio_ms)

    def quiet(self) -> Quiet | None:
        """What follows from much silence; None as long as there is not so much."""
        if self._detection is None or self.open or self._units < self._quiet_units:
            return None
        packets = self._earlier + self._packets
        kept, index = 0, len(packets)
        while index > 0 and kept < self._kept_units:
            index -= 1
            kept += packets[index].units
        if index == 0:
            return None
        audio_ms = self._base_ms + (self._units - kept) // UNITS_PER_MILLISECOND
        return Quiet(packets[index - 1].mark, audio_ms, packets[index:])

    # Without turn detection

    def _dictate(self, packets: Sequence[Numbered]) -> list[Found]:
        self._opening = self._opening or Opening(packets[0].codec, 0)
        codec, pieces, ended = packets[0].codec, list[bytes](), None
        room = (self._max_seconds * 1000 * UNITS_PER_MILLISECOND - self._units) // UNITS_PER_BYTE[codec]
        room -= room % SAMPLE_BYTES[codec]
        for index, packet in enumerate(packets):
            audio = packet.audio
            pieces.append(audio[:room])
            room -= len(pieces[-1])
            if not room:
                ended = index
                break
        heard = b"".join(pieces)
        self._units += len(heard) * UNITS_PER_BYTE[codec]
        self._opening.convert(heard, codec)
        if ended is None:
            return []
        packet, rest, consumed = packets[ended], list(packets[ended + 1 :]), None
        if len(pieces[-1]) < packet.length:
            consumed = packet.offset + len(pieces[-1])
            rest.insert(0, packet.after(consumed))
        utterance = Utterance(self._opening.utterance(None), self.audio_ms)
        return [Ended(utterance, packet.mark, consumed, rest, more=True)]

    # With it

    def _measure(self, codec: Codec, audio: bytes) -> None:
        data = self._partial + audio if self._partial else audio
        size = self._window_bytes
        count = len(data) // size
        self._partial = data[count * size :]
        if not count:
            return
        whole = data[: count * size]
        if silent(whole, codec):
            self._energies += [0.0] * count
        else:
            self._energies += energies(decode(whole, codec).reshape(count, -1))

    def _next_portion(self) -> Portion | None:
        if self._opening is None:
            self._wait_for_loud()
            if self._opening is None:
                return None
        assert self._endpointer is not None
        count = min(len(self._energies), self._opening.ready)
        if not self._endpointer.speaking:
            count = min(count, HANGOVER_WINDOWS - self._opening.quiet)  # afterwards the gate may be closed
        return Portion(self._opening.stream, self._opening.take(count)) if count else None

    def _wait_for_loud(self) -> None:
        gate = self._gate
        count = 0
        for energy in self._energies:
            assert energy is not None
            if gate.loud(energy):
                break
            gate.adapt(energy, speech=False)
            count += 1
        self.gated += count
        self._windows += count
        del self._energies[:count]
        if self._energies:
            self._open()

    def _open(self) -> None:
        """The gate opens at the next window; the network begins some windows before it."""
        assert self._codec is not None
        assert self._detection is not None
        again = min(self._windows, PRE_ROLL_WINDOWS)
        self._windows -= again
        self._energies[:0] = [None] * again
        first = max(0, self._windows - -(-self._detection.prefix_padding_ms // WINDOW_MILLISECONDS))
        self._opening = Opening(self._codec, first * WINDOW_SAMPLES)
        wanted, pieces = self._bytes - first * self._window_bytes, list[bytes]()
        for packet in reversed(self._packets):
            if wanted <= 0:
                break
            pieces.append(packet.audio[-wanted:])
            wanted -= len(pieces[-1])
        self._opening.feed(b"".join(reversed(pieces)))
        self._opening.take(self._windows - first)

    def _continue(self, codec: Codec) -> None:
        """The next window is in an utterance that is open."""
        assert self._endpointer is not None
        assert self._detection is not None
        self._opening = Opening(codec, 0)
        self._endpointer.go_on(self._detection.patience_ms)

    def _close(self) -> None:
        self._opening = None
        self._endpointer = Endpointer(self._detection) if self._detection else None

    def _started(self, detection: TurnDetection, opening: Opening) -> Started:
        self._earlier = []
        padding = detection.prefix_padding_ms * SAMPLE_RATE // 1000
        opening.start = max(opening.first, (self._windows - START_WINDOWS) * WINDOW_SAMPLES - padding)
        self.started_ms = self._time(opening.start)
        return Started(self.started_ms)

    def _ended(self, end: int, after: Sequence[Numbered], *, more: bool = False) -> Ended:
        """The open utterance up to byte `end` of the stream; `after`: packets that are not in the stream."""
        assert self._codec is not None
        assert self._opening is not None
        sample = end // SAMPLE_BYTES[self._codec] * SAMPLE_RATE // SAMPLE_RATES[self._codec]
        utterance = Utterance(self._opening.utterance(None if after else sample), self._time(sample))
        begin = self._packets_at
        for index, packet in enumerate(self._packets):
            rest = [*self._packets[index + 1 :], *after]
            inside = end - begin
            if inside < packet.length:
                consumed = packet.offset + inside
                return Ended(utterance, packet.mark, consumed, [packet.after(consumed), *rest], more)
            if inside == packet.length:
                return Ended(utterance, packet.mark, None, rest, more)
            begin += packet.length
        raise AssertionError("an utterance ends in one of its packets")

    def _drop_decided(self) -> None:
        """Packets that an open utterance cannot end in any more."""
        done, count = self._windows * self._window_bytes, 0
        while count < len(self._packets) - 1 and self._packets_at + self._packets[count].length <= done:
            self._packets_at += self._packets[count].length
            count += 1
        del self._packets[:count]

    # Sizes

    @property
    def _window_bytes(self) -> int:
        assert self._codec is not None
        return SAMPLE_RATES[self._codec] * WINDOW_MILLISECONDS // 1000 * SAMPLE_BYTES[self._codec]

    def _time(self, sample: int) -> int:
        return self._base_ms + self._stream_units // UNITS_PER_MILLISECOND + sample * 1000 // SAMPLE_RATE


def _kept_units(detection: TurnDetection | None) -> int:
    """How much silence an utterance that begins after it may reach back into."""
    if detection is None:
        return 0
    padding = detection.prefix_padding_ms + _PADDING_WINDOWS * WINDOW_MILLISECONDS
    return max(padding, PRE_ROLL_WINDOWS * WINDOW_MILLISECONDS) * UNITS_PER_MILLISECOND
