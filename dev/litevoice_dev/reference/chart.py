"""The chart's values, from values.yaml: each with its default and the comment above it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import yaml

from litevoice_dev.reference.markdown import code, page, table


class Undocumented(LookupError):  # noqa: N818 - reads as what it is
    """A value without a comment above it."""


def chart(values: Path) -> str:
    """Raises Undocumented, which names the value."""
    text = values.read_text()
    rows = [(code(path), code(default) or '`""`', comment) for path, default, comment in _values(text)]
    return page(
        "Chart values",
        "Values of `charts/litevoice`. A schema refuses unknown names and wrong values, and names them.",
        table(("Value", "Default", "Description"), rows),
    )


def _values(text: str) -> Iterator[tuple[str, object, str]]:
    lines = text.splitlines()

    def walk(node: yaml.MappingNode, prefix: str) -> Iterator[tuple[str, object, str]]:
        for key, value in node.value:
            path = f"{prefix}{key.value}"
            comment = _comment_above(lines, key.start_mark.line)
            # A group without a comment is only a place for its values; one with a comment is one value.
            if isinstance(value, yaml.MappingNode) and value.value and not comment:
                yield from walk(value, f"{path}.")
            elif comment:
                yield path, yaml.safe_load(yaml.serialize(value)), comment
            else:
                raise Undocumented(f"{path}: a comment above it")

    root = yaml.compose(text)
    assert isinstance(root, yaml.MappingNode)
    yield from walk(root, "")


def _comment_above(lines: list[str], line: int) -> str:
    comment: list[str] = []
    while line > 0 and (above := lines[line - 1].strip()).startswith("#"):
        comment.insert(0, above.removeprefix("#").strip())
        line -= 1
    return " ".join(comment)
