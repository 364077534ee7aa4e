"""What is judged of an operator with many pods."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from bench.canned_pods import addresses, sessions
from bench.figures import missed
from bench.operator_figures import Load, audited, comparison, figures

FEW = Load(100, 10.0, {"get voicegateways": 20, "patch voicegateways/status": 10}, 50, 100, 0.004, 90, 0.002, 60, 0.1)
MANY = replace(
    FEW, pods=1000, requests={what: count * 10 for what, count in FEW.requests.items()}, broker_calls=500, cores=0.04
)


def test_ten_times_as_much_for_ten_times_as_many_is_linear() -> None:
    assert missed(figures([FEW, MANY])) == []
    named = {figure.name.strip(): figure.value for figure in figures([FEW, MANY])}
    assert named["growth per pod: CPU"] == pytest.approx(1.0)
    assert (named["status writes"], named["requests to the API server"]) == (10, 30)
    assert named["to kopf alone"] == 20  # the last one of that name: CPU


BARS: list[tuple[str, dict[str, Any], list[str]]] = [
    ("memory", {"memory_mebibytes": 151}, ["memory, 1,000 pods"]),
    ("cpu", {"cores": 0.051}, ["CPU, 1,000 pods", "growth per pod: CPU"]),
    ("a LIST in the steady state", {"requests": {**MANY.requests, "list pods": 1}}, ["LIST requests"]),
    ("too many status writes", {"requests": {"patch voicegateways/status": 150, "patch backlogalerts/status": 60}},
     ["status writes"]),
    ("requests that grow faster than pods", {"requests": {"get voicegateways": 400}},
     ["growth per pod: requests to the API server"]),
    ("broker calls that grow faster", {"broker_calls": 700}, ["growth per pod: requests to brokers"]),
]  # fmt: skip


@pytest.mark.parametrize(("description", "change", "expected"), BARS, ids=[row[0] for row in BARS])
def test_each_bar_can_be_missed(description: str, change: dict[str, Any], expected: list[str]) -> None:
    assert missed(figures([FEW, replace(MANY, **change)])) == expected


def test_one_size_alone_says_nothing_of_growth() -> None:
    assert {figure.name for figure in figures([MANY]) if figure.value is None} == {
        "growth per pod: CPU",
        "growth per pod: requests to the API server",
        "growth per pod: requests to brokers",
    }


def event(second: int, verb: str, resource: str, **changes: Any) -> str:
    reference = {"resource": resource} | ({"subresource": changes.pop("sub")} if "sub" in changes else {})
    return json.dumps(
        {"stage": "ResponseComplete", "verb": verb, "user": {"username": "operator"}, "objectRef": reference,
         "requestReceivedTimestamp": f"1970-01-01T00:00:{second:02d}.500000Z", "requestURI": "/x", **changes}
    )  # fmt: skip


def test_who_asked_for_what_in_the_meantime() -> None:
    lines = [
        event(9, "get", "pods"),
        event(10, "get", "pods"),
        event(10, "list", "pods"),
        event(11, "patch", "voicegateways", sub="status"),
        event(11, "patch", "pods", user={"username": "admin"}),
        event(11, "watch", "pods", stage="ResponseStarted"),
        event(11, "get", "", objectRef={}),
        event(12, "get", "pods"),
        event(11, "get", "pods")[:40],
    ]
    assert audited(lines, 10.0, 12.0) == {
        "get pods": 1,
        "list pods": 1,
        "patch voicegateways/status": 1,
        "get /x": 1,
    }


def test_the_table_has_a_row_for_each_size_and_each_request() -> None:
    shown = comparison([FEW, MANY]).splitlines()
    assert [line.split()[0] for line in shown[2:4]] == ["100", "1,000"]
    assert shown[-2:] == ["get voicegateways                   20", "patch voicegateways/status          10"]


def test_each_canned_pod_has_an_address_and_sessions_that_change() -> None:
    found = addresses(1000)
    assert len(set(found)) == 1000
    assert found[999] == "127.20.3.250"
    assert {sessions(found[0], now) for now in range(0, 200, 10)} == set(range(40, 60))
    assert len({sessions(address, 0.0) for address in found[:20]}) == 20
