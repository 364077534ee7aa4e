"""The gateway's Prometheus metrics, under the names that the contracts fix."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from litevoice_contracts import metrics as names
from litevoice_gateway.commands import Observation
from litevoice_gateway.overload import REASONS, Full, Load

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """One registry per gateway, so that tests can run several in one process."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        self._found: dict[tuple[str, str], Counter | Histogram] = {}

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(name.removesuffix("_total"), text, labels, registry=registry)

        def seconds(name: str, text: str, *labels: str) -> Histogram:
            return Histogram(name, text, labels, buckets=_SECONDS, registry=registry)

        self.sessions = Gauge(names.GATEWAY_SESSIONS, "Sessions this pod owns.", registry=registry)
        self.capacity = Gauge(
            names.GATEWAY_CAPACITY, "Sessions that this pod may own (`session.maxPerPod`).", registry=registry
        )
        self.slow_readers = Gauge(
            names.GATEWAY_SLOW_READERS, "Sessions whose client reads too slowly.", registry=registry
        )
        self.connections = counter(
            names.GATEWAY_CONNECTIONS,
            "Upgrade requests: accepted, invalid (400, 404), unauthorized (401), forbidden (403), draining or "
            "unavailable (503), overload (closed with 1013), gone (the client had hung up by then).",
            "outcome",
        )
        self.refused = counter(
            names.GATEWAY_REFUSED,
            "Sessions refused with 1013, by what was full: sessions (`session.maxPerPod`), memory "
            "(`session.maxHeldMebibytes`), gateway_cpu (the event loop is late), worker_sessions (the workers are at "
            "their limit), worker_lag (workers are behind), worker_cpu (they use nearly all of it).",
            "reason",
        )
        self.full = Gauge(
            names.GATEWAY_FULL, "1 while the gateway takes no new sessions, by reason.", ["reason"], registry=registry
        )
        for reason in REASONS:
            self.full.labels(reason).set(0)
        self.held_bytes = Gauge(
            names.GATEWAY_HELD_BYTES, "Packets that wait for the broker or are kept for a replay.", registry=registry
        )
        self.busy = Gauge(names.GATEWAY_BUSY, "Share of its CPU that the gateway uses, 0 to 1.", registry=registry)
        self.loop_lag = Gauge(
            names.GATEWAY_LOOP_LAG_SECONDS, "How late the event loop is, averaged over some seconds.", registry=registry
        )
        self.worker_lag = Gauge(
            names.GATEWAY_WORKER_LAG_SECONDS,
            "How far the workers are behind; the largest of this gateway's partitions.",
            registry=registry,
        )
        self.status_answers = counter(
            names.GATEWAY_STATUS_ANSWERS,
            "Answers to questions for the status: changed, unchanged (since who asks was told last).",
            "outcome",
        )
        self.closes = counter(
            names.GATEWAY_CLOSES, "Close frames sent, by close code; other: only clients use it.", "code"
        )
        self.client_events = counter(names.GATEWAY_CLIENT_EVENTS, "Client events accepted, by their type.", "type")
        self.client_errors = counter(
            names.GATEWAY_CLIENT_ERRORS, "Client events answered with an error, by its code.", "code"
        )
        self.packets = counter(names.GATEWAY_PACKETS, "Packets confirmed by the broker.")
        self.packets_lost = counter(
            names.GATEWAY_PACKETS_LOST, "Packets read from clients but never confirmed by the broker."
        )
        self.events_sent = counter(names.GATEWAY_EVENTS_SENT, "Events sent to clients.")
        self.takeovers = counter(names.GATEWAY_TAKEOVERS, "Sessions resumed on this pod.")
        self.takeover_seconds = seconds(
            names.GATEWAY_TAKEOVER_SECONDS, "Time from the upgrade of a resumed session until it is restored."
        )
        self.evictions = counter(names.GATEWAY_EVICTIONS, "Sessions lost to a newer connection (close code 4001).")
        self.probes = counter(
            names.GATEWAY_PROBES,
            "Times a worker was asked about an open turn: one that was silent, or that of a session taken over.",
        )
        self.replays = counter(names.GATEWAY_REPLAYS, "Open turns replayed to a worker.")
        self.given_up = counter(names.GATEWAY_GIVEN_UP, "Open turns given up after attempts from which nothing came.")
        self.dropped = counter(
            names.GATEWAY_DROPPED,
            "Dropped: retained_packets (older than retainedSeconds), stale_attempt (replies of a replayed turn's "
            "earlier attempt), repeated (a reply that the broker has twice), bad_envelope (unreadable).",
            "what",
        )
        self.bundles = counter(names.GATEWAY_BUNDLES, "Messages confirmed by the broker, each for one partition.")
        self.envelopes = counter(names.GATEWAY_ENVELOPES, "Envelopes in those messages, each of one session.")
        self.publish_seconds = seconds(
            names.GATEWAY_PUBLISH_SECONDS, "Time from handing a bundle to the producer until the broker confirms it."
        )
        self.uplink_seconds = seconds(
            names.GATEWAY_UPLINK_SECONDS,
            "Client to broker: from reading a client's packet until the broker confirms it; one packet of each session "
            "in a second.",
        )
        self.delivery_seconds = seconds(
            names.GATEWAY_DELIVERY_SECONDS,
            "Worker to client: from the worker's sending of a message until it is given to the client's connection, by "
            "the clocks of both; not of what a session that has moved is restored from.",
        )
        self.broker_send_seconds = seconds(names.BROKER_SEND_SECONDS, "Send requests: fifo or lite.", "kind")
        self.broker_send_errors = counter(names.BROKER_SEND_ERRORS, "Failed send requests: fifo or lite.", "kind")
        self.broker_reconnects = counter(names.BROKER_RECONNECTS, "Reconnections to a proxy.")
        self.broker_heals = counter(names.BROKER_HEALS, "Takeovers repeated because a position was missing.")

    def observe(self, what: Observation, label: str, amount: float) -> None:
        """Carries `commands.Observe` out. Each label is looked up once: this is the hot path."""
        metric = self._found.get((what, label))
        if metric is None:
            named: Counter | Histogram = getattr(self, what)
            metric = self._found[what, label] = named.labels(label) if label else named
        if isinstance(metric, Counter):
            metric.inc(amount)
        else:
            metric.observe(amount)

    def load(self, load: Load, full: Full) -> None:
        self.held_bytes.set(load.held_bytes)
        self.busy.set(load.busy)
        self.loop_lag.set(load.loop_lag_seconds)
        self.worker_lag.set(load.worker_lag_seconds)
        for reason in REASONS:
            self.full.labels(reason).set(reason == full)

    def render(self) -> bytes:
        """The text exposition format."""
        return generate_latest(self.registry)

    # litevoice_broker.observing.Observer

    def on_send(self, kind: str, seconds: float, messages: int) -> None:  # noqa: ARG002 - the protocol's signature
        self.broker_send_seconds.labels(kind).observe(seconds)

    def on_send_error(self, kind: str) -> None:
        self.broker_send_errors.labels(kind).inc()

    def on_reconnect(self) -> None:
        self.broker_reconnects.inc()

    def on_heal(self) -> None:
        self.broker_heals.inc()
