"""Why a pod's volumes cannot be mounted, from its Events."""

from __future__ import annotations

from typing import Any

import pytest

from litevoice_operator.api.voice_gateway import VoiceGatewaySpec
from litevoice_operator.observe.events import messages
from litevoice_operator.observe.mounts import added_volumes, mount_problem


def event(message: str, **when: str | None) -> dict[str, Any]:
    return {"message": message, **when}


KEYS = 'MountVolume.SetUp failed for volume "api-keys" : secret "keys" not found'
CA = 'MountVolume.SetUp failed for volume "broker-ca" : secret "ca" not found'
TOKEN = 'MountVolume.SetUp failed for volume "kube-api-access-x" : timed out'
THEIRS = 'MountVolume.SetUp failed for volume "models" : configmap "models" not found'
OWN = 'MountVolume.SetUp failed for volume "keys" : secret "demo-keys-1" not found'
KEYS_SAID = 'spec.auth.apiKeysSecret: secret "keys" not found'
CA_SAID = 'spec.rocketmq.caSecret: secret "ca" not found'


@pytest.mark.parametrize(
    ("description", "events", "problem"),
    [
        ("nothing happened", [], ""),
        ("the field is named", [event(KEYS, lastTimestamp="2026-01-01T00:00:00Z")], KEYS_SAID),
        (
            "the newest counts, however they are listed",
            [event(CA, lastTimestamp="2026-01-01T00:00:09Z"), event(KEYS, lastTimestamp="2026-01-01T00:00:01Z")],
            CA_SAID,
        ),
        (
            "newer Events have another time",
            [
                event(CA, lastTimestamp=None, eventTime="2026-01-01T00:00:09.000000Z"),
                event(KEYS, lastTimestamp="2026-01-01T00:00:01Z"),
            ],
            CA_SAID,
        ),
        (
            "a volume of the spec",
            [event(THEIRS, lastTimestamp="2026-01-01T00:00:01Z")],
            'spec.workers.pod.volumes[1]: configmap "models" not found',
        ),
        ("a volume that only the operator names", [event(OWN, lastTimestamp="2026-01-01T00:00:01Z")], ""),
        ("a volume that is not ours", [event(TOKEN, lastTimestamp="2026-01-01T00:00:01Z")], ""),
        ("another Event, one without a text", [event("Pulled image"), {}], ""),
    ],
)
def test_mount_problem(description: str, events: list[dict[str, Any]], problem: str) -> None:
    volumes = [{"name": "scratch", "emptyDir": {}}, {"name": "models", "configMap": {"name": "models"}}]
    spec = {"auth": {"apiKeysSecret": "keys"}, "workers": {"pod": {"volumes": volumes}}}
    added = added_volumes(VoiceGatewaySpec.model_validate(spec), "worker")
    assert mount_problem(messages(events), added) == problem, description
    assert added_volumes(VoiceGatewaySpec.model_validate(spec), "gateway") == {}
