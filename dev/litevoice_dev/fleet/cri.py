"""What a container has printed, as its node keeps it: readable while no API server is there. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any


def printed(lines: Iterable[str]) -> Iterator[str]:
    """Lines of a CRI log (`TIME STREAM F|P TEXT`) → what was printed; a long line stands there in pieces. What is none
    of both, or still being written, is left out."""
    pieces: list[str] = []
    for line in lines:
        parts = line.rstrip("\n").split(" ", 3)
        if len(parts) < 4 or parts[1] not in ("stdout", "stderr") or parts[2] not in ("F", "P"):
            continue
        pieces.append(parts[3])
        if parts[2] == "F":
            yield "".join(pieces)
            pieces = []


def objects(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    """The JSON objects among them."""
    for text in printed(lines):
        if text.startswith("{"):
            try:
                yield json.loads(text)
            except ValueError:
                continue
