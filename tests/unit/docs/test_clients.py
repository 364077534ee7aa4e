"""docs/clients.md shows code of the example, which an integration test runs."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def test_the_class_to_copy_is_the_examples() -> None:
    example = (ROOT / "examples" / "ask.py").read_text()
    begin, end = example.index("class Appends:"), example.index("async def ask(")
    assert example[begin:end].strip() in (ROOT / "docs" / "clients.md").read_text()
