"""What all reconcilers share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from litevoice_contracts.names import Names
from litevoice_operator.adapters.broker import Installed
from litevoice_operator.adapters.cluster import Cluster
from litevoice_operator.adapters.gateways import Gateways
from litevoice_operator.api.resolved import Defaults
from litevoice_operator.api.resource import Key
from litevoice_operator.decide.conditions import Problem
from litevoice_operator.reconcile.backlogs import Backlogs
from litevoice_operator.reconcile.outbox import Outbox
from litevoice_operator.reconcile.pod_cache import PodCache
from litevoice_operator.reconcile.resources import Resources


@dataclass(frozen=True, slots=True)
class GatewayView:
    """What alerts may see of a VoiceGateway; replaced as a whole by its own loop.

    Attributes:
        problem: why its backlogs cannot be measured; None when they can.
        names: topics and groups to measure, while they are at the broker.
    """

    problem: Problem | None
    names: Names | None
    backlogs: Backlogs


GatewayViews = Mapping[Key, GatewayView]


@dataclass(frozen=True, slots=True)
class Shared:
    cluster: Cluster
    resources: Resources
    gateways: Gateways
    pods: PodCache
    outbox: Outbox
    defaults: Defaults
    installed: Installed
    root_key: bytes = field(repr=False)
    views: dict[Key, GatewayView] = field(default_factory=dict)
