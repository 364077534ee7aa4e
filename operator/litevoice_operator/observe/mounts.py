"""Which field of a VoiceGateway is behind a failing mount: the pod's Events name only the volume."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from litevoice_operator.api.voice_gateway import VoiceGatewaySpec

_FIELD_OF_VOLUME = {
    "api-keys": "spec.auth.apiKeysSecret",
    "broker": "spec.rocketmq.credentialsSecret",
    "broker-ca": "spec.rocketmq.caSecret",
    "transcriber-key": "spec.workers.pipeline.transcriber.openai.apiKeySecret",
    "responder-key": "spec.workers.pipeline.responder.openai.apiKeySecret",
    "synthesizer-key": "spec.workers.pipeline.synthesizer.openai.apiKeySecret",
}
_MOUNT_FAILED = re.compile(r'MountVolume\.SetUp failed for volume "([^"]+)"\s*:\s*(.+)', re.DOTALL)


def mount_problem(event_messages: Iterable[str], added: Mapping[str, str] = MappingProxyType({})) -> str:
    """The newest failure (messages: oldest first), with the field it is about; empty if none is about a volume of ours.
    `added`: of the volumes that the spec adds to the pod, the field by their name."""
    problem = ""
    for message in event_messages:
        if (match := _MOUNT_FAILED.search(message)) and (field := _field_of(match.group(1), added)):
            problem = f"{field}: {match.group(2).strip()}"
    return problem


def _field_of(volume: str, added: Mapping[str, str]) -> str | None:
    if numbered := re.fullmatch(r"secret-(\d+)", volume):
        return f"spec.workers.secrets[{numbered[1]}]"
    return _FIELD_OF_VOLUME.get(volume) or added.get(volume)


def added_volumes(spec: VoiceGatewaySpec, component: str) -> dict[str, str]:
    """Name → field."""
    pod, field = (spec.pod, "spec.pod") if component == "gateway" else (spec.workers.pod, "spec.workers.pod")
    return {volume.name: f"{field}.volumes[{index}]" for index, volume in enumerate(pod.volumes)}
