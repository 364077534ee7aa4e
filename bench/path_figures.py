"""What one run of the whole path says: raw measurements in, figures out. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.figures import Figure, percentile
from bench.proc import Sample

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Window:
    """What was counted between begin and end of the measurement.

    Attributes:
        up_per_second: messages in the partitions' topics, at the broker.
        down_per_second: messages in all other topics, at the broker.
        memory: bytes by part, at the end.
    """

    began: Sample
    ended: Sample
    up_per_second: float
    down_per_second: float
    replays: float
    dropped: float
    memory: Mapping[str, int]

    @property
    def seconds(self) -> float:
        return self.ended.at - self.began.at

    def cpu(self, *parts: str) -> float:
        """Seconds of CPU of these parts."""
        return sum(self.ended.parts.get(part, 0.0) - self.began.parts.get(part, 0.0) for part in parts)

    @property
    def foreign_cpu(self) -> float:
        """Seconds of CPU of everything on the machine that does not belong to the measurement."""
        return max(0.0, self.ended.machine - self.began.machine - self.cpu(*self.ended.parts))


def waits(answers: Sequence[Mapping[str, Any]], event: str) -> list[float]:
    """Milliseconds until that event of each answer; for a question without it, how long its caller has waited."""
    return [answer["waited_ms"] if answer[event] is None else answer[event] for answer in answers]


def reply_bar(microphones: int) -> tuple[float | None, float | None]:
    """Bar and goal in milliseconds for p99 of typed replies, with so many open microphones."""
    bar = 300.0 if microphones <= 200 else 1000.0 if microphones <= 400 else None
    goal = 300.0 if microphones <= 500 else 1000.0 if microphones <= 800 else None
    return bar, goal


def figures(microphones: int, load: Mapping[str, Any], window: Window) -> list[Figure]:
    """`load`: the load generator's result."""
    typed, spoken = waits(load["typed"], "done_ms"), waits(load["spoken"], "first_ms")
    unanswered = sum(answer["done_ms"] is None for answer in (*load["typed"], *load["spoken"]))
    bar, goal = reply_bar(microphones)
    by_ear = microphones <= 100
    frames = load["frames"] or 1
    return [
        Figure("typed question → response.done, p50", percentile(typed, 50), "ms", note=f"{len(typed)} questions"),
        Figure("typed question → response.done, p99", percentile(typed, 99), "ms", bar, goal),
        Figure("typed question → first event, p99", percentile(waits(load["typed"], "first_ms"), 99), "ms"),
        Figure(
            "mouth to echo, p50",
            percentile(spoken, 50),
            "ms",
            250 if by_ear and spoken else None,
            150 if by_ear and spoken else None,
            note=f"{len(spoken)} words",
        ),
        Figure(
            "mouth to echo, p99",
            percentile(spoken, 99),
            "ms",
            400 if by_ear and spoken else None,
            250 if by_ear and spoken else None,
        ),
        Figure("questions without an answer", unanswered, "", 0),
        Figure("connections lost", len(load["lost"]), "", 0, note=", ".join(sorted(set(load["lost"])))[:60]),
        Figure("turns replayed", window.replays, "", 0),
        Figure("events dropped by the gateway", window.dropped, "", 0),
        Figure("frames per second", load["frames"] / load["seconds"], "/s"),
        Figure("gateway CPU per frame", window.cpu("gateway") * 1e6 / frames, "µs", 35),
        Figure("worker CPU per frame", window.cpu("worker") * 1e6 / frames, "µs", note="questions and words included"),
        Figure("gateway CPU", window.cpu("gateway") / window.seconds, "cores"),
        Figure("worker CPU", window.cpu("worker") / window.seconds, "cores"),
        Figure("RocketMQ CPU", window.cpu("broker", "proxy", "name server") / window.seconds, "cores"),
        Figure("messages up", round(window.up_per_second), "/s", 160),
        Figure("messages down", window.down_per_second, "/s"),
        Figure("gateway memory", window.memory.get("gateway", 0) / MIB, "MiB"),
        Figure("worker memory", window.memory.get("worker", 0) / MIB, "MiB"),
        Figure("load generator CPU per frame", load["cpu_seconds"] * 1e6 / frames, "µs"),
        Figure(
            "frames sent late, p99", load["frames_late_ms"][1], "ms", 20, note="above it, the load was not the load"
        ),
        Figure("CPU of other programs", window.foreign_cpu / window.seconds, "cores", note="not ours"),
    ]
