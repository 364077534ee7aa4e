"""Numbered frames survive what a worker does to audio, and the judge of the kills sees each kind of fault."""

from __future__ import annotations

import numpy as np
import pytest
import soxr

from litevoice_dev.kills import Outcome, nearest
from litevoice_dev.numbered_speech import BROKEN, NUMBERS, frame, numbers, read, written
from litevoice_dev.tally import tally
from litevoice_worker.audio import Samples, decode, encode


def spoken(frames: list[int]) -> Samples:
    return np.frombuffer(b"".join(map(frame, frames)), dtype="<i2").astype(np.int16)


def resampled(samples: Samples, rate: int, to: int) -> Samples:
    converted: Samples = soxr.resample(samples, rate, to)
    return converted


FRAMES = [*range(NUMBERS - 50, NUMBERS), *range(60), 7, 7, 5, 1023]


def test_frames_are_read_at_the_rate_of_a_recognizer() -> None:
    assert numbers(resampled(spoken(FRAMES), 24_000, 16_000), 16_000) == FRAMES


def test_frames_survive_g711() -> None:
    telephone = decode(encode(resampled(spoken(FRAMES), 24_000, 8_000), "g711_ulaw/8000"), "g711_ulaw/8000")
    assert numbers(resampled(telephone, 8_000, 16_000), 16_000) == FRAMES


def test_silence_is_left_out() -> None:
    samples = np.concatenate([spoken([1]), np.zeros(960, np.int16), spoken([2])])
    assert numbers(samples, 24_000) == [1, 2]


@pytest.mark.parametrize("shift", [30, 100, 240, 450])
def test_what_begins_in_the_middle_of_a_frame_is_broken(shift: int) -> None:
    found = numbers(spoken(list(range(400, 500)))[shift:], 24_000)
    assert BROKEN in found
    assert found != list(range(400, 500))


@pytest.mark.parametrize("found", [[], [0], [3, 4, 5, 9], FRAMES, [5, 4, 4, BROKEN, BROKEN, 0]])
def test_transcripts_are_read_as_written(found: list[int]) -> None:
    assert read(written(found)) == found


@pytest.mark.parametrize(
    ("number", "near", "expected"),
    [(5, 4, 5), (5, NUMBERS, NUMBERS + 5), (NUMBERS - 1, NUMBERS, NUMBERS - 1), (BROKEN, NUMBERS, BROKEN)],
)
def test_frames_count_on_where_their_numbers_begin_again(number: int, near: int, expected: int) -> None:
    assert nearest(number, near) == expected


@pytest.mark.parametrize(
    ("description", "heard", "cuts", "clean"),
    [
        ("all well", [0, 1, 2], 1, True),
        ("one lost", [0, 2], 1, False),
        ("one twice", [0, 1, 1, 2], 1, False),
        ("one late", [0, 2, 1], 1, False),
        ("no connection was cut", [0, 1, 2], 0, False),
    ],
)
def test_the_verdict(description: str, heard: list[int], cuts: int, clean: bool) -> None:
    outcome = Outcome(kills=1, cuts=cuts, heard=[tally("frames", range(3), heard)])
    assert outcome.clean == clean, description
    assert any(line.startswith("✘") for line in outcome.lines()) == bool(cuts and not clean), description


@pytest.mark.parametrize("heard", [[BROKEN, 0, 1, 2], [0, 1, BROKEN, 2], [0, 1, 2, BROKEN], [0, 1, 2, 3]])
def test_something_else_that_was_heard_is_never_clean(heard: list[int]) -> None:
    assert not Outcome(kills=1, cuts=1, heard=[tally("frames", range(3), heard)]).clean


def test_a_run_that_ended_early_is_never_clean() -> None:
    outcome = Outcome(kills=1, cuts=1, heard=[tally("frames", range(3), [0, 1, 2])], stopped="no transcript")
    assert not outcome.clean
    assert "✘ stopped: no transcript" in outcome.lines()
