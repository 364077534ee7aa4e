"""What a run with too much load says, and that a caller notices what must not happen."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from bench import report
from bench.crowd import Caller, Crowd
from bench.figures import missed
from bench.overload import Outcome, Plan, figures, measurements

pytestmark = pytest.mark.unit

PLAN = Plan()
GOOD = Outcome(
    cores=0.3,
    inside=18,
    refused=Counter({"worker_cpu": 500}),
    full=Counter({"": 3, "worker_cpu": 57}),
    metric_full=1.0,
    before_refusal=[0.1, 0.2],
    overloaded=[0.4, 0.9],
    relieved=[0.1, 0.1],
    recovered_after=2.1,
    asked=900,
    answered=900,
    turns=900,
    grown={"gateway-0": 3 << 20, "worker-0": 4 << 20},
    counters={"gateway-0 replays": 0.0},
)


def test_a_good_run_misses_no_bar() -> None:
    assert missed(figures(PLAN, GOOD)) == []


@pytest.mark.parametrize(
    ("changes", "bar"),
    [
        ({"inside": 48}, "callers inside at the end"),
        ({"refused": Counter()}, "no refusal had a reason"),
        ({"full": Counter({"": 60})}, "the gateway never said that it was full"),
        ({"before_refusal": [2.0]}, "reply p99 before the first refusal"),
        ({"overloaded": [9.0]}, "reply p99 in the overload"),
        ({"recovered_after": 11.0}, "recovered after the relief"),
        ({"recovered_after": None}, "recovered after the relief"),
        ({"relieved": [0.6]}, "reply p99 after it"),
        ({"answered": 899}, "questions without an answer"),
        ({"turns": 901}, "turns completed beyond the questions"),
        ({"counters": {"gateway-0 replays": 1.0}}, "losses, replays, lost links"),
        ({"wrong": ["an answer came twice"]}, "what callers saw that must not be"),
        ({"grown": {"worker-0": 65 << 20}}, "worker-0: memory grown"),
    ],
)
def test_what_goes_wrong_misses_its_bar(changes: dict[str, Any], bar: str) -> None:
    assert missed(figures(PLAN, dataclasses.replace(GOOD, **changes))) == [bar]


def test_a_caller_notices_an_answer_that_is_lost_doubled_or_another_ones() -> None:
    crowd = Crowd("ws://unused", "key", frames=["x"])
    caller = Caller(crowd, 3)
    caller.question = "question 1 of caller 3"
    caller._take({"type": "response.output_text.done", "text": "You said: question 1 of caller 3."})
    caller._take({"type": "response.done", "response": {"status": "completed"}})
    assert (crowd.wrong, len(crowd.answers), caller.question) == ([], 1, "")
    caller._take({"type": "response.output_text.done", "text": "You said: question 1 of caller 3."})
    caller._take({"type": "response.done", "response": {"status": "cancelled"}})
    caller._take({"type": "error", "error": {"code": "session_expired"}})
    assert [what.partition(": ")[2] for what in crowd.wrong] == [
        "'You said: question 1 of caller 3.' answers ''",
        "an answer is cancelled",
        "error session_expired",
    ]
    assert len(crowd.answers) == 2, "more answers than questions"


def test_all_that_was_seen_can_be_written(tmp_path: Path) -> None:
    report.write(tmp_path / "overload.json", measurements(GOOD))
    assert json.loads((tmp_path / "overload.json").read_text())["seen"]["refused"] == {"worker_cpu": 500}
