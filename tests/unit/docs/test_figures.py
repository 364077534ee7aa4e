"""What pages say of the whole path's speed is what docs/bench holds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
TYPED, SPOKEN = "typed question → response.done", "mouth to echo"
PAGES = [
    ("README.md", 200),
    ("docs/limits.md", 200),
    ("docs/limits.md", 400),
    *((page, microphones) for page in ("docs/sizing.md", "docs/bench/README.md") for microphones in (100, 200, 400)),
]


@pytest.mark.parametrize(("page", "microphones"), PAGES)
def test_pages_name_what_was_measured(page: str, microphones: int) -> None:
    text = (ROOT / page).read_text()
    figures = json.loads((ROOT / f"docs/bench/path-{microphones}.json").read_text())["figures"]
    measured = {figure["name"]: figure["value"] for figure in figures}
    for what in (TYPED, SPOKEN):
        for part in ("p50", "p99"):
            shown = f"{measured[f'{what}, {part}']:,.0f}"
            assert shown in text, f"{what}, {part} of {microphones} microphones"
