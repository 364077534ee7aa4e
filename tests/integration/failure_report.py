"""What a person needs beside a failed assertion: the last lines of each process, sessions with positions, counters."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

from litevoice_contracts.control import METRICS_PATH, SESSIONS_PATH
from litevoice_dev import processes

LINES_SHOWN = 25
SESSIONS_SHOWN = 20
LINE_LENGTH_SHOWN = 400


def sections(earlier: int, shared_logs: Path | None) -> Iterator[tuple[str, str]]:
    """Title and text of each: the processes that live, or were started since `earlier` of them had been.

    Args:
        shared_logs: the logs of the RocketMQ that all jobs share.
    """
    for number, one in enumerate(processes.spawned):
        alive = one.alive()
        if number >= earlier or alive:
            yield f"{one.log.stem} ({'alive' if alive else 'ended'}): last lines", _last_lines(one.log)
        if alive and one.admin_url:
            yield f"{one.log.stem}: sessions and counters", _asked(one)
    for log in sorted(shared_logs.glob("*.log")) if shared_logs else ():
        yield f"{log.stem} (shared): last lines", _last_lines(log)


def _last_lines(log: Path) -> str:
    lines = processes.last_lines(log, LINES_SHOWN).splitlines()
    return "\n".join(line[:LINE_LENGTH_SHOWN] for line in lines)


def _asked(one: processes.Spawned) -> str:
    try:
        with httpx.Client(timeout=5.0, headers={"Authorization": f"Bearer {one.admin_token}"}) as http:
            listed = http.get(one.admin_url + SESSIONS_PATH)
            counters = list(_counters(http.get(one.admin_url + METRICS_PATH).text))
    except httpx.HTTPError as error:
        return f"does not answer: {error!r}"
    sessions = listed.json()["sessions"] if listed.is_success else []  # a worker has no such list
    return "\n".join([*map(json.dumps, sessions[:SESSIONS_SHOWN]), *counters])


def _counters(exposition: str) -> Iterator[str]:
    """Ours that are not 0."""
    for family in text_string_to_metric_families(exposition):
        for sample in family.samples:
            if not family.name.startswith("litevoice_") or family.type not in ("counter", "gauge"):
                continue
            if sample.value and not sample.name.endswith("_created"):
                labels = ",".join(f'{name}="{value}"' for name, value in sample.labels.items())
                yield f"{sample.name}{{{labels}}} {sample.value:g}" if labels else f"{sample.name} {sample.value:g}"
