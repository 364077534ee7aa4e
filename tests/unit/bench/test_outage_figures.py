"""What an outage's measurement says."""

from __future__ import annotations

from bench.figures import missed
from bench.outage import Caller, Outcome, Readiness, figures


def test_an_answer_from_before_the_return_does_not_count() -> None:
    caller = Caller(0, "", "", answers=[(9.0, 1.0), (12.5, 4.0), (14.0, 1.0)])
    assert caller.after(10.0) == 2.5
    assert caller.after(14.0) is None


def test_unready_until_the_last_time_that_any_became_ready() -> None:
    seen = [(8.0, "gateway-0", "away"), (11.0, "gateway-0", ""), (12.0, "gateway-0", "away"), (13.5, "gateway-0", "")]
    readiness = Readiness([*seen, (17.0, "worker-0", "")])
    assert readiness.unready_after(10.0, "gateway") == 3.5
    assert readiness.unready_after(10.0, "worker") == 7.0


def test_a_session_without_an_answer_misses_the_bars() -> None:
    good = Outcome(first=[1.0, 2.0, 3.0])
    assert missed(figures(3, good)) == []
    assert missed(figures(3, Outcome(first=[1.0, 2.0, None]))) == [
        "return → first answer, p50",
        "return → first answer, p99",
        "sessions without an answer",
    ]


def test_a_question_that_reached_the_model_twice_misses_its_bar() -> None:
    assert missed(figures(1, Outcome(first=[1.0], twice=["question 1 of caller 0"]))) == [
        "questions that reached the model twice"
    ]
