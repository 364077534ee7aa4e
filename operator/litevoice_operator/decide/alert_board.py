"""What an Alertmanager is told, again and again: alerts that fire, and for a while those that do no longer.

Alertmanager forgets what is not sent again, and takes an alert that nobody mentions for resolved once its `endsAt` has
passed; so a firing one is always sent with an end in the near future, and a resolved one with the end that it had.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, replace

from litevoice_operator.api.times import within

RESOLVED_SECONDS = 300.0
"""How long a resolved alert is sent."""
ENDS_AFTER_INTERVALS = 3
HELD_SECONDS = 60.0
"""How long the alert of a pod goes on while others of the same BacklogAlert fire: which pods are the worst, and whether
they are told as one, changes from look to look."""
MAX_ALERTS = 2000
"""At one time, of all BacklogAlerts; more are left out."""


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert as Alertmanager knows it: by its labels. `starts_at`: Unix seconds."""

    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    starts_at: float

    @property
    def identity(self) -> tuple[tuple[str, str], ...]:
        return tuple(sorted(self.labels.items()))

    @property
    def of_all_pods(self) -> tuple[tuple[str, str], ...]:
        return tuple(label for label in self.identity if label[0] != "pod")


@dataclass(frozen=True, slots=True)
class Sent:
    """`ends_at`: Unix seconds; in the past once it is resolved."""

    alert: Alert
    ends_at: float


class Board:
    """The alerts of one channel, by who raises them."""

    def __init__(self) -> None:
        self._firing: dict[Hashable, dict[Hashable, tuple[Alert, float]]] = {}
        """And when it was put last."""
        self._resolved: dict[Hashable, Sent] = {}

    def put(self, owner: Hashable, alerts: Iterable[Alert], now: float, why: str = "") -> bool:
        """All alerts of `owner`; those that it had and has no longer are resolved. True when there is news, so that
        nobody waits for the next round. `why`: it is told no longer, which is another thing than that it is over."""
        before = self._firing.pop(owner, {})
        after: dict[Hashable, tuple[Alert, float]] = {alert.identity: (alert, now) for alert in alerts}
        kinds = {alert.of_all_pods for alert, _ in after.values()}
        for identity, (alert, at) in before.items():
            if identity not in after and alert.of_all_pods in kinds and within(HELD_SECONDS, at, now):
                after[identity] = alert, at
        room = MAX_ALERTS - sum(map(len, self._firing.values()))
        after = dict(list(after.items())[: max(0, room)])
        for identity in after:
            self._resolved.pop(identity, None)
        text = {"summary": why} if why else {}
        over = {
            identity: Sent(replace(alert, annotations={**alert.annotations, **text}), now)
            for identity, (alert, _) in before.items()
            if identity not in after
        }
        self._resolved |= over
        while len(self._resolved) > MAX_ALERTS:
            del self._resolved[next(iter(self._resolved))]
        if after:
            self._firing[owner] = after
        return bool(over) or before.keys() != after.keys()

    def due(self, now: float, interval_seconds: float) -> list[Sent]:
        """What is to be sent in this round; rounds come every `interval_seconds`."""
        self._resolved = {
            identity: replace(sent, ends_at=min(sent.ends_at, now))  # the clock may have been set back
            for identity, sent in self._resolved.items()
            if now - sent.ends_at < RESOLVED_SECONDS
        }
        ends_at = now + ENDS_AFTER_INTERVALS * interval_seconds
        firing = [Sent(alert, ends_at) for alerts in self._firing.values() for alert, _ in alerts.values()]
        return firing + list(self._resolved.values())
