"""What the operator makes of a VoiceGateway: a ReplicaSet per revision, and how many pods may be evicted."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from litevoice_operator.api.labels import REVISION_LABEL, TEMPLATE_HASH_ANNOTATION
from litevoice_operator.manifests import all_manifests
from tests.unit.operator.test_manifests import KEYS, controller, gateway, made


def test_a_revision_of_gateways_is_a_replica_set_of_its_own() -> None:
    """Its name, its selector and its pods' labels tell it from the others; the hash in them does not count itself."""
    first, second = controller(made(), "gateway"), controller(made(logLevel="debug"), "gateway")
    assert first["metadata"]["name"] != second["metadata"]["name"]
    for one in (first, second):
        template, bears = one["spec"]["template"]["metadata"], one["metadata"]["labels"][REVISION_LABEL]
        assert one["metadata"]["name"] == f"demo-gateway-{bears}"
        assert bears == template["annotations"][TEMPLATE_HASH_ANNOTATION][:10]
        assert one["spec"]["selector"]["matchLabels"].items() <= template["labels"].items()
        assert one["spec"]["selector"]["matchLabels"][REVISION_LABEL] == bears


BUDGETS: list[tuple[str, dict[str, Any], bool, str, dict[str, Any]]] = [
    ("one at a time", {}, False, "gateway", {"maxUnavailable": 1}),
    ("a share of them", {"pod": {"maxUnavailablePercent": 20}}, False, "gateway", {"maxUnavailable": "20%"}),
    ("alone: only beside another one", {"pod": {"maxUnavailablePercent": 20}}, True, "gateway", {"minAvailable": 1}),
    ("workers", {"workers": {"pod": {"maxUnavailablePercent": 30}}}, True, "worker", {"maxUnavailable": "30%"}),
]


@pytest.mark.parametrize(("description", "spec", "alone", "component", "budget"), BUDGETS,
                         ids=[row[0] for row in BUDGETS])  # fmt: skip
def test_how_many_may_be_evicted(
    description: str, spec: dict[str, Any], alone: bool, component: str, budget: dict[str, Any]
) -> None:
    manifests = all_manifests(replace(gateway(**spec), alone=alone), KEYS)
    (found,) = [
        one["spec"] for one in manifests
        if (one["kind"], one["metadata"]["name"]) == ("PodDisruptionBudget", f"demo-{component}")
    ]  # fmt: skip
    assert {key: value for key, value in found.items() if key != "selector"} == budget
