"""The example BacklogAlerts: what they say when a backlog grows, and when it is gone."""

from __future__ import annotations

import asyncio
from typing import Any

from e2e.environment import NAMESPACE
from e2e.shell import kubectl, kubectl_json, wait_until
from litevoice_dev.scenarios.place import Show
from litevoice_operator.api.backlog_alert import Culprit

REPLIES_ALERT, REQUESTS_ALERT = "demo-replies", "demo-requests"
FIRING_TIMEOUT_SECONDS = 150.0


class AlertWatch:
    """Waits for one BacklogAlert.

    Attributes:
        firing: its status when it fired.
        kubernetes_events: the Events about it then, oldest first: `<type> <reason> <message>`.
        cleared: its status when it fired no longer.
    """

    def __init__(self, name: str, show: Show) -> None:
        self.name = name
        self._show = show
        self.firing: dict[str, Any] = {}
        self.kubernetes_events: list[str] = []
        self.cleared: dict[str, Any] = {}

    async def seen(self, _session_id: str) -> list[Culprit]:
        self.firing = await asyncio.to_thread(self._wait_for_state, "Firing")
        self.kubernetes_events = await asyncio.to_thread(self._read_events)
        shown = await asyncio.to_thread(kubectl, "get", "bla", "-n", NAMESPACE, "-o", "wide")
        self._show(shown.rstrip())
        status = self.firing
        self._show(f"{self.name}: {status.get('state')} {status.get('severity')}, value {status.get('value')}")
        for event in self.kubernetes_events[-3:]:
            self._show(f"  Event: {event}")
        return [Culprit.model_validate(entry) for entry in status["top"]]

    async def gone(self, _session_id: str) -> None:
        self.cleared = await asyncio.to_thread(self._wait_for_state, "Inactive")
        self._show(f"  {self.name} is {self.cleared['state']} again")

    def _wait_for_state(self, state: str) -> dict[str, Any]:
        def look() -> dict[str, Any]:
            status: dict[str, Any] = kubectl_json("get", "bla", "-n", NAMESPACE, self.name).get("status", {})
            return status if status.get("state") == state and (state != "Firing" or status.get("top")) else {}

        return dict(wait_until(look, FIRING_TIMEOUT_SECONDS, f"BacklogAlert {self.name} is {state}"))

    def _read_events(self) -> list[str]:
        selector = f"involvedObject.name={self.name}"
        items = kubectl_json("get", "events", "-n", NAMESPACE, "--field-selector", selector)["items"]
        items.sort(key=lambda e: e.get("lastTimestamp") or e.get("eventTime") or "")
        return [f"{e['type']} {e['reason']} {e['message']}" for e in items]
