"""Everything seen of a VoiceGateway in one pass."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from litevoice_contracts.control import GatewayStatus
from litevoice_operator.api.labels import COMPONENT_LABEL
from litevoice_operator.api.voice_gateway_status import LastDrain
from litevoice_operator.observe.pods import Pod
from litevoice_operator.observe.rollouts import Rollout, read_rollout


@dataclass(frozen=True, slots=True)
class Observed:
    """Attributes:
    answers: the gateways' own statuses, by pod name.
    mount_problems: why pods cannot start, by pod name.
    last_drain: newest report that a gateway left when it ended.
    """

    gateways: Rollout = field(default_factory=Rollout)
    workers: Rollout = field(default_factory=Rollout)
    pods: Sequence[Pod] = ()
    answers: Mapping[str, GatewayStatus] = field(default_factory=dict)
    mount_problems: Mapping[str, str] = field(default_factory=dict)
    last_drain: LastDrain | None = None

    def after(self, applied: Iterable[Mapping[str, Any]]) -> Observed:
        """The same with the Deployments as just applied: a changed one is not settled, whatever was seen before."""
        found = {
            body["metadata"]["labels"][COMPONENT_LABEL]: read_rollout(body)
            for body in applied
            if body["kind"] == "Deployment"
        }
        return replace(self, gateways=found.get("gateway", self.gateways), workers=found.get("worker", self.workers))
