"""What a run of the whole path says, from raw measurements."""

from __future__ import annotations

import dataclasses
import struct
from typing import Any

import pytest

from bench import plot
from bench.figures import Figure, missed
from bench.path import trimmed
from bench.path_figures import Window, figures, reply_bar, waits
from bench.proc import Sample

pytestmark = pytest.mark.unit

PARTS = ("gateway", "worker", "broker", "proxy", "name server", "load generator")
WINDOW = Window(
    began=Sample(100.0, dict.fromkeys(PARTS, 5.0), 1000.0),
    ended=Sample(110.0, dict.fromkeys(PARTS, 6.0), 1008.0),
    up_per_second=150,
    down_per_second=30,
    replays=0,
    dropped=0,
    memory={"gateway": 64 << 20, "worker": 128 << 20},
)


def answer(first: float | None, done: float | None, waited: float = 0.0) -> dict[str, Any]:
    return {"asked_at": 1.0, "first_ms": first, "done_ms": done, "waited_ms": waited or done}


def run(**changes: Any) -> dict[str, Any]:
    good = {
        "seconds": 10.0,
        "frames": 100_000,
        "typed": [answer(5.0, 20.0)] * 10,
        "spoken": [answer(200.0, 900.0)] * 3,
        "frames_late_ms": [1.0, 2.0, 5.0],
        "lost": [],
    }
    return good | changes


def named(found: list[Figure], name: str) -> Figure:
    return next(figure for figure in found if figure.name.startswith(name))


def test_a_good_run_misses_no_bar() -> None:
    found = figures(100, run(), WINDOW)
    assert missed(found) == []
    assert named(found, "gateway CPU per frame").value == 10.0
    assert named(found, "RocketMQ CPU").value == pytest.approx(0.3)
    assert named(found, "messages up").value == 150
    assert named(found, "CPU of other programs").value == pytest.approx(0.2)


def test_a_question_without_an_answer_counts_with_the_time_its_caller_waited() -> None:
    typed = [answer(5.0, 20.0), answer(9.0, None, 15_000.0)]
    assert waits(typed, "done_ms") == [20.0, 15_000.0]
    assert missed(figures(100, run(typed=typed), WINDOW)) == [
        "typed question → response.done, p99",
        "questions without an answer",
    ]


@pytest.mark.parametrize(
    ("load", "window", "name"),
    [
        pytest.param({"lost": ["closed with 1013"]}, {}, "connections lost", id="a connection was refused"),
        pytest.param({}, {"replays": 1}, "turns replayed", id="a turn was replayed"),
        pytest.param({}, {"dropped": 1}, "events dropped by the gateway", id="an event was dropped"),
        pytest.param({}, {"up_per_second": 161}, "messages up", id="a message per session again"),
        pytest.param({"frames_late_ms": [1.0, 25.0, 90.0]}, {}, "frames sent late, p99", id="the load was none"),
        pytest.param({"typed": []}, {}, "typed question → response.done, p99", id="nobody was answered at all"),
    ],
)
def test_what_misses_a_bar(load: dict[str, Any], window: dict[str, Any], name: str) -> None:
    assert missed(figures(100, run(**load), dataclasses.replace(WINDOW, **window))) == [name]


@pytest.mark.parametrize(
    ("microphones", "expected"),
    [
        (25, (300, 300)),
        (200, (300, 300)),
        (400, (1000, 300)),
        (500, (None, 300)),
        (800, (None, 1000)),
        (801, (None, None)),
    ],
)
def test_the_bar_depends_on_the_microphones(microphones: int, expected: tuple[float | None, float | None]) -> None:
    assert reply_bar(microphones) == expected


def test_speech_is_judged_up_to_a_hundred_microphones() -> None:
    late = run(spoken=[answer(500.0, 900.0)])
    assert missed(figures(100, late, WINDOW)) == ["mouth to echo, p50", "mouth to echo, p99"]
    assert missed(figures(101, late, WINDOW)) == []


def test_a_word_ends_with_its_last_sound() -> None:
    samples = [0, 10, 5000, -20, -4000, 30, 0]
    assert struct.unpack("<3h", trimmed(struct.pack("<7h", *samples))) == (5000, -20, -4000)
    with pytest.raises(ValueError, match="nothing in it is louder"):
        trimmed(struct.pack("<3h", 0, 1, 2))


def test_the_plot_shows_every_answer() -> None:
    data = {
        "options": {"sessions": 25, "seconds": 2},
        "machine": {"cores": 2},
        "measured": "2026-11-28T15:00:00+00:00",
        "figures": [{"name": "typed question → response.done, p99", "bar": 300}],
        "load": {"typed": [[0.5, 5.0, 20.0, 20.0], [1.0, None, None, 4000.0]], "spoken": [[2.0, 200.0, 900.0, 900.0]]},
        "cpu": [[0.0, {"gateway": 1.0}], [1.0, {"gateway": 1.5}], [2.0, {"gateway": 1.6}]],
    }
    svg = plot.path(data)
    assert svg.count("<circle") == 3
    assert "25 open microphones" in svg
    assert "bar of typed p99, 300" in svg
