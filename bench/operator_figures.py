"""What is judged of an operator: what it costs, and asks others for, when there are more pods. Pure."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from bench.figures import Figure, aligned, number

USER = "operator"
LINEAR = 1.15
"""What a pod may cost more when there are ten times as many: noise."""
MEMORY_MEBIBYTES, CORES_PERCENT, STATUS_WRITES = 150.0, 5.0, 20.0


@dataclass(frozen=True, slots=True)
class Load:
    """With so many pods, in `seconds` in which nobody changed a spec.

    Attributes:
        requests: to the API server, by verb and resource.
        asked: statuses that pods were asked for.
        cores, memory_mebibytes: of the operator; `bare_…`: of kopf alone with the same watches, at the same time;
            `api_server_cores`: with all that it does for both.
    """

    pods: int
    seconds: float
    requests: Mapping[str, int]
    broker_calls: float
    asked: float
    cores: float
    memory_mebibytes: float
    bare_cores: float
    bare_memory_mebibytes: float
    api_server_cores: float

    def per_second(self, count: float) -> float:
        return count / self.seconds

    def of_verb(self, verb: str) -> int:
        return sum(count for what, count in self.requests.items() if what.partition(" ")[0] == verb)

    @property
    def all_requests(self) -> float:
        return self.per_second(sum(self.requests.values()))

    @property
    def status_writes(self) -> float:
        written = (count for what, count in self.requests.items() if what.endswith("/status") and what[:3] != "get")
        return self.per_second(sum(written))


def audited(lines: Iterable[str], began: float, ended: float) -> Counter[str]:
    """Requests of USER that came in between (Unix seconds), from the API server's audit log: verb and resource. A line
    that is still being written is left out."""
    found: Counter[str] = Counter()
    for line in lines:
        try:
            event = json.loads(line)
        except ValueError:
            continue
        at = datetime.fromisoformat(event["requestReceivedTimestamp"]).timestamp()
        if event["user"]["username"] != USER or event["stage"] != "ResponseComplete" or not began <= at < ended:
            continue
        what = event.get("objectRef", {})
        parts = [part for part in (what.get("resource", event["requestURI"]), what.get("subresource")) if part]
        found[f"{event['verb']} {'/'.join(parts)}"] += 1
    return found


def figures(loads: Sequence[Load]) -> list[Figure]:
    """`loads`: from few pods to many; the last one is held against the bars."""
    last = loads[-1]
    rows = [
        Figure(f"memory, {number(last.pods)} pods", last.memory_mebibytes, "MiB", MEMORY_MEBIBYTES),
        Figure("  to kopf alone", _ratio(last.memory_mebibytes, last.bare_memory_mebibytes), "×"),
        Figure(f"CPU, {number(last.pods)} pods", last.cores * 100, "% of a core", CORES_PERCENT),
        Figure("  to kopf alone", _ratio(last.cores, last.bare_cores), "×"),
        Figure("status writes", last.status_writes, "/s", STATUS_WRITES),
        Figure("LIST requests", last.per_second(last.of_verb("list")), "/s", 0),
        Figure("requests to the API server", last.all_requests, "/s"),
        Figure("requests to brokers", last.per_second(last.broker_calls), "/s"),
        Figure("questions to pods", last.per_second(last.asked), "/s"),
    ]
    for name, costs in (
        ("CPU", [load.cores for load in loads]),
        ("requests to the API server", [load.all_requests for load in loads]),
        ("requests to brokers", [load.per_second(load.broker_calls) for load in loads]),
    ):
        rows.append(Figure(f"growth per pod: {name}", _growth(costs, [load.pods for load in loads]), "×", LINEAR))
    return rows


def _growth(costs: Sequence[float], pods: Sequence[int]) -> float | None:
    """What a pod costs with the most of them, to what it costs with the next fewer: what an operator costs without any
    is in each, so the first step would flatter."""
    if len(costs) < 2 or not costs[-2]:
        return None
    return (costs[-1] / pods[-1]) / (costs[-2] / pods[-2])


def _ratio(one: float, other: float) -> float | None:
    return one / other if other else None


def comparison(loads: Sequence[Load]) -> str:
    """All of them, side by side, and what was asked of the API server with the most pods."""
    rows = [("pods", "CPU %", "kopf alone", "MiB", "kopf alone", "API server %", "API/s", "writes/s", "broker/s",
             "pods asked/s")]  # fmt: skip
    for one in loads:
        values = (one.cores * 100, one.bare_cores * 100, one.memory_mebibytes, one.bare_memory_mebibytes,
                  one.api_server_cores * 100, one.all_requests, one.status_writes, one.per_second(one.broker_calls),
                  one.per_second(one.asked))  # fmt: skip
        rows.append((number(one.pods), *(number(round(value, 2)) for value in values)))  # type: ignore[arg-type]
    last = loads[-1]
    asked = [("request", "per second")]
    asked += [(what, number(round(last.per_second(count), 2))) for what, count in Counter(last.requests).most_common()]
    return f"{aligned(rows, right=range(10))}\n\n{aligned(asked, right=(1,))}"
