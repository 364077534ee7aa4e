"""What the last run found, and the table of it that the documents show."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from litevoice_dev.clients.catalog import CLIENTS, CONTINUES, MOVED, STEPS, Client
from litevoice_dev.reference.markdown import table

ROOT = Path(__file__).resolve().parents[3]
RECORD = ROOT / "docs" / "clients.json"
PAGES = (ROOT / "README.md", ROOT / "docs" / "clients.md")
BEGIN, END = "<!-- clients: written by `make clients` -->", "<!-- end of clients -->"
HELD = "yes"

Results = Mapping[str, Any]
"""Name of a client → version, a word for each step (HELD, or what was missed), what becomes of it when it is moved."""


def recorded() -> dict[str, Any]:
    return dict(json.loads(RECORD.read_text())) if RECORD.exists() else {}


def record(results: Results) -> None:
    """Clients that did not run keep what they had."""
    merged = {**recorded(), **results}
    kept = {client.name: merged[client.name] for client in CLIENTS if client.name in merged}
    RECORD.write_text(json.dumps(kept, indent=2, ensure_ascii=False) + "\n")
    for page in PAGES:
        page.write_text(with_table(page.read_text(), kept))


def locked_version(client: Client) -> str:
    """The release that `make clients` installs."""
    lock = ROOT / "locks" / "clients" / client.name
    if client.program.endswith(".mjs"):
        packages = json.loads((lock / "package.json").read_text())["dependencies"]
        return str(packages[client.package])
    found = re.search(rf"^{re.escape(client.package)}==(\S+)", lock.with_suffix(".txt").read_text(), re.MULTILINE)
    if found is None:
        raise LookupError(f"{client.package} is not in {lock}.txt")
    return found[1]


def misses(results: Results) -> list[str]:
    """What a run must not end with."""
    found = []
    for client in CLIENTS:
        if (result := results.get(client.name)) is None:
            continue
        found += [
            f"{client.title}: {words}: {result['steps'][step]}"
            for step, words in STEPS.items()
            if result["steps"][step] != HELD
        ]
        if client.returns and result["moved"] != CONTINUES:
            found.append(f"{client.title}: told how to come back, it {result['moved']}")
    return found


def table_of(results: Results) -> str:
    head = ("client", *STEPS.values(), MOVED)
    return table(head, (_row(client, results[client.name]) for client in CLIENTS if client.name in results))


def _row(client: Client, result: Any) -> tuple[str, ...]:
    moved = result["moved"] + (" (told how)" if client.returns else "")
    steps = (HELD if result["steps"][step] == HELD else f"**no**: {result['steps'][step]}" for step in STEPS)
    return (f"{client.title} {result['version']}", *steps, moved)


def with_table(text: str, results: Results) -> str:
    """The page with the table of these results. Raises ValueError when it has no place for it."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"no place for the table: {BEGIN} … {END}")
    return f"{before}{BEGIN}\n{table_of(results)}\n{END}{after}"
