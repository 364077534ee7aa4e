"""Pods, brokers and messages for a number of sessions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bench import sizing
from bench.sizing_formula import Costs, Limits, Load, breaks_at, busiest, plan, rocketmq_cores

pytestmark = pytest.mark.unit

COSTS = Costs(
    gateway_frame=40e-6,
    worker_frame=20e-6,
    worker_speech=30e-6,
    speech_messages=0.5,
    typed_messages=3.5,
    gateway_idle=8e-6,
    gateway_kib=20.0,
    worker_kib=4.0,
    gateway_sound_kib=400.0,
)
LIMITS = Limits(use=0.5)
QUIET = Load(1000, speaking=0.0, muted=1.0)


@pytest.mark.parametrize(
    ("why", "load", "limits", "expected"),
    [
        (
            "1,000 x 50 frames x 40 us = 2 cores, half of a core each: 4 pods; 1 core of work, but two workers do not "
            "share it evenly",
            QUIET,
            LIMITS,
            {
                "resources": 1,
                "gateways": 4,
                "gateways_by": "CPU",
                "workers": 4,
                "partitions": 8,
                "up_per_second": 320.0,
            },
        ),
        (
            "nobody's microphone is open: memory and maxPerPod decide",
            Load(10_000, open=0.0),
            replace(LIMITS, per_resource=10_000),
            {"resources": 1, "gateways": 2, "gateways_by": "maxPerPod", "workers_by": "maxSessions", "brokers": 1},
        ),
        (
            "several VoiceGateways share nothing but the brokers",
            replace(QUIET, sessions=10_000),
            LIMITS,
            {"resources": 10, "gateways": 40, "workers": 40, "partitions": 80, "up_per_second": 3200.0},
        ),
        (
            "a session is a subscription, wherever it is",
            Load(250_000, open=0.0),
            replace(LIMITS, per_resource=50_000, max_sessions=100_000),
            {"brokers": 3, "brokers_by": "subscriptions"},
        ),
        (
            "noise is carried: 1,000 x 48 kB/s; nobody speaks, 4 workers tell 4 gateways what they are at",
            Load(1000, speaking=0.0, muted=0.0),
            replace(LIMITS, broker_bytes_per_second=10e6),
            {"brokers": 5, "brokers_by": "bytes", "bytes_per_second": 48e6, "down_per_second": 16.0},
        ),
        (
            "typed questions, spoken turns, news: 1,000 x (0.1 x 3.5) + 100 x (0.5 + 14 / 4) + 4 x 5",
            Load(1000, speaking=0.1, muted=0.9, typed=0.1),
            LIMITS,
            {"down_per_second": 770.0},
        ),
    ],
)
def test_what_is_needed(why: str, load: Load, limits: Limits, expected: dict[str, Any]) -> None:
    found = plan(load, COSTS, limits)
    assert {name: pytest.approx(getattr(found, name)) if isinstance(value, float) else getattr(found, name)
            for name, value in expected.items()} == expected, why  # fmt: skip


def test_a_large_voice_gateway_costs_the_brokers_more_than_small_ones() -> None:
    load = replace(QUIET, sessions=8000)
    large, small = (plan(load, COSTS, replace(LIMITS, per_resource=count)) for count in (8000, 1000))
    assert large.up_per_second > 3 * small.up_per_second


def test_more_partitions_cost_gateways_more() -> None:
    few, many = (plan(Load(count, speaking=0.0, muted=1.0), COSTS, LIMITS) for count in (500, 1000))
    assert many.partitions == few.partitions == 8
    costly = replace(COSTS, worker_frame=60e-6)
    assert plan(QUIET, costly, LIMITS).partitions > 8
    assert plan(QUIET, costly, LIMITS).gateways > many.gateways


def test_more_than_the_most_partitions_can_share_is_refused() -> None:
    with pytest.raises(ValueError, match="per_resource"):
        plan(replace(QUIET, sessions=1_000_000), COSTS, replace(LIMITS, per_resource=1_000_000))


@pytest.mark.parametrize(("partitions", "workers", "least"), [(8, 1, 1.0), (8, 8, 2 / 8), (64, 8, 1 / 8)])
def test_the_busiest_worker_has_more_than_its_share(partitions: int, workers: int, least: float) -> None:
    assert least <= busiest(partitions, workers) <= 1.0


@pytest.mark.parametrize(
    ("messages", "megabytes", "cores"),
    [(0, 0, 0.23), (40, 1.2, 0.37), (40, 4.8, 0.43), (40, 19.2, 0.62), (250, 1.2, 1.07), (1000, 4.8, 1.32)],
)
def test_rocketmq_costs_what_adr_11_measured(messages: float, megabytes: float, cores: float) -> None:
    assert rocketmq_cores(messages, megabytes * 1e6) == pytest.approx(cores, rel=0.06)


def test_what_breaks_first_is_named_first() -> None:
    found = breaks_at(QUIET, COSTS, LIMITS)
    assert [sessions for _, sessions in found] == sorted(sessions for _, sessions in found)
    assert found[0][0] == "CPU of the busiest of 8 workers"
    assert dict(found)["100,000 subscriptions of a broker"] == 100_000
    cheaper = breaks_at(QUIET, replace(COSTS, worker_frame=1e-6, gateway_frame=1e-6), LIMITS)
    assert cheaper[0][0] == "`maxSessions` of the busiest of 8 workers"


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"sessions": 0}, "sessions: expected at least 1, got 0"),
        ({"open": 1.5}, "open: expected a share from 0 to 1, got 1.5"),
        ({"speaking": 0.6, "muted": 0.6}, "speaking and muted: expected at most 1 together"),
        ({"typed": -1.0}, "typed: expected at least 0"),
    ],
)
def test_a_load_that_cannot_be_is_refused(wrong: dict[str, float], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        replace(QUIET, **wrong)  # type: ignore[arg-type]


def test_a_figure_that_a_run_does_not_have_is_named() -> None:
    run = {"measured": "today", "figures": [{"name": "gateway CPU", "value": None}]}
    for name in ("gateway CPU", "worker CPU"):
        with pytest.raises(ValueError, match=f"{name}: expected a figure"):
            sizing.figure(run, name)


def test_only_the_block_is_replaced() -> None:
    text = f"before\n{sizing.BEGIN}\nold\n{sizing.END}\nafter\n"
    assert sizing.document(text, "new") == f"before\n{sizing.BEGIN}\n\nnew\n\n{sizing.END}\nafter\n"
    with pytest.raises(ValueError, match="expected the lines"):
        sizing.document("no marks", "new")


def test_the_document_says_what_the_formula_says() -> None:
    text = sizing.DOCUMENT.read_text()
    assert sizing.document(text, sizing.page()) == text, "run `make reference`"
