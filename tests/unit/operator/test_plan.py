"""What is done about a VoiceGateway, and when: tables of cases."""

from __future__ import annotations

from typing import Any

import pytest

from litevoice_operator.api.resolved import Defaults, Gateway, resolve
from litevoice_operator.api.resource import Metadata
from litevoice_operator.api.voice_gateway import VoiceGatewaySpec
from litevoice_operator.decide.plan import (
    NAMES,
    RESYNC_SECONDS,
    Apply,
    AwaitNoPods,
    BrokerNames,
    DeleteDeployment,
    DeleteNames,
    Done,
    EnsureNames,
    plan,
    removal_plan,
    subject,
)


def gateway(**rocketmq: Any) -> Gateway:
    spec = VoiceGatewaySpec.model_validate({"auth": {"apiKeysSecret": "keys"}, "rocketmq": rocketmq})
    metadata = Metadata(namespace="shop", name="demo", uid="u", generation=1)
    return resolve(metadata, spec, Defaults("g:1", "w:1", "proxy:8081", "names:9876"))


def manifest(name: str, **content: Any) -> dict[str, Any]:
    return {"kind": "ConfigMap", "metadata": {"name": name}, **content}


FIRST, SECOND = manifest("first"), manifest("second")
CHANGED = manifest("second", data={"a": "b"})
NAMED, LONGER = BrokerNames.of(gateway()), BrokerNames.of(gateway(expirationMinutes=90))
FRESH, OLD = 1000.0, 1000.0 - RESYNC_SECONDS
ENSURE, RESTORE = EnsureNames(NAMED, only_if_missing=False), EnsureNames(NAMED, only_if_missing=True)


def done(first: float, second: float, names: float, wanted: BrokerNames = NAMED) -> dict[str, Done]:
    return {
        subject(FIRST): Done(FIRST, first),
        subject(SECOND): Done(SECOND, second),
        NAMES: Done(wanted, names),
    }


CASES: list[tuple[str, list[dict[str, Any]], dict[str, Done], list[Apply | EnsureNames]]] = [
    ("nothing was done: everything in its order, names last", [FIRST, SECOND], {},
     [Apply(FIRST), Apply(SECOND), ENSURE]),
    ("everything was done", [FIRST, SECOND], done(FRESH, FRESH, FRESH), []),
    ("one object is wanted otherwise", [FIRST, CHANGED], done(FRESH, FRESH, FRESH), [Apply(CHANGED)]),
    ("one object was applied long ago", [FIRST, SECOND], done(OLD, FRESH, FRESH), [Apply(FIRST)]),
    ("the names were ensured long ago", [FIRST, SECOND], done(FRESH, FRESH, OLD), [RESTORE]),
    ("the names are wanted otherwise", [FIRST, SECOND], done(FRESH, FRESH, FRESH, LONGER), [ENSURE]),
    ("a new object", [FIRST, SECOND, manifest("third")], done(FRESH, FRESH, FRESH), [Apply(manifest("third"))]),
]  # fmt: skip


@pytest.mark.parametrize(("description", "manifests", "before", "actions"), CASES, ids=[case[0] for case in CASES])
def test_plan(
    description: str, manifests: list[dict[str, Any]], before: dict[str, Done], actions: list[Apply | EnsureNames]
) -> None:
    assert plan(gateway(), manifests, before, 1000.0) == actions


def test_sessions_end_before_their_names_go() -> None:
    assert removal_plan("demo", gateway(), 90) == [
        DeleteDeployment("demo-gateway"),
        DeleteDeployment("demo-worker"),
        AwaitNoPods(90),
        DeleteNames(NAMED),
    ]


def test_what_never_was_valid_has_no_names() -> None:
    assert removal_plan("demo", None, 0) == [DeleteDeployment("demo-gateway"), DeleteDeployment("demo-worker")]
