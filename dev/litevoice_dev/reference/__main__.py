"""Writes docs/reference: `python -m litevoice_dev.reference [--check]`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from litevoice_dev.reference.chart import chart
from litevoice_dev.reference.kubernetes import conditions_and_events
from litevoice_dev.reference.metrics import metrics
from litevoice_dev.reference.protocol import protocol
from litevoice_dev.reference.resources import resources
from litevoice_dev.reference.settings import settings
from litevoice_dev.reference.support import protocol_support

REPOSITORY = Path(__file__).resolve().parents[3]
FOLDER = REPOSITORY / "docs" / "reference"


def pages() -> dict[str, str]:
    """File name → content."""
    return {
        "resources.md": resources(),
        "conditions-and-events.md": conditions_and_events(),
        "protocol.md": protocol(),
        "protocol-support.md": protocol_support(),
        "metrics.md": metrics(),
        "settings.md": settings(),
        "chart.md": chart(REPOSITORY / "charts" / "litevoice" / "values.yaml"),
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="litevoice_dev.reference", description="Writes docs/reference from the code.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail when a page differs")
    check = parser.parse_args().check
    wanted = pages()
    present = {path.name: path.read_text() for path in FOLDER.glob("*.md")}
    differing = sorted(name for name in wanted.keys() | present.keys() if wanted.get(name) != present.get(name))
    if check:
        if differing:
            sys.stderr.write(f"docs/reference: {', '.join(differing)}: not what the code says; run `make reference`\n")
        return 1 if differing else 0
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in differing:
        if name in wanted:
            (FOLDER / name).write_text(wanted[name])
        else:
            (FOLDER / name).unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
