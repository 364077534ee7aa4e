"""What a storm says: raw measurements in, figures out. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bench.figures import Figure, percentile
from bench.proc import Sample

Load = Mapping[str, Any]


def since(killed_at: float, load: Load, event: str) -> list[float]:
    """Seconds from the kill to that event (``created_at``, ``live_at`` …) of each session that came back."""
    return [session[event] - killed_at for session in load["returned"]]


def attempt(load: Load) -> list[float]:
    """Seconds that the last attempt of each session took, from its TCP connection to the missing event."""
    return [session["live_at"] - session["tried_at"] for session in load["returned"]]


def cores(samples: Sequence[Sample], part: str) -> float:
    """That part's CPU over all of `samples`."""
    seconds = samples[-1].at - samples[0].at
    return (samples[-1].parts.get(part, 0.0) - samples[0].parts.get(part, 0.0)) / seconds if seconds else 0.0


def during(samples: Sequence[Sample], until: float) -> list[Sample]:
    """From the kill to the first sample after `until` (seconds since the first)."""
    later = [index for index, sample in enumerate(samples) if sample.at - samples[0].at >= until]
    return list(samples[: later[0] + 1] if later else samples)


def figures(sessions: int, killed_at: float, load: Load, samples: Sequence[Sample]) -> list[Figure]:
    """`load`: the load generator's result; `samples`: since the kill."""
    live = since(killed_at, load, "live_at")
    all_live = max(live) if len(live) == sessions else None
    storm = during(samples, max(live, default=0.0))
    elapsed = storm[-1].at - storm[0].at or 1.0
    machine = storm[-1].machine - storm[0].machine
    ours = sum(storm[-1].parts.values()) - sum(storm[0].parts.values())
    tries = sum(session["attempts"] for session in load["returned"])
    failures = sorted(load["failures"].items(), key=lambda failure: -failure[1])
    return [
        Figure("kill → all sessions are live", all_live, "s", 15, 5),
        Figure("sessions lost", sessions - len(live), "", 0, note=", ".join(sorted(set(load["lost"])))[:60]),
        Figure(
            "sessions that did not go on afterwards",
            len(load["dropped"]),
            "",
            0,
            note=", ".join(sorted(set(load["dropped"])))[:60],
        ),
        Figure("kill → live, p50", percentile(live, 50), "s"),
        Figure("kill → live, p99", percentile(live, 99), "s"),
        Figure("kill → session.created, p50", percentile(since(killed_at, load, "created_at"), 50), "s"),
        Figure("last attempt → live, p50", percentile(attempt(load), 50), "s"),
        Figure("last attempt → live, p99", percentile(attempt(load), 99), "s"),
        Figure(
            "attempts per session",
            tries / len(live) if live else None,
            "",
            note=f"{failures[0][1]} times {failures[0][0]}"[:70] if failures else "",
        ),
        *(
            Figure(f"{part} CPU until then", cores(storm, part), "cores")
            for part in ("gateway", "worker", "broker", "proxy", "load generator")
        ),
        Figure("CPU of other programs until then", max(0.0, machine - ours) / elapsed, "cores", note="not ours"),
    ]
