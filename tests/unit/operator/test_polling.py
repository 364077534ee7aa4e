"""When pods are asked, and how long what they said holds."""

from __future__ import annotations

from dataclasses import replace

import pytest

from litevoice_contracts.watching import Question
from litevoice_operator.api.voice_gateway import VoiceGatewaySpec
from litevoice_operator.decide.polling import (
    APART_SECONDS,
    HOLDS_SECONDS,
    LATE_SECONDS,
    LEAST_WAIT_SECONDS,
    MOST_WAIT_SECONDS,
    Poll,
    gateway_step,
    timeout_seconds,
    wait_seconds,
    worker_step,
)

HELD = Poll(next_at=102.0, seen="f.1.b", heard_at=100.0)


@pytest.mark.parametrize(
    ("pods", "seconds"), [(0, 10.0), (10, 10.0), (170, 10.0), (340, 20.0), (1020, 60.0), (10_000, 60.0)]
)
def test_the_more_pods_the_longer_they_wait(pods: int, seconds: float) -> None:
    assert wait_seconds(pods) == pytest.approx(seconds)


def test_pods_that_are_begun_together_are_not_asked_together() -> None:
    firsts = [Poll.begun(100.0, number / 10).next_at for number in range(10)]
    assert (firsts[0], firsts[-1]) == (100.0, 109.0)
    assert len(set(firsts)) == len(firsts)
    waits = {HELD.question(1020, 5, number / 10).wait_seconds for number in range(11)}
    assert (min(waits), max(waits)) == (48, 60)
    assert len(waits) > 5


def test_who_has_said_nothing_is_asked_without_a_wait() -> None:
    assert Poll.begun(0.0, 0.5).question(1000, 5, 0.5) == Question("", 0, 5)
    assert HELD.question(10, 5, 1.0) == Question("f.1.b", 10, 5)


@pytest.mark.parametrize(
    ("asked_at", "now", "next_at"),
    [
        (100.0, 130.0, 130.0),
        (100.0, 100.3, 100.0 + APART_SECONDS),
        (100.0, 100.0 + APART_SECONDS, 102.0),
    ],
)
def test_the_next_question_follows_at_once_but_not_to_one_that_always_has_news(
    asked_at: float, now: float, next_at: float
) -> None:
    assert HELD.answered("f.2.c", asked_at, now) == Poll(next_at, "f.2.c", now)


def test_a_pod_of_an_early_release_is_asked_no_more_and_holds_nothing() -> None:
    older = HELD.answered("", 100.0, 100.1)
    assert older.older
    assert not older.holds(100.1)


def test_a_silent_pod_holds_nothing_and_is_asked_again_later() -> None:
    silent = HELD.silent(200.0, 0.0)
    assert (silent.next_at, silent.seen, silent.holds(200.0)) == (205.0, "", False)
    assert HELD.silent(200.0, 1.0).next_at == 215.0


def test_what_was_said_holds_while_an_answer_may_still_come_and_no_longer() -> None:
    slowest = APART_SECONDS + MOST_WAIT_SECONDS + LATE_SECONDS
    assert HELD.holds(100.0 + slowest)
    assert not HELD.holds(100.0 + HOLDS_SECONDS + 0.1)
    assert not Poll.begun(100.0, 0.0).holds(100.0)
    assert not replace(HELD, seen="").holds(100.0)


def test_a_pod_that_says_nothing_at_all_is_silent_soon_after_the_wait() -> None:
    assert timeout_seconds(Question("f.1.b", 30)) == 30 + LATE_SECONDS
    assert timeout_seconds(Question()) == LATE_SECONDS
    assert LEAST_WAIT_SECONDS + LATE_SECONDS < HOLDS_SECONDS


@pytest.mark.parametrize(
    ("fields", "gateways", "workers"),
    [
        ({"session": {"maxPerPod": 100}, "workers": {"maxSessions": 400}}, 5, 20),
        ({"session": {"maxPerPod": 3}, "workers": {"maxSessions": 1}}, 1, 1),
        ({"session": {"maxPerPod": 1000}, "autoscaling": {"maxReplicas": 4, "sessionsPerPod": 40}}, 2, 100),
        ({"session": {"maxPerPod": 20}, "autoscaling": {"maxReplicas": 4, "sessionsPerPod": 40}}, 1, 100),
    ],
)
def test_a_twentieth_of_what_a_pod_is_meant_to_hold_is_told_at_once(
    fields: dict[str, object], gateways: int, workers: int
) -> None:
    spec = VoiceGatewaySpec.model_validate({"auth": {"apiKeysSecret": "keys"}, **fields})
    assert (gateway_step(spec), worker_step(spec)) == (gateways, workers)
