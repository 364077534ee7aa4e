"""Which field of a VoiceGateway is behind a failing mount: the pod's Events name only the volume."""

from __future__ import annotations

import re
from collections.abc import Iterable

_FIELD_OF_VOLUME = {
    "api-keys": "spec.auth.apiKeysSecret",
    "broker": "spec.rocketmq.credentialsSecret",
    "broker-ca": "spec.rocketmq.caSecret",
    "transcriber-key": "spec.workers.pipeline.transcriber.openai.apiKeySecret",
    "responder-key": "spec.workers.pipeline.responder.openai.apiKeySecret",
    "synthesizer-key": "spec.workers.pipeline.synthesizer.openai.apiKeySecret",
}
_MOUNT_FAILED = re.compile(r'MountVolume\.SetUp failed for volume "([^"]+)"\s*:\s*(.+)', re.DOTALL)


def mount_problem(event_messages: Iterable[str]) -> str:
    """The newest failure (messages: oldest first), with the field it is about; empty if none is about our volumes."""
    problem = ""
    for message in event_messages:
        if (match := _MOUNT_FAILED.search(message)) and (field := _FIELD_OF_VOLUME.get(match.group(1))):
            problem = f"{field}: {match.group(2).strip()}"
    return problem
