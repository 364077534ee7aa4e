"""Hears a stream of packets as a session does with its listener, so that tests can compare what is found."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from litevoice_contracts.conversation import CODEC_BYTES_PER_SECOND, QUIETEST_FLOOR, Codec, Mark, TurnDetection
from litevoice_contracts.packets import Audio
from litevoice_worker.audio import Samples
from litevoice_worker.hearing import Ended, Listener, Started, Utterance
from litevoice_worker.opening import Stream
from litevoice_worker.order import Backlog, Numbered

Hear = Callable[[Stream, Samples], Sequence[float]]


@dataclass(frozen=True)
class Boundary:
    """Where another worker could begin: after packet `mark`, of which (or of the next) `offset` bytes are done with."""

    mark: Mark
    offset: int
    audio_ms: int
    noise_floor: float
    continues: bool = False


@dataclass
class Ear:
    """One session without anything but its hearing.

    Attributes:
        found: what was found, in order. boundaries: with the number of findings before each.
    """

    network: Hear
    detection: TurnDetection | None = field(default_factory=TurnDetection)
    max_seconds: int = 60
    begin: Boundary | None = None
    found: list[Started | Utterance] = field(default_factory=list)
    boundaries: list[tuple[int, Boundary]] = field(default_factory=list)
    listened: int = 0

    def __post_init__(self) -> None:
        begin = self.begin or Boundary(Mark(1, -1), 0, 0, QUIETEST_FLOOR)
        self.listener = Listener(self.max_seconds)
        self.listener.restart(self.detection, begin.audio_ms, begin.noise_floor, continues=begin.continues)
        self._backlog = Backlog()

    def hear(self, packets: Iterable[Numbered]) -> None:
        """The next packets, which arrive together."""
        self._backlog.add(list(packets))
        while self._backlog:
            found, portion = self.listener.hear(self._backlog.take_audio(self.listener.appetite))
            while not self._ended(found) and portion is not None:
                self.listened += len(portion.windows)
                found, portion = self.listener.heard(self.network(portion.stream, portion.windows))
            self._forget_silence()

    def _ended(self, found: Sequence[Started | Ended]) -> bool:
        for event in found:
            match event:
                case Started():
                    self.found.append(event)
                case Ended(utterance, mark, consumed, rest, more):
                    self.found.append(utterance)
                    offset = consumed or 0
                    at = Boundary(mark, offset, utterance.audio_ms, self.listener.noise_floor, more)
                    self._restart(at, rest)
                    return True
        return False

    def _forget_silence(self) -> None:
        quiet = self.listener.quiet()
        if quiet is not None:
            self._restart(Boundary(quiet.mark, 0, quiet.audio_ms, self.listener.noise_floor), quiet.rest)

    def _restart(self, boundary: Boundary, rest: list[Numbered]) -> None:
        self.boundaries.append((len(self.found), boundary))
        continues = boundary.continues
        self.listener.restart(self.detection, boundary.audio_ms, boundary.noise_floor, continues=continues)
        self._backlog.put_back(rest)

    @property
    def utterances(self) -> list[Utterance]:
        return [event for event in self.found if isinstance(event, Utterance)]


def numbered(pieces: Iterable[bytes], codec: Codec = "pcm16/24000") -> list[Numbered]:
    """Packets 0, 1, 2 … of epoch 1."""
    return [Numbered.of(1, seq, Audio(piece), codec) for seq, piece in enumerate(pieces)]


def after(boundary: Boundary, packets: Iterable[Numbered]) -> list[Numbered]:
    """What a worker that begins there gets."""
    if not boundary.offset:
        return [packet for packet in packets if packet.mark > boundary.mark]
    cut = [packet for packet in packets if packet.mark >= boundary.mark]
    return [cut[0].after(boundary.offset), *cut[1:]]


def sliced(stream: bytes, milliseconds: int = 20, codec: Codec = "pcm16/24000") -> list[Numbered]:
    size = CODEC_BYTES_PER_SECOND[codec] * milliseconds // 1000
    return numbered((stream[start : start + size] for start in range(0, len(stream), size)), codec)
