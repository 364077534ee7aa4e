"""What the measurement reads of a broker."""

from __future__ import annotations

import pytest

from bench.flush import in_bytes


@pytest.mark.parametrize(
    ("written", "expected"), [("0 B", 0), ("512 B", 512), ("1.5 KiB", 1536), ("2.0 MiB", 2 << 20), ("1.0 GiB", 1 << 30)]
)
def test_sizes_are_read_as_the_broker_writes_them(written: str, expected: int) -> None:
    assert in_bytes(written) == expected
