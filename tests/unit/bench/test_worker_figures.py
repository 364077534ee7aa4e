"""What is fed to a worker that is measured alone, and what is judged."""

from __future__ import annotations

import numpy as np
import pytest

from bench.figures import missed
from bench.worker import FRAME_BYTES, Results, beats, figures, floor_of, frames, room
from litevoice_contracts.conversation import QUIETEST_FLOOR
from litevoice_contracts.packets import Audio

pytestmark = pytest.mark.unit


def test_the_room_is_as_loud_as_it_says_and_the_same_every_time() -> None:
    samples = np.frombuffer(room(24_000), "<i2").astype(float)
    assert 20 * np.log10(np.sqrt(np.mean(samples**2)) / 32768) == pytest.approx(-55, abs=0.1)
    assert room(480) == room(480)


def test_audio_goes_on_where_the_last_beat_ended_and_begins_again_at_its_end() -> None:
    loop = frames(bytes(FRAME_BYTES) + b"\1" * FRAME_BYTES + b"\2" * FRAME_BYTES + b"cut")
    assert len(loop) == 3
    stream = beats(loop, 1)
    sent = [packet for _ in range(2) for packet in next(stream)]
    heard = [packet.data[0] if isinstance(packet, Audio) else 0 for packet in sent]
    assert heard == [1, 2, 0, 1, 2, 0, 1, 2, 0, 1]


def test_the_median_round_is_judged_for_cost_and_the_worst_for_messages() -> None:
    results = {
        "silence": Results([4.0, 40.0, 5.0], [0.0, 0.0, 0.5]),
        "room": Results([11.0, 12.0, 13.0], [0.0] * 3),
        "speech": Results([61.0] * 3, [4.0] * 3),
    }
    found = figures(results, 3.0)
    assert [figure.verdict for figure in found] == ["goal", "ok", "missed", "missed", "ok", "ok", "ok"]
    assert missed(found) == ["worker CPU per frame: speech", "messages down: silence"]


def test_a_microphone_that_is_switched_off_has_the_quietest_floor() -> None:
    assert floor_of(frames(bytes(10 * FRAME_BYTES))) == QUIETEST_FLOOR < floor_of(frames(room(24_000)))
