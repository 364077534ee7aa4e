"""How fast sessions may be moved: tables of cases."""

from __future__ import annotations

from typing import Any

import pytest

from litevoice_operator.api.voice_gateway import VoiceGatewaySpec
from litevoice_operator.decide.pace import Bucket, drains, moves_per_second
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
    ("as many as can be moved in time", [Load("h", sessions=12_000)], ["h"], {}, {}, {"h": 200}, 12),
    ("one more than the spec allows in time", [Load("h", sessions=12_001)], ["h"], {}, {}, {}, 212),
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


def test_a_bucket_holds_what_comes_in_a_second() -> None:
    empty = Bucket(0.0, 100.0)
    assert empty.filled(10, 100.5).tokens == 5
    assert empty.filled(10, 999).tokens == 10
    assert empty.filled(10, 99).tokens == 0, "a clock does not run backwards, and if it did nothing would come of it"
    assert empty.filled(10, 101).without(4).filled(10, 101.25).tokens == 8.5
    assert Bucket(10, 100).filled(2, 101).tokens == 2, "what drains takes from it"
