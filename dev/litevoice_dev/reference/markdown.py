"""The few pieces of Markdown that the reference pages are made of."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence


def page(title: str, *parts: str) -> str:
    """A page; empty parts are left out."""
    header = "<!-- Made from the code by `make reference`; do not edit. -->"
    return "\n\n".join([header, f"# {title}", *(part for part in parts if part)]) + "\n"


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(_cell(text) for text in line) + " |" for line in lines)


def code(value: object) -> str:
    """As code, JSON for everything but text; "" for nothing."""
    if value is None or value == "":
        return ""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return f"`{text}`"


def block(text: str, language: str = "") -> str:
    return f"```{language}\n{text.rstrip()}\n```"


def _cell(text: str) -> str:
    """One line; a bar would end the cell."""
    return " ".join(text.split()).replace("|", "\\|")
