"""What `make try` and `make demo` conclude from a call, and how they show it."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from openai.types.realtime import ResponseAudioDeltaEvent

from litevoice_dev.scenarios import slow_reader, takeover
from litevoice_dev.scenarios.playback import PICTURE_COLUMNS, Piece, picture, played, stall_seconds
from litevoice_dev.scenarios.printing import backlog_table, tally_table, verdict
from litevoice_dev.tally import Tally
from litevoice_dev.voice_client import Answer, Heard
from litevoice_operator.api.backlog_alert import Culprit


def audio(at: float, seconds: float) -> Heard:
    delta = base64.b64encode(bytes(int(seconds * 48_000))).decode()
    event = ResponseAudioDeltaEvent(
        type="response.output_audio.delta", event_id="e", item_id="i", response_id="r",
        output_index=0, content_index=0, delta=delta,
    )  # fmt: skip
    return Heard(at, event)


@pytest.mark.parametrize(
    ("description", "arrivals", "stalled"),
    [
        ("nothing was heard", [], 0.0),
        ("one piece", [(0.0, 1.0)], 0.0),
        ("each in time", [(0.0, 1.0), (0.5, 1.0), (1.9, 1.0)], 0.0),
        ("one comes half a second late", [(0.0, 1.0), (1.5, 1.0)], 0.5),
        ("what came early is played until the late one", [(0.0, 1.0), (0.1, 1.0), (2.5, 1.0)], 0.5),
        ("two are late", [(0.0, 1.0), (1.2, 1.0), (2.5, 1.0)], 0.5),
    ],
)
def test_how_long_a_listener_heard_nothing(
    description: str, arrivals: list[tuple[float, float]], stalled: float
) -> None:
    assert stall_seconds(played([audio(*arrival) for arrival in arrivals])) == pytest.approx(stalled), description


NAMES = {"before": "gateway-0", "after": "gw-1", "mark": "kill -9"}


def test_the_picture_shows_who_delivered_what_was_heard_when() -> None:
    pieces = [Piece(arrived=float(at), start=10.0 + at, end=11.0 + at) for at in range(30)]
    mark, before, after, axis = picture(pieces, disturbed_at=13.0, back_at=5.0, names=NAMES)
    assert mark == " " * 9 + "  " + " " * 6 + "▼ kill -9"
    assert before == "gateway-0  " + "█" * 10
    assert after == "gw-1       " + " " * 10 + "█" * 50
    assert [axis.index(f"{second} s") - 11 for second in (5, 10, 25)] == [10, 20, 50]


def test_silence_is_a_gap_in_the_picture() -> None:
    pieces = [Piece(0.0, 0.0, 20.0), Piece(40.0, 40.0, 60.0)]
    _, before, after, _ = picture(pieces, disturbed_at=15.0, back_at=40.0, names=NAMES)
    assert before.count("█") == after.count("█") == 20
    assert after.index("█") - len("gateway-0  ") == 40


def test_a_picture_of_nothing_is_none() -> None:
    assert picture([], 0.0, 0.0, NAMES) == []


def test_the_picture_keeps_its_width() -> None:
    pieces = [Piece(0.0, 0.0, 0.02), Piece(1.0, 0.02, 200.0)]
    for line in picture(pieces, disturbed_at=500.0, back_at=1.0, names=NAMES)[1:3]:
        assert len(line) <= len("gateway-0  ") + PICTURE_COLUMNS


PACKETS = Tally("audio packets", 100, 100)
EVENTS = Tally("events", 7, 6, lost=[3])


def test_the_table_names_what_is_counted() -> None:
    assert tally_table([PACKETS, EVENTS]) == [
        "                  sent  arrived  lost  doubled  reordered",
        "✔  audio packets   100      100     0        0          0",
        "✘  events            7        6     1        0          0",
    ]


def test_what_was_lost_in_flight_has_a_column_of_its_own_and_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    cut = Tally("audio packets", 100, 97, in_flight=[50, 51, 52])
    assert verdict([cut])
    said = capsys.readouterr().out
    assert "lost in flight" in said
    assert "3 audio packets (60 ms)" in said


@pytest.mark.parametrize(
    ("description", "tallies", "problems", "good"),
    [
        ("all well", [PACKETS], [], True),
        ("something lost", [PACKETS, EVENTS], [], False),
        ("something else is wrong", [PACKETS], ["the answer is absent"], False),
    ],
)
def test_verdicts(description: str, tallies: list[Tally], problems: list[str], good: bool) -> None:
    assert verdict(tallies, problems) == good, description


def test_the_backlog_table_has_nodes_where_there_are_nodes() -> None:
    local = Culprit(session="s_1", backlog=19, age_seconds=3, pod="gateway-1", client="127.0.0.1:5000")
    assert backlog_table([local]) == [
        "session  backlog  oldest  gateway    client",
        "s_1           19  3 s     gateway-1  127.0.0.1:5000",
    ]
    in_a_cluster = local.model_copy(update={"node": "worker2"})
    assert "node" in backlog_table([in_a_cluster])[0]
    assert "worker2" in backlog_table([in_a_cluster])[1]
    assert "(partition 2)" in backlog_table([Culprit(partition=2, backlog=1, age_seconds=0)])[1]


def call(**changes: Any) -> takeover.Outcome:
    answers = [
        Answer("tell me a story", "Once there was a boat.", "completed"),
        Answer("what did i ask first", "Your first question was: tell me a story.", "completed"),
    ]
    outcome = takeover.Outcome(takeover.SHORT, answers=answers, pod_before="gateway-0", pod_after="gateway-1")
    for name, value in changes.items():
        setattr(outcome, name, value)
    return outcome


@pytest.mark.parametrize(
    ("description", "outcome", "problems"),
    [
        ("all well", call(), []),
        ("nobody took over", call(pod_after="gateway-0"), ["still held by gateway-0"]),
        (
            "an answer was cut short, and the memory is gone",
            call(answers=[Answer("tell me a story", "Once", "incomplete"), Answer("what did i ask first", "?", "")]),
            ["answer 1 is incomplete", "answer 2 is absent", "does not know the first question"],
        ),
        (
            "a question was heard in part",
            call(answers=[Answer("tell me", "", "completed"), *call().answers[1:]]),
            ["question 1, “tell me a story”, was understood as “tell me”"],
        ),
    ],
)
def test_problems_of_a_call(description: str, outcome: takeover.Outcome, problems: list[str]) -> None:
    assert len(outcome.problems) == len(problems), description
    for found, expected in zip(outcome.problems, problems, strict=True):
        assert expected in found, description


@pytest.mark.parametrize(
    ("description", "listed", "status", "problems"),
    [
        ("listed with everything", {"session": "s", "pod": "p", "client": "c"}, "completed", 0),
        ("somebody else is listed", {"session": "t", "pod": "p", "client": "c"}, "completed", 1),
        ("nobody knows where it is", {"session": "s"}, "completed", 1),
        ("its answer never ended", {"session": "s", "pod": "p", "client": "c"}, "", 1),
    ],
)
def test_problems_of_a_slow_reader(description: str, listed: dict[str, str], status: str, problems: int) -> None:
    top = [Culprit.model_validate({"backlog": 5, "ageSeconds": 3, **listed})]
    outcome = slow_reader.Outcome(session_id="s", top=top, answer=Answer(status=status))
    assert len(outcome.problems) == problems, description
