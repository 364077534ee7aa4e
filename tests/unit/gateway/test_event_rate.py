"""How many events a client may send."""

from __future__ import annotations

import pytest

from litevoice_gateway.limits import TokenBucket


def test_rate_and_burst() -> None:
    bucket = TokenBucket(10, 20, 0.0)
    assert [bucket.spend(0.0) for _ in range(19)] == [0.0] * 19
    assert bucket.spend(0.0) == pytest.approx(0.1), "the burst is used up: the next event may come in 0.1 s"
    assert bucket.spend(0.0) == pytest.approx(0.2), "a debt"
    assert bucket.spend(0.2) == pytest.approx(0.1)
    assert bucket.spend(100.0) == 0.0
