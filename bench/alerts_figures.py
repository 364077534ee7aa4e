"""What alerts are held against. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from bench.figures import Figure, percentile

CROSSING_SECONDS = 5.0
FOUND_SECONDS = 10.0
POLLING_PERCENT = 3.0
OPERATOR_MEBIBYTES = 150.0
RATIO = 0.1
"""Of the broker's CPU for one look at everything, to that of a peer who asks about each LiteTopic."""


@dataclass
class Measured:
    """Times in seconds.

    Attributes:
        crossings: of callers who do not read, from the broker's confirmation of the message that crosses the threshold
            until Alertmanager fires; unheld_crossings: the same for LiteTopics that no gateway has.
        false_alarms: what Alertmanager had when nothing was over a threshold.
        rollouts: of a gateway; answers: that callers had meanwhile.
        planted: fault → how many; found: fault → how many of them were told of; found_after: fault → how long it took
            until all were, None when some never were.
        idle_cores, polling_cores: CPU of the broker without alerts, and with.
        sweep_cpu, peer_cpu: CPU seconds of the broker for one look at everything: ours, and one call per LiteTopic.
        operator_mebibytes: while it polls.
    """

    crossings: list[float] = field(default_factory=list)
    unheld_crossings: list[float] = field(default_factory=list)
    false_alarms: list[str] = field(default_factory=list)
    rollouts: int = 0
    answers: int = 0
    planted: dict[str, int] = field(default_factory=dict)
    found: dict[str, int] = field(default_factory=dict)
    found_after: dict[str, float | None] = field(default_factory=dict)
    idle_cores: float = 0.0
    polling_cores: float = 0.0
    sweep_cpu: float = 0.0
    peer_cpu: float = 0.0
    operator_mebibytes: float = 0.0


def figures(measured: Measured) -> list[Figure]:
    polling = max(0.0, measured.polling_cores - measured.idle_cores) * 100
    ratio = measured.sweep_cpu / measured.peer_cpu if measured.peer_cpu > 0 else None
    return [
        Figure("crossing → Alertmanager, p50", percentile(measured.crossings, 50), "s"),
        Figure("crossing → Alertmanager, p99", percentile(measured.crossings, 99), "s", CROSSING_SECONDS),
        Figure("the same where no gateway has the session, p50", percentile(measured.unheld_crossings, 50), "s"),
        Figure("false alarms", len(measured.false_alarms), "", 0, note="; ".join(measured.false_alarms[:3])),
        Figure(f"answers during {measured.rollouts} rollouts", measured.answers),
        *(
            Figure(
                f"{fault}: all {count} found after",
                measured.found_after.get(fault),
                "s",
                FOUND_SECONDS,
                note=f"{measured.found.get(fault, 0)} found",
            )
            for fault, count in measured.planted.items()
        ),
        Figure("broker, CPU for polling", polling, "% of a core", POLLING_PERCENT),
        Figure("broker, CPU of a look at everything", measured.sweep_cpu * 1000, "ms"),
        Figure("the same, one call per LiteTopic (peer)", measured.peer_cpu * 1000, "ms"),
        Figure("ours / peer", ratio, "", RATIO),
        Figure("operator, memory", measured.operator_mebibytes, "MiB", OPERATOR_MEBIBYTES),
    ]
