"""When a pod answers a question for its status."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from litevoice_contracts.control import DrainReport, FailingPlugin, GatewayStatus, WorkerStatus
from litevoice_contracts.errors import InvalidField
from litevoice_contracts.watching import (
    LOOK_SECONDS,
    MAX_WAITING,
    Question,
    Waiting,
    answer,
    gateway_marks,
    marks_of_gateway,
    read_question,
    told_at_once,
    worker_marks,
)

GATEWAY = GatewayStatus("gateway-0", True, "", 40, 100, 0, 3, DrainReport())
WORKER = WorkerStatus(
    "worker-0", True, "", 40, 100, [1, 2], 0.5, [FailingPlugin("responder", "bookings", "hung", 1, 9.0)]
)


class Clock:
    """Time that passes only while somebody sleeps; `then` happens when it has come to `at`."""

    def __init__(self, at: float = float("inf"), then: Callable[[], object] = lambda: None) -> None:
        self.now, self._at, self.then = 0.0, at, then

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        if self.now >= self._at:
            self.then()


class Pod:
    def __init__(self) -> None:
        self.status = GATEWAY

    def set(self, **fields: object) -> None:
        self.status = msgspec.structs.replace(self.status, **fields)


async def waited(question: Question, at: float = float("inf"), **change: object) -> tuple[float, int]:
    """How long a question waits that has seen GATEWAY, which changes at `at`; and the status of its answer."""
    pod = Pod()
    clock = Clock(at, lambda: pod.set(**change))
    seen = answer(Question(), GATEWAY, gateway_marks(GATEWAY)).version
    question = Question(seen, question.wait_seconds, question.step)
    await Waiting(lambda: gateway_marks(pod.status), clock, clock.sleep).wait(question, lambda: False)
    return clock.now, 200 if answer(question, pod.status, gateway_marks(pod.status)).body else 304


@pytest.mark.parametrize(
    ("change", "seconds", "told"),
    [
        ({}, 30.0, 304),
        ({"ready": False, "reason": "the broker is away"}, 5.0, 200),
        ({"drain": DrainReport(state="draining")}, 5.0, 200),
        ({"max_sessions": 50}, 5.0, 200),
        ({"sessions": 45}, 5.0, 200),
        ({"sessions": 35}, 5.0, 200),
        ({"sessions": 44}, 30.0, 200),
        ({"pending_requests": 9}, 30.0, 200),
        ({"in_turn": 9}, 30.0, 200),
        ({"full": "sessions"}, 30.0, 200),
    ],
)
async def test_what_decisions_hang_on_is_told_at_once_the_rest_when_the_wait_is_over(
    change: dict[str, object], seconds: float, told: int
) -> None:
    assert await waited(Question(wait_seconds=30, step=5), at=5.0, **change) == (seconds, told)


async def test_without_a_wait_nothing_waits_and_what_is_known_is_not_repeated() -> None:
    assert await waited(Question()) == (0.0, 304)
    assert await waited(Question(wait_seconds=0), at=0.0, sessions=41) == (0.0, 304)


@pytest.mark.parametrize("seen", ["", "x", "a.b.c", "..", "0.-1.0", "0.1", f"{'0' * 16}.40.{'0' * 16}", "a.9999999.b"])
async def test_who_has_seen_nothing_or_what_nobody_said_is_answered_at_once(seen: str) -> None:
    clock, question = Clock(), Question(seen, 30)
    await Waiting(lambda: gateway_marks(GATEWAY), clock, clock.sleep).wait(question, lambda: False)
    assert clock.now == 0.0
    assert msgspec.json.decode(answer(question, GATEWAY, gateway_marks(GATEWAY)).body, type=GatewayStatus) == GATEWAY


async def test_no_more_than_a_few_wait_and_nobody_does_who_is_gone_or_at_the_end() -> None:
    seen = answer(Question(), GATEWAY, gateway_marks(GATEWAY)).version
    clock = Clock()
    waiting = Waiting(lambda: gateway_marks(GATEWAY), clock, clock.sleep)
    question = Question(seen, 30)
    waiting.count = MAX_WAITING
    await waiting.wait(question, lambda: False)
    assert (clock.now, waiting.count) == (0.0, MAX_WAITING)
    waiting.count = 0
    await waiting.wait(question, lambda: clock.now >= 2.0)
    assert (clock.now, waiting.count) == (2.0, 0)
    ending = Clock(3.0)
    waiting = Waiting(lambda: gateway_marks(GATEWAY), ending, ending.sleep)
    ending.then = waiting.end
    await waiting.wait(question, lambda: False)
    assert ending.now <= 3.0 + LOOK_SECONDS


def test_a_gateway_says_the_same_without_looking_at_each_session() -> None:
    said = marks_of_gateway(
        GATEWAY.ready, GATEWAY.reason, GATEWAY.drain.state, GATEWAY.max_sessions, GATEWAY.sessions, GATEWAY.slow_readers
    )
    assert said == gateway_marks(GATEWAY)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"ready": False}, True),
        ({"reason": "starting"}, True),
        ({"partitions": [1]}, True),
        ({"failing": []}, True),
        ({"failing": [FailingPlugin("responder", "bookings", "hung", 2, 1.0)]}, True),
        ({"failing": [FailingPlugin("responder", "bookings", "hung", 1, 19.0)]}, False),
        ({"busy": 0.9}, False),
        ({"sessions": 44}, False),
        ({"sessions": 45}, True),
    ],
)
def test_what_of_a_worker_is_told_at_once(change: dict[str, object], told: bool) -> None:
    changed = msgspec.structs.replace(WORKER, **change)
    before, now = (answer(Question(), status, worker_marks(status)) for status in (WORKER, changed))
    assert before.version != now.version
    assert told_at_once(before.version, now.version, 5) is told


@pytest.mark.parametrize(
    ("query", "field"),
    [({"wait": "61"}, "wait"), ({"wait": "-1"}, "wait"), ({"wait": "٣"}, "wait"), ({"step": "0"}, "step"),
     ({"step": "1e3"}, "step"), ({"wait": ""}, "wait"), ({"step": "1" * 5000}, "step")],
)  # fmt: skip
def test_what_cannot_be_waited_for_is_said(query: dict[str, str], field: str) -> None:
    with pytest.raises(InvalidField, match=f"^{field}: expected a whole number from"):
        read_question(query)


def test_a_question_is_read_as_it_was_put() -> None:
    question = Question("v.1.x", 30, 7)
    assert read_question(question.query) == question
    assert read_question({}) == Question()
