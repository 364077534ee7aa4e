"""What is heard depends on the packets alone: neither on portions nor on where a worker began to listen."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from litevoice_contracts.conversation import CODEC_BYTES_PER_SECOND, QUIETEST_FLOOR, Codec, TurnDetection
from litevoice_contracts.packets import Audio, Silence, audio_of, described
from litevoice_worker.audio import SAMPLE_BYTES, SAMPLE_RATES, Samples, decode, encode
from litevoice_worker.endpointing import WINDOW_SAMPLES
from litevoice_worker.gate import HANGOVER_WINDOWS, PRE_ROLL_WINDOWS, Gate, energies
from litevoice_worker.hearing import Listener, Started
from litevoice_worker.opening import Stream
from litevoice_worker.order import Numbered
from tests.ear import Ear, after, numbered, sliced

PCM: Codec = "pcm16/24000"
CODECS: list[Codec] = ["pcm16/24000", "g711_ulaw/8000", "g711_alaw/8000"]


def remembering(stream: Stream, windows: Samples) -> list[float]:
    """A network whose result depends on all that the stream has heard: a window missed, or one too many, shows."""
    memory: Any = stream.memory or 0.0
    result = []
    for window in windows:
        memory = 0.5 * memory + min(1.0, float(np.abs(window).mean()) / 400)
        result.append(min(1.0, memory))
    stream.memory = memory
    return result


def sound(script: list[tuple[str, int]], codec: Codec = PCM, seed: int = 1) -> bytes:
    """(what, milliseconds) …"""
    generator, rate, pieces = np.random.default_rng(seed), SAMPLE_RATES[codec], []
    for what, milliseconds in script:
        count = rate * milliseconds // 1000
        match what:
            case "silence":
                piece = np.zeros(count)
            case "noise":
                piece = generator.normal(0, 58, count)
            case "speech":
                piece = 6000 * np.sin(2 * np.pi * 300 * np.arange(count) / rate) + generator.normal(0, 300, count)
            case _:
                piece = np.where(np.arange(count) == count // 2, 20_000.0, 0.0)
        pieces.append(piece.astype(np.int16))
    return encode(np.concatenate(pieces), codec)


PACKET_SIZES = st.lists(st.integers(101, 3000), min_size=1, max_size=5)
SCRIPTS = st.lists(
    st.tuples(st.sampled_from(["silence", "noise", "speech", "speech", "click"]), st.integers(20, 3000)),
    min_size=1,
    max_size=6,
)


def pieces(stream: bytes, sizes: list[int]) -> list[bytes]:
    """The stream in pieces of these sizes, over and over."""
    result, at, number = [], 0, 0
    while at < len(stream):
        size = sizes[number % len(sizes)]
        result.append(stream[at : at + size])
        at, number = at + size, number + 1
    return result


def told(ear: Ear, since: int = 0) -> list[tuple[object, ...]]:
    return [
        ("started", event.audio_ms)
        if isinstance(event, Started)
        else ("utterance", event.audio_ms, event.samples.tobytes())
        for event in ear.found[since:]
    ]


@settings(max_examples=60, deadline=None)
@given(
    SCRIPTS,
    st.sampled_from(CODECS),
    st.lists(st.integers(101, 9000), min_size=1, max_size=5),
    st.sampled_from([1, 2, 60]),
    st.data(),
)
def test_neither_portions_nor_the_place_of_beginning_nor_a_description_change_anything(
    script: list[tuple[str, int]], codec: Codec, sizes: list[int], part_seconds: int, data: st.DataObject
) -> None:
    packets = numbered(pieces(sound([*script, ("silence", 1500)], codec), sizes), codec)
    whole = Ear(remembering, max_seconds=part_seconds)
    whole.hear(packets)
    one_by_one = Ear(remembering, max_seconds=part_seconds)
    for packet in packets:
        one_by_one.hear([packet])
    assert told(one_by_one) == told(whole)
    assert one_by_one.boundaries == whole.boundaries
    silence_described = Ear(remembering, max_seconds=part_seconds)
    silence_described.hear(
        [Numbered.of(packet.epoch, packet.seq, described(packet.packet, codec), codec) for packet in packets]
    )
    assert told(silence_described) == told(whole)
    assert silence_described.boundaries == whole.boundaries
    for count, boundary in whole.boundaries:
        successor = Ear(remembering, max_seconds=part_seconds, begin=boundary)
        rest = after(boundary, packets)
        cut = data.draw(st.integers(0, len(rest)))
        successor.hear(rest[:cut])
        successor.hear(rest[cut:])
        assert told(successor) == told(whole, count)


@settings(max_examples=30, deadline=None)
@given(SCRIPTS, PACKET_SIZES, PACKET_SIZES)
def test_how_a_stream_is_cut_into_packets_does_not_move_an_utterance(
    script: list[tuple[str, int]], some: list[int], others: list[int]
) -> None:
    """Nor change a sample; as long as silence is short, since a boundary in silence is at a packet's edge."""
    stream = sound([(what, min(milliseconds, 300)) for what, milliseconds in script] + [("silence", 600)])
    results = []
    for sizes in (some, others):
        ear = Ear(remembering)
        ear.hear(numbered(pieces(stream, [size * 2 for size in sizes])))
        assert len(ear.boundaries) == len(ear.utterances)
        results.append(told(ear))
    assert results[0] == results[1]


def test_silence_and_steady_noise_cost_no_network() -> None:
    ear = Ear(remembering)
    ear.hear(sliced(sound([("silence", 5000)])))
    assert ear.listened == 0
    assert ear.listener.gated > 0
    ear.hear(sliced(sound([("noise", 12_000)])))
    heard = ear.listened
    ear.hear(sliced(sound([("noise", 20_000)], seed=2)))
    assert ear.listened == heard, "the floor has risen to the noise"
    ear.hear(sliced(sound([("speech", 800), ("noise", 1000)], seed=3)))
    assert len(ear.utterances) == 1


def test_a_whisper_over_silence_is_heard() -> None:
    quiet = np.frombuffer(sound([("speech", 500)]), "<i2") // 1000
    ear = Ear(lambda _, windows: [0.0] * len(windows))
    ear.hear(sliced(sound([("silence", 3000)]) + quiet.astype("<i2").tobytes()))
    assert ear.listened >= 500 // 32


def test_the_network_hears_what_came_before_the_gate_opened() -> None:
    portions: list[Samples] = []

    def note(_: Stream, windows: Samples) -> list[float]:
        portions.append(windows)
        return [0.0] * len(windows)

    ear = Ear(note)
    ear.hear(sliced(sound([("silence", 800), ("click", 10), ("silence", 1500)])))
    heard = np.concatenate(portions)
    assert len(heard) == PRE_ROLL_WINDOWS + 1 + HANGOVER_WINDOWS
    loud = [index for index, window in enumerate(heard) if np.abs(window).max() > 1000]
    assert loud == [PRE_ROLL_WINDOWS]


def test_an_open_utterance_is_heard_however_quiet_it_gets() -> None:
    ear = Ear(lambda _, windows: [1.0] * len(windows))
    ear.hear(sliced(sound([("silence", 500), ("click", 32), ("silence", 5000)])))
    assert len(ear.found) == 1
    assert ear.listener.open
    assert ear.listened >= 5000 // 32


def test_the_floor_does_not_rise_while_somebody_speaks() -> None:
    gate = Gate(100.0)
    for _ in range(1000):
        gate.adapt(1e6, speech=True)
    assert gate.floor == 100.0
    for _ in range(1000):
        gate.adapt(0.0, speech=True)
    assert gate.floor == QUIETEST_FLOOR


@pytest.mark.parametrize("codec", CODECS)
def test_the_energy_of_a_tone_counts_and_rumble_does_not(codec: Codec) -> None:
    rate = SAMPLE_RATES[codec]
    samples = rate * 32 // 1000

    def energy(hertz: float) -> float:
        wave = 8000 * np.sin(2 * np.pi * hertz * np.arange(10 * samples) / rate)
        return sum(energies(wave.astype(np.int16).reshape(10, samples))) / 10

    assert energy(50) < energy(500) / 50
    silence = decode(audio_of(Silence(3 * samples * SAMPLE_BYTES[codec]), codec), codec)
    assert energies(silence.reshape(3, samples)) == [0.0, 0.0, 0.0], "what a listener takes for granted"


def test_another_codec_ends_an_utterance() -> None:
    ear = Ear(remembering)
    ear.hear(sliced(sound([("silence", 500), ("speech", 600)])))
    assert ear.listener.open
    telephone = sliced(sound([("speech", 600), ("silence", 1000)], "g711_ulaw/8000"), codec="g711_ulaw/8000")
    ear.hear([Numbered.of(1, 100 + packet.seq, packet.packet, packet.codec) for packet in telephone])
    assert len(ear.utterances) == 2
    assert ear.utterances[0].audio_ms == 1100
    assert ear.utterances[1].audio_ms == pytest.approx(1100 + 600 + 512, abs=100)


@pytest.mark.parametrize("codec", CODECS)
def test_without_turn_detection_nothing_is_cut_but_at_the_bound(codec: Codec) -> None:
    stream = sound([("speech", 2500)], codec)
    ends = []
    for milliseconds in (20, 700, 2500):
        ear = Ear(remembering, detection=None, max_seconds=1)
        ear.hear(sliced(stream, milliseconds, codec))
        assert [utterance.audio_ms for utterance in ear.utterances] == [1000, 2000]
        assert [boundary.continues for _, boundary in ear.boundaries] == [True, True]
        assert ear.listened == 0
        committed = ear.listener.commit()
        assert committed is not None
        ends.append([utterance.samples.tobytes() for utterance in (*ear.utterances, committed)])
    assert ends[0] == ends[1] == ends[2]


def test_a_listener_at_rest_holds_no_audio() -> None:
    listener = Listener(60)
    listener.restart(TurnDetection(), 0, QUIETEST_FLOOR)
    assert listener.empty
    assert listener.commit() is None
    listener.hear([Numbered.of(1, 0, Audio(b"x"), PCM)])
    assert listener.empty, "half a sample is none"
    assert CODEC_BYTES_PER_SECOND[PCM] // 1000 * 32 == 3 * WINDOW_SAMPLES
