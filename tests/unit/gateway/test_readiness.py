from __future__ import annotations

from litevoice_gateway.readiness import ATTEMPTS_SECONDS, Readiness


def test_a_gateway_that_starts_was_not_lost() -> None:
    readiness = Readiness()
    readiness.is_now("connecting", 0.0)
    readiness.is_now("", 1.0)
    assert not readiness.was_lost(1.0)


def test_one_that_comes_back_was_for_as_long_as_attempts_may_be_on_their_way() -> None:
    readiness = Readiness()
    for reason, at in (("connecting", 0.0), ("", 1.0), ("no answer", 100.0), ("", 160.0), ("", 200.0)):
        readiness.is_now(reason, at)
    assert readiness.was_lost(160.0)
    assert readiness.was_lost(160.0 + ATTEMPTS_SECONDS - 1)
    assert not readiness.was_lost(160.0 + ATTEMPTS_SECONDS)
