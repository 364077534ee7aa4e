"""Timestamps of Kubernetes objects."""

from __future__ import annotations

import pytest

from litevoice_operator.api.times import from_text, to_text


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01T00:16:40Z", 1000.0),
        ("1970-01-01T00:16:40.250000Z", 1000.25),
        ("1970-01-01T02:16:40+02:00", 1000.0),
        ("1970-01-01t00:16:40z", 1000.0),
        ("", None),
        (None, None),
        ("yesterday", None),
    ],
)
def test_from_text(text: str | None, seconds: float | None) -> None:
    assert from_text(text) == seconds


def test_there_and_back_in_whole_seconds() -> None:
    assert from_text(to_text(1_700_000_000.9)) == 1_700_000_000.0
