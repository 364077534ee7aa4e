"""The worker's Prometheus metrics; names from the contracts."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from litevoice_contracts import metrics as names
from litevoice_contracts.watching import Outcome
from litevoice_worker.commands import Count
from litevoice_worker.stages.model_calls import ERROR_KINDS, CalledStage, ErrorKind, ModelCalls, Retry, Target
from litevoice_worker.unheard import Unheard

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_MODEL_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_MODEL = ("stage", "endpoint", "model")


class Metrics:
    """One registry with everything; also the broker client's observer."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._counters = {
            name: Counter(name, text, labels, registry=self.registry)
            for name, text, labels in (
                (
                    names.WORKER_WINDOWS,
                    "Windows of 32 ms: heard by the network, or gated (not louder than the noise).",
                    ("way",),
                ),
                (names.WORKER_PACKETS, "Packets applied.", ()),
                (names.WORKER_DUPLICATES, "Packets received more than once and dropped.", ()),
                (names.WORKER_GAPS, "Gaps: missing packets that were requested again.", ()),
                (names.WORKER_TURNS, "Responses ended: completed, cancelled, incomplete or failed.", ("outcome",)),
                (
                    names.WORKER_RECOGNIZER_DEATHS,
                    "Processes of the built-in recognizer that crashed or hung; each failed one utterance.",
                    ("how",),
                ),
                (
                    names.WORKER_PLUGIN_DEATHS,
                    "Processes of plug-ins that crashed, hung (their event loop stood still) or grew (beyond their "
                    "memory); each was started again.",
                    ("stage", "plugin", "how"),
                ),
                (
                    names.WORKER_MODEL_ERRORS,
                    "Failed calls of model endpoints: timeout, unreachable, unauthorized (401, 403), throttled (429), "
                    "refused (another 4xx), failing (5xx), broken (the answer is none, or ends early), paused (not "
                    "made: it has failed too often).",
                    (*_MODEL, "kind"),
                ),
                (
                    names.WORKER_MODEL_RETRIES,
                    "Calls of model endpoints that were not the first choice: again (it has failed at the same thing "
                    "before), elsewhere (another endpoint is preferred).",
                    (*_MODEL, "how"),
                ),
                (
                    names.WORKER_MODEL_TOKENS,
                    "Tokens of answers, as their endpoints count them: input, output.",
                    ("endpoint", "model", "kind"),
                ),
                (
                    names.WORKER_STATUS_ANSWERS,
                    "Answers to questions for the status: changed, unchanged (since who asks was told last).",
                    ("outcome",),
                ),
                (names.WORKER_REPLIES, "Messages published to sessions.", ()),
                (
                    names.WORKER_DROPPED,
                    "Dropped: conversation_items (the oldest, beyond what a snapshot holds), sessions (idle, to make "
                    "room), refused_envelopes (beyond maxSessions; the gateway closes the session), bad_envelope "
                    "(unreadable), news (what a gateway was to be told, beside replies; the broker did not take it).",
                    ("what",),
                ),
            )
        }
        self._first_audio = Histogram(
            names.WORKER_FIRST_AUDIO_SECONDS,
            "Time from the end of an utterance to the first audio of its answer.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._arrival = Histogram(
            names.WORKER_ARRIVAL_SECONDS,
            "Gateway to worker: from the gateway's sending of a bundle until it is applied, by the clocks of both.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        stages = Histogram(
            names.WORKER_STAGE_SECONDS,
            "One call of a stage: vad (and its wait for other sessions), turn (its detector), asr, respond (until the "
            "first sentence), tts (until the first audio).",
            ("stage",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._model_calls = Histogram(
            names.WORKER_MODEL_CALL_SECONDS,
            "Calls of model endpoints that were answered: until the answer was there, for respond until its first "
            "piece. Stages: turn, asr, respond, tts.",
            _MODEL,
            buckets=_MODEL_SECONDS,
            registry=self.registry,
        )
        self._batch_rows = Histogram(
            names.WORKER_BATCH_ROWS,
            "Sessions whose next windows the network heard together.",
            buckets=(1, 2, 4, 8, 16, 32),
            registry=self.registry,
        )
        self._unheard_seconds = Gauge(
            names.WORKER_UNHEARD_SECONDS, "Audio that waits for the network.", registry=self.registry
        )
        self._unheard_bytes = Gauge(
            names.WORKER_UNHEARD_BYTES, "Audio that waits for the network or for a transcript.", registry=self.registry
        )
        self.busy = Gauge(names.WORKER_BUSY, "Share of its CPU that the worker uses, 0 to 1.", registry=self.registry)
        self.sessions = Gauge(names.WORKER_SESSIONS, "Sessions in memory.", registry=self.registry)
        self.capacity = Gauge(
            names.WORKER_CAPACITY, "Sessions that may be in memory (`workers.maxSessions`).", registry=self.registry
        )
        self.partitions = Gauge(names.WORKER_PARTITIONS, "Partitions owned.", registry=self.registry)
        self._send = Histogram(
            names.BROKER_SEND_SECONDS,
            "Send requests: fifo or lite.",
            ("kind",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._send_errors = Counter(
            names.BROKER_SEND_ERRORS, "Failed send requests: fifo or lite.", ("kind",), registry=self.registry
        )
        self._reconnects = Counter(names.BROKER_RECONNECTS, "Reconnections to a proxy.", registry=self.registry)
        self._heals = Counter(
            names.BROKER_HEALS, "Takeovers repeated because a position was missing.", registry=self.registry
        )
        self._stages = {stage: stages.labels(stage) for stage in ("vad", "turn", "asr", "respond", "tts")}
        self._heard = self._counters[names.WORKER_WINDOWS].labels("heard")
        for how in ("crashed", "hung"):
            self._counters[names.WORKER_RECOGNIZER_DEATHS].labels(how)
        for what in ("conversation_items", "bad_envelope", "sessions", "refused_envelopes", "news"):
            self._counters[names.WORKER_DROPPED].labels(what)

    def count(self, count: Count) -> None:
        """Counts what a state machine asks for."""
        if count.metric == names.WORKER_FIRST_AUDIO_SECONDS:
            self._first_audio.observe(count.amount)
            return
        counter = self._counters[count.metric]
        (counter.labels(count.label) if count.label else counter).inc(count.amount)

    def arrived(self, seconds: float) -> None:
        """A bundle was applied, so long after its gateway has sent it."""
        self._arrival.observe(seconds)

    def stage(self, stage: str, seconds: float) -> None:
        """`stage`: vad, turn, asr, respond (until the first sentence) or tts (until the first audio)."""
        self._stages[stage].observe(seconds)

    def heard(self, rows: int, steps: int) -> None:
        """The network heard the next windows of so many sessions, so many of each."""
        self._heard.inc(rows * steps)
        self._batch_rows.observe(rows)

    def status_answered(self, outcome: Outcome) -> None:
        self._counters[names.WORKER_STATUS_ANSWERS].labels(outcome).inc()

    def plugin_died(self, stage: str, plugin: str, how: str) -> None:
        self._counters[names.WORKER_PLUGIN_DEATHS].labels(stage, plugin, how).inc()

    def watch_models(self, calls: ModelCalls) -> None:
        """Their errors are counted from 0 on."""
        calls.observer = self
        for target in calls.targets:
            for kind in ERROR_KINDS:
                self._counters[names.WORKER_MODEL_ERRORS].labels(calls.stage, target.name, target.model, kind)

    # litevoice_worker.stages.model_calls.ModelObserver

    def model_called(self, stage: CalledStage, target: Target, seconds: float) -> None:
        self._model_calls.labels(stage, target.name, target.model).observe(seconds)

    def model_failed(self, stage: CalledStage, target: Target, kind: ErrorKind) -> None:
        self._counters[names.WORKER_MODEL_ERRORS].labels(stage, target.name, target.model, kind).inc()

    def model_retried(self, stage: CalledStage, target: Target, how: Retry) -> None:
        self._counters[names.WORKER_MODEL_RETRIES].labels(stage, target.name, target.model, how).inc()

    def model_used(self, target: Target, read: int, written: int) -> None:
        counter = self._counters[names.WORKER_MODEL_TOKENS]
        counter.labels(target.name, target.model, "input").inc(read)
        counter.labels(target.name, target.model, "output").inc(written)

    def watch(self, unheard: Unheard) -> None:
        self._unheard_seconds.set_function(lambda: unheard.seconds)
        self._unheard_bytes.set_function(lambda: unheard.bytes)

    # litevoice_broker.observing.Observer

    def on_send(self, kind: str, seconds: float, messages: int) -> None:
        self._send.labels(kind).observe(seconds)
        if kind == "lite":
            self._counters[names.WORKER_REPLIES].inc(messages)

    def on_send_error(self, kind: str) -> None:
        self._send_errors.labels(kind).inc()

    def on_reconnect(self) -> None:
        self._reconnects.inc()

    def on_heal(self) -> None:
        self._heals.inc()
