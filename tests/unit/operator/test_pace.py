"""How fast sessions may be moved: tables of cases."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from litevoice_operator.api.voice_gateway import VoiceGatewaySpec
from litevoice_operator.decide.conditions import Finding
from litevoice_operator.decide.pace import Bucket, drains, moves_per_second, moving_seconds, timeout_for
from litevoice_operator.decide.scale import Load


def spec(brokers: int = 1, **drain: Any) -> VoiceGatewaySpec:
    rocketmq = {"brokers": brokers, "partitions": 8}
    return VoiceGatewaySpec.model_validate({"auth": {"apiKeysSecret": "keys"}, "rocketmq": rocketmq, "drain": drain})


def test_a_quarter_of_what_the_brokers_take_over() -> None:
    assert moves_per_second(spec()) == 212
    assert moves_per_second(spec(brokers=2)) == 424


Row = tuple[str, list[Load], list[str], dict[str, int], dict[str, Any], dict[str, int], int]
A, B = Load("a", sessions=1000), Load("b", sessions=10)
BUSY, DONE = Load("x", sessions=5, draining=True), Load("x", sessions=0, draining=True, empty=True)
CASES: list[Row] = [
    ("nobody", [A, B], [], {}, {}, {}, 212),
    ("one alone, as fast as the spec allows", [A, B], ["a"], {}, {}, {"a": 200}, 12),
    ("two share", [A, B], ["a", "b"], {}, {}, {"a": 106, "b": 106}, 0),
    ("one drains already", [A, B, BUSY], ["a"], {"x": 150}, {}, {"a": 62}, 0),
    ("somebody has told it, at the full rate", [A, B, BUSY], ["a", "b"], {}, {}, {"b": 12}, 0),
    ("it is done", [A, B, DONE], ["a"], {"x": 150}, {}, {"a": 200}, 12),
    ("it says nothing any more", [A, Load("x", sessions=None, draining=True)], ["a"], {"x": 200}, {}, {}, 12),
    ("slower than it must be, it waits", [A, BUSY], ["a"], {"x": 200}, {"timeoutSeconds": 60}, {}, 12),
    ("with more time it does not", [A, BUSY], ["a"], {"x": 200}, {"timeoutSeconds": 600}, {"a": 12}, 0),
    ("a slow drain", [A, B], ["a", "b"], {}, {"ratePerSecond": 20}, {"a": 20, "b": 20}, 172),
    ("who does not say what it holds", [Load("s", sessions=None)], ["s"], {}, {}, {"s": 200}, 12),
    ("as many as can be moved in time", [Load("h", sessions=11_500)], ["h"], {}, {}, {"h": 200}, 12),
    ("one more than the spec allows in time", [Load("h", sessions=11_501)], ["h"], {}, {}, {}, 212),
    ("another one goes meanwhile", [Load("h", sessions=12_001), B], ["h", "b"], {}, {}, {"b": 200}, 12),
    ("more than can be moved in time is not begun", [Load("h", sessions=20_000)], ["h"], {}, {"ratePerSecond": 400},
     {}, 212),
]  # fmt: skip


@pytest.mark.parametrize(("description", "pods", "to_tell", "granted", "drain", "rates", "left"), CASES,
                         ids=[row[0] for row in CASES])  # fmt: skip
def test_rates(
    description: str, pods: list[Load], to_tell: list[str], granted: dict[str, int], drain: dict[str, Any],
    rates: dict[str, int], left: int,
) -> None:  # fmt: skip
    found = drains(pods, to_tell, granted, spec(**drain))
    assert (found.rates, found.left) == (rates, left)
    assert sum(found.rates.values()) + sum(found.under_way.values()) <= 212


OLD = Load("o", sessions=5000, grace_seconds=90, drain_rate=200)
OWN_LIMITS: list[tuple[str, list[Load], dict[str, Any], dict[str, int], dict[str, int]]] = [
    ("as it was started", [OLD], {}, {"o": 200}, {}),
    ("more time by the spec: it has as much as before, and is told fast enough for that",
     [replace(OLD, name=name) for name in "abc"], {"timeoutSeconds": 3600}, {"a": 87, "b": 87}, {}),
    ("a faster one by the spec: it is as slow as before", [replace(OLD, drain_rate=50)], {}, {}, {"o": 2875}),
    ("and holds no more than it can move", [replace(OLD, sessions=2875, drain_rate=50)], {}, {"o": 50}, {}),
    ("less time by the spec: it has as much as before", [replace(OLD, grace_seconds=630)], {"timeoutSeconds": 10},
     {"o": 200}, {}),
    ("of a release that says neither", [replace(OLD, grace_seconds=0, drain_rate=0)], {"ratePerSecond": 100},
     {"o": 100}, {}),
    ("faster than brokers take over", [replace(OLD, sessions=13_000, drain_rate=1000)], {}, {}, {"o": 12_190}),
]  # fmt: skip


@pytest.mark.parametrize(("description", "pods", "drain", "rates", "too_full"), OWN_LIMITS,
                         ids=[row[0] for row in OWN_LIMITS])  # fmt: skip
def test_a_gateway_drains_by_the_limits_that_it_was_started_with(
    description: str, pods: list[Load], drain: dict[str, Any], rates: dict[str, int], too_full: dict[str, int]
) -> None:
    """A change of spec.drain replaces all gateways: who drains then knows only the former limits."""
    found = drains(pods, [pod.name for pod in pods], {}, spec(**drain))
    assert (found.rates, found.too_full) == (rates, too_full)


def test_who_waits_because_it_is_too_full_is_told_of() -> None:
    rolling = Finding("Reconciling", "True", "RollingOut", "1 of 4 gateways drain")
    found = drains([replace(OLD, drain_rate=50)], ["o"], {}, spec())
    noted = found.noted(rolling)
    assert noted is not None
    assert noted.message.startswith("1 of 4 gateways drain; some hold more sessions than can be moved in time")
    assert noted.message.endswith("and wait: o until it holds 2875")
    assert found.noted(None) is None
    assert drains([OLD], ["o"], {}, spec()).noted(rolling) == rolling


@pytest.mark.parametrize("timeout", [1, 2, 4, 5, 6, 60, 3600])
def test_how_long_a_drain_may_tell_sessions(timeout: int) -> None:
    """As the gateways reckon: `MovePlan.last_call`."""
    assert moving_seconds(timeout) == (timeout - 2.5 if timeout > 4 else timeout / 2)
    assert timeout_for(moving_seconds(timeout)) == timeout


def test_a_bucket_holds_what_comes_in_a_second() -> None:
    empty = Bucket(0.0, 100.0)
    assert empty.filled(10, 100.5).tokens == 5
    assert empty.filled(10, 999).tokens == 10
    assert empty.filled(10, 99).tokens == 0, "a clock does not run backwards, and if it did nothing would come of it"
    assert empty.filled(10, 101).without(4).filled(10, 101.25).tokens == 8.5
    assert Bucket(10, 100).filled(2, 101).tokens == 2, "what drains takes from it"
