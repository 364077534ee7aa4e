"""What all reconcilers share."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from litevoice_contracts.names import Names
from litevoice_operator.adapters.broker import Installed
from litevoice_operator.adapters.cluster import Cluster
from litevoice_operator.adapters.gateways import Gateways
from litevoice_operator.api.backlog_alert import BacklogAlertStatus
from litevoice_operator.api.resolved import Defaults
from litevoice_operator.api.resource import Key
from litevoice_operator.decide.conditions import Problem
from litevoice_operator.decide.notifications import EventText
from litevoice_operator.reconcile.backlogs import Backlogs, Walks
from litevoice_operator.reconcile.nodes import Nodes
from litevoice_operator.reconcile.notifier import Notifier
from litevoice_operator.reconcile.outbox import Outbox
from litevoice_operator.reconcile.pod_cache import PodCache
from litevoice_operator.reconcile.polls import Polls
from litevoice_operator.reconcile.resources import Resources
from litevoice_operator.reconcile.set_cache import SetCache
from litevoice_operator.reconcile.turns import Turns


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
class ShownAlert:
    """A BacklogAlert as last decided. `gateway`, `target`: "" while its spec cannot be read."""

    gateway: str
    target: str
    status: BacklogAlertStatus


@dataclass(frozen=True, slots=True)
class Shared:
    """Attributes:
    acting: set while this operator, and no other, may act.
    alerts: for people who look; each put there by its own loop.
    """

    cluster: Cluster
    resources: Resources
    gateways: Gateways
    polls: Polls
    pods: PodCache
    outbox: Outbox[EventText]
    turns: Turns
    nodes: Nodes
    notifier: Notifier
    defaults: Defaults
    installed: Installed
    root_key: bytes = field(repr=False)
    acting: asyncio.Event
    views: dict[Key, GatewayView] = field(default_factory=dict)
    alerts: dict[Key, ShownAlert] = field(default_factory=dict)
    sets: SetCache = field(default_factory=SetCache)
    walks: Walks = field(default_factory=Walks)

    def chosen(self, namespace: str, name: str) -> list[tuple[Key, GatewayView]]:
        """VoiceGateways of that namespace and name; "": of any."""
        return [
            (key, view)
            for key, view in sorted(self.views.items(), key=lambda item: item[0])
            if namespace in ("", key[0]) and name in ("", key[1])
        ]
