"""What every measurement does with its figures: raw data into a file, a table for people, an exit code for machines."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench import proc
from bench.figures import Figure, missed, table


def add_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--output", type=Path, default=Path("docs/bench"), help="raw data (default: %(default)s)")


def raw(options: argparse.Namespace, figures: Sequence[Figure], measurements: Mapping[str, Any]) -> dict[str, Any]:
    """All that is kept of a run: when, where and how it was measured, its figures, and what they were computed from."""
    return {
        "measured": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": proc.machine(),
        "options": {key: value for key, value in vars(options).items() if isinstance(value, int)},
        "figures": [asdict(figure) | {"verdict": figure.verdict} for figure in figures],
        **measurements,
    }


def write(path: Path, data: Mapping[str, Any]) -> None:
    """A line for each key: changes can be read, and samples do not fill pages."""
    path.parent.mkdir(parents=True, exist_ok=True)
    entries = (
        f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False, separators=(',', ':'))}"
        for key, value in data.items()
    )
    path.write_text("{\n" + ",\n".join(entries) + "\n}\n")


def finish(name: str, options: argparse.Namespace, figures: Sequence[Figure], measurements: Mapping[str, Any],
           heading: str) -> int:  # fmt: skip
    """The exit code: 1 when a bar is missed."""
    path = options.output / f"{name}.json"
    write(path, raw(options, figures, measurements))
    print(f"\n{heading}\n\n{table(figures)}\n\nraw data: {path}")
    bad = missed(figures)
    if bad:
        print(f"missed: {'; '.join(bad)}")
    return 1 if bad else 0
