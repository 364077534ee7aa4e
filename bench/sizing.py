"""Pods, brokers and messages for a number of sessions, from what was measured (docs/bench); bench/sizing_formula.py.

    python -m bench.sizing --sessions 100000 [--open 1.0] [--speaking 0.1] [--muted 0.5] [--typed 0.0]

`--write` puts the tables of the usual sizes into docs/sizing.md, `--check` fails when they differ.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.figures import aligned, number
from bench.sizing_formula import (
    GATEWAY_EMPTY_MIB,
    KIB,
    PARTITIONS,
    Costs,
    Limits,
    Load,
    Plan,
    breaks_at,
    bytes_per_second,
    gateway_cores,
    gateway_mib,
    messages_down,
    plan,
    rocketmq_cores,
    worker_cores,
    worker_mib,
)

ROOT = Path(__file__).resolve().parents[1]
DOCUMENT = ROOT / "docs" / "sizing.md"
RECORDED = ROOT / "docs" / "bench"
WHOLE = "path-200.json"
"""The run that says what a frame costs in company."""
SIZES = (1000, 10_000, 100_000, 1_000_000)
USUAL = Load(1)
BEGIN, END = "<!-- Made by `make reference` from docs/bench; do not edit. -->", "<!-- end of what is made -->"
Rows = list[tuple[str, ...]]


def read(name: str) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((RECORDED / name).read_text())
    return data


def figure(data: Mapping[str, Any], name: str) -> float:
    """Raises ValueError when the run has no such figure, or could not measure it."""
    value = next((one["value"] for one in data["figures"] if one["name"] == name), None)
    if value is None:
        raise ValueError(f"{name}: expected a figure of that name with a value, measured {data['measured']}")
    return float(value)


def asked_per_second(path: Mapping[str, Any]) -> float:
    """Typed and spoken questions of a run of the whole path."""
    load = path["load"]
    return float((len(load["typed"]) + len(load["spoken"])) / load["seconds"])


@dataclass(frozen=True, slots=True)
class Alone:
    """Microseconds per frame of a part that is measured alone."""

    gateway: float
    worker: Mapping[str, float]


def alone() -> Alone:
    ours, kinds = read("gateway.json")["contenders"]["litevoice"], read("worker.json")["kinds"]
    worker = {kind: statistics.median(one["frame_microseconds"]) for kind, one in kinds.items()}
    return Alone(statistics.median(ours["frame_microseconds"]), worker)


def costs() -> Costs:
    """Raises OSError or ValueError when something was not measured."""
    path, growth, parts = read(WHOLE), read("growth.json"), alone()
    speech = read("worker.json")["kinds"]["speech"]["messages_per_second"]
    load, idle_kib = load_of(path), figure(growth, "gateway memory, idle, 10,000 sessions")
    sound_kib = (figure(path, "gateway memory") - GATEWAY_EMPTY_MIB) * KIB - load.sessions * idle_kib
    return Costs(
        gateway_frame=figure(path, "gateway CPU per frame") / 1e6,
        worker_frame=figure(path, "worker CPU per frame") / 1e6,
        worker_speech=max(0.0, parts.worker["speech"] - parts.worker["silence"]) / 1e6,
        speech_messages=max(speech),
        typed_messages=figure(path, "messages down") / asked_per_second(path),
        gateway_idle=figure(growth, "gateway CPU per idle session and second, 10,000 sessions") / 1e6,
        gateway_kib=idle_kib,
        worker_kib=figure(growth, "worker memory, idle, 10,000 sessions"),
        gateway_sound_kib=max(0.0, sound_kib) / (load.microphones * (1 - load.muted)),
    )


def rows(plans: Mapping[int, Plan]) -> Rows:
    """A column for each number of sessions."""
    each = list(plans.values())

    def line(name: str, values: Iterable[float], unit: str = "") -> tuple[str, ...]:
        return (name, *(f"{number(value)} {unit}".rstrip() for value in values))

    return [
        ("sessions", *(f"{sessions:,}" for sessions in plans)),
        ("VoiceGateways", *(f"{one.resources:,}" for one in each)),
        ("gateway pods", *(f"{one.gateways:,} ({one.gateways_by})" for one in each)),
        ("workers", *(f"{one.workers:,} ({one.workers_by})" for one in each)),
        ("partitions", *(f"{one.partitions:,}" for one in each)),
        ("brokers", *(f"{one.brokers:,} ({one.brokers_by})" for one in each)),
        line("messages up", (one.up_per_second for one in each), "/s"),
        line("messages down", (one.down_per_second for one in each), "/s"),
        line("audio", (one.bytes_per_second / 1e6 for one in each), "MB/s"),
        line("memory of a gateway pod", (one.gateway_mib for one in each), "MiB"),
        line("memory of a worker", (one.worker_mib for one in each), "MiB"),
    ]


def load_of(path: Mapping[str, Any]) -> Load:
    """Of a run of the whole path: every second microphone is muted; who speaks says a word now and then."""
    microphones, typing, speaking = (path["options"][key] for key in ("sessions", "typing", "speaking"))
    sessions, opened = microphones + typing + speaking, microphones + speaking
    return Load(sessions, opened / sessions, 0.0, microphones / 2 / opened, asked_per_second(path) / sessions)


def check_rows() -> Rows:
    """Predicted and measured, for each recorded size of the whole path."""
    known, found = costs(), Rows([("open microphones", "", "predicted", "measured", "")])
    for file in sorted(RECORDED.glob("path-*.json"), key=lambda path: int(path.stem.removeprefix("path-"))):
        path = json.loads(file.read_text())
        load = load_of(path)
        up, down = PARTITIONS * 10, messages_down(load, known)
        predicted = {
            "gateway CPU": gateway_cores(load, known),
            "worker CPU": worker_cores(load, known),
            "RocketMQ CPU": rocketmq_cores(up + down, bytes_per_second(load)),
            "messages up": up,
            "messages down": down,
            "gateway memory": gateway_mib(load, 1, known),
            "worker memory": worker_mib(load, 1, known),
        }
        for name, value in predicted.items():
            measured = figure(path, name)
            unit = next(one["unit"] for one in path["figures"] if one["name"] == name)
            off = f"{round((value / measured - 1) * 100):+d} %"
            found.append(
                (str(path["options"]["sessions"]), name, f"{number(value)} {unit}", f"{number(measured)} {unit}", off)
            )
    return found


def markdown(table: Rows) -> str:
    lines = [table[0], ("---",) * len(table[0]), *table[1:]]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def page() -> str:
    """The block of docs/sizing.md."""
    known, limits, parts = costs(), Limits(), alone()
    plans = {sessions: plan(replace(USUAL, sessions=sessions), known, limits) for sessions in SIZES}
    broken = [(name, f"{sessions:,}") for name, sessions in breaks_at(USUAL, known, limits)]
    path = read(WHOLE)
    kinds = ", ".join(f"{kind} {number(value)}" for kind, value in parts.worker.items())
    together: Rows = [
        ("CPU per frame of 20 ms", "in company", "alone"),
        ("gateway", f"{number(known.gateway_frame * 1e6)} µs", f"{number(parts.gateway)} µs"),
        ("worker", f"{number(known.worker_frame * 1e6)} µs", f"{kinds} µs"),
    ]
    return "\n\n".join(
        [
            f"Everybody's microphone is open; {USUAL.speaking:.0%} of them are spoken into, {USUAL.muted:.0%} are "
            f"muted, the others in a room with noise; who speaks is answered as long as they spoke. A pod has "
            f"{number(limits.pod_cores)} core and a broker (with its proxy) {number(limits.broker_cores)}, of which "
            f"{limits.use:.0%} are used. In brackets: what decides.",
            markdown(rows(plans)),
            f"What a single VoiceGateway with {PARTITIONS} partitions and a single broker run into first:",
            markdown([("limit", "sessions"), *broken]),
            "The formula takes what a frame costs in company, in the whole path with "
            f"{path['options']['sessions']} microphones on two cores, questions and words included. Beside it, what "
            "it costs each part alone (`make bench-gateway bench-worker`):",
            markdown(together),
            "The formula beside each recorded run of the whole path. With "
            f"{path['options']['sessions']} microphones the pods' CPU, the gateway's memory and messages down "
            "agree by construction; the rest could have been wrong:",
            markdown(check_rows()),
        ]
    )


def document(text: str, block: str) -> str:
    """`text` with the block between its marks. Raises ValueError when it has none."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"docs/sizing.md: expected the lines {BEGIN!r} and {END!r}")
    return f"{before}{BEGIN}\n\n{block}\n\n{END}{after}"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.sizing", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sessions", type=int, default=10_000, help="(default: %(default)s)")
    parser.add_argument("--open", type=float, default=1.0, help="share with an open microphone (default: %(default)s)")
    parser.add_argument("--speaking", type=float, default=0.1, help="share of those spoken into (default: %(default)s)")
    parser.add_argument("--muted", type=float, default=0.5, help="share of those muted (default: %(default)s)")
    parser.add_argument("--typed", type=float, default=0.0, help="questions per session and second (default: 0)")
    parser.add_argument(
        "--per-voicegateway",
        type=int,
        default=Limits().per_resource,
        help="most sessions of one (default: %(default)s)",
    )
    parser.add_argument("--write", action="store_true", help="write docs/sizing.md")
    parser.add_argument("--check", action="store_true", help="write nothing; fail when docs/sizing.md differs")
    options = parser.parse_args(arguments)
    if options.write or options.check:
        text = DOCUMENT.read_text()
        wanted = document(text, page())
        if options.check and wanted != text:
            sys.stderr.write("docs/sizing.md: not what the formula says of docs/bench; run `make reference`\n")
            return 1
        if options.write:
            DOCUMENT.write_text(wanted)
        return 0
    try:
        load = Load(options.sessions, options.open, options.speaking, options.muted, options.typed)
        limits = Limits(per_resource=options.per_voicegateway)
        found = plan(load, known := costs(), limits)
    except ValueError as error:
        parser.error(str(error))
    print(aligned(rows({load.sessions: found}), right=(1,)))
    print(f"\nOne VoiceGateway with {PARTITIONS} partitions and one broker run into:\n")
    print(aligned([("limit", "sessions"), *((n, f"{s:,}") for n, s in breaks_at(load, known, limits))], right=(1,)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
