"""The operator's own Prometheus metrics; the names are in the contracts."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

from litevoice_contracts import metrics as names

ACTING = Gauge(names.OPERATOR_ACTING, "1 while this operator acts, 0 while it starts or stands by for another one")
BACKLOG = Gauge(
    names.OPERATOR_BACKLOG, "Messages waiting at the broker, as last measured", ["namespace", "gateway", "target"]
)
ALERTS_FIRING = Gauge(
    names.OPERATOR_ALERTS_FIRING, "1 while the alert is firing with this severity", ["namespace", "alert", "severity"]
)
ALERTS_BLIND = Gauge(
    names.OPERATOR_ALERTS_BLIND, "1 while broker or gateways do not answer for the alert", ["namespace", "alert"]
)
NOTIFICATIONS = Counter(
    names.OPERATOR_NOTIFICATIONS, "Requests to channels of alerts: sent or failed", ["channel", "outcome"]
)
STATUS_QUESTIONS = Counter(
    names.OPERATOR_STATUS_QUESTIONS,
    "Questions to pods for their status that may wait for a change: changed, unchanged, silent (no answer in time), "
    "older (the pod's release knows no such questions and is asked in each pass instead)",
    ["outcome"],
)
RECONCILES = Counter(names.OPERATOR_RECONCILES, "Reconciliations of custom resources", ["kind", "outcome"])
RECONCILE_SECONDS = Histogram(names.OPERATOR_RECONCILE_SECONDS, "Duration of a reconciliation in seconds", ["kind"])
