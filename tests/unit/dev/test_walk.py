"""The walk counts only what both commands have named rightly."""

from __future__ import annotations

from typing import Any, cast

import pytest

from litevoice_dev.walk.asking import BOUND_SECONDS, Caller, Found, mistakes, mistakes_of_refusal
from litevoice_dev.walk.place import WalkPlace
from litevoice_dev.walk.run import FAULTS, told

CALLER = Caller(cast(Any, None), "s_1", "10.1.0.1:4711", "gateway-0")
REPORT = {
    "pod": "gateway-0",
    "node": "node-a",
    "session": {"client": "10.1.0.1:4711"},
    "verdict": {"cause": "stuck-model", "says": "It waits for text to speech (tts)."},
}


@pytest.mark.parametrize(
    ("ids", "changed", "expected"),
    [
        (["s_1"], {}, []),
        (["s_1", "s_2"], {}, ["session: s_1, s_2"]),
        ([], {}, ["session: none"]),
        (["s_1"], {"pod": "gateway-1"}, ["pod: gateway-1"]),
        (["s_1"], {"node": ""}, ["node: none"]),
        (["s_1"], {"session": None}, ["client: none"]),
        (["s_1"], {"verdict": {"cause": "healthy", "says": "(tts)"}}, ["cause: healthy"]),
        (["s_1"], {"verdict": {"cause": "stuck-model", "says": "(asr)"}}, ["says nothing of (tts)"]),
    ],
)
def test_what_is_wrong_is_named(ids: list[str], changed: dict[str, Any], expected: list[str]) -> None:
    assert mistakes(CALLER, "node-a", "stuck-model", ids, REPORT | changed, words=["(tts)"]) == expected


def test_of_what_nobody_holds_who_had_it_last_counts() -> None:
    verdict = {"cause": "orphan", "says": ""}
    report: dict[str, Any] = {"last_pod": "gateway-0", "last_node": "node-a", "last_client": "10.1.0.1:4711"}
    report |= {"node": "", "session": None, "verdict": verdict}
    assert mistakes(CALLER, "node-a", "orphan", ["s_1"], report) == []
    assert mistakes(CALLER, "node-a", "orphan", ["s_1"], report | {"last_client": ""}) == ["client: none"]
    frozen = {"subscriber": "gateway-0", "node": "node-b", "verdict": {"cause": "frozen-gateway", "says": ""}}
    assert mistakes(CALLER, "node-a", "frozen-gateway", ["s_1"], frozen) == ["node: node-b", "client: none"]


REFUSED: dict[str, Any] = {
    "pod": "gateway-3",
    "node": "node-c",
    "refused": {"client": "10.1.0.1:4711", "cause": "full", "says": "it takes no new sessions: sessions"},
}
OTHERWISE = {"client": "10.1.0.1:1", "cause": "broker-quota", "says": "QUOTA"}


@pytest.mark.parametrize(
    ("listed", "expected"),
    [
        ({"refused": [REFUSED], "sessions": []}, []),
        ({"refused": [], "sessions": []}, ["client: 0 refusals and 0 sessions"]),
        ({"refused": [REFUSED], "sessions": ["s_1"]}, ["client: 1 refusals and 1 sessions"]),
        ({"refused": [REFUSED | {"node": ""}], "sessions": []}, ["node: none"]),
        ({"refused": [REFUSED | {"refused": OTHERWISE}], "sessions": []}, [
            "cause: broker-quota", "client: 10.1.0.1:1", "says nothing of sessions"
        ]),
    ],
)  # fmt: skip
def test_who_was_sent_away_is_to_be_named_as_well(listed: Any, expected: list[str]) -> None:
    wrong = mistakes_of_refusal("10.1.0.1:4711", "gateway-3", "node-c", "full", ["sessions"], listed)
    assert wrong == expected


def test_late_is_wrong() -> None:
    assert Found("healthy", [], BOUND_SECONDS, "").good
    assert Found("orphan", [], 1.0, "", "client").right == "all but client"
    assert Found("orphan", ["pod: none"], 1.0, "", "client").right == "pod: none"
    assert not Found("healthy", [], BOUND_SECONDS + 0.1, "").good
    assert not Found("healthy", ["pod: none"], 0.1, "").good


async def test_a_fault_that_cannot_be_planted_is_wrong_and_the_others_are_planted() -> None:
    async def fails(_: WalkPlace) -> Found:
        raise TimeoutError("no audio")

    async def well(_: WalkPlace) -> Found:
        return Found("healthy", [], 1.0, "")

    nowhere = cast(Any, None)
    failed, found = await told(nowhere, "one", fails), await told(nowhere, "two", well)
    assert (failed.good, failed.right) == (False, "not asked: TimeoutError: no audio")
    assert found.good


def test_twenty_faults_are_planted_and_none() -> None:
    assert len({*FAULTS} - {"none"}) == len(FAULTS) - 1 == 20
