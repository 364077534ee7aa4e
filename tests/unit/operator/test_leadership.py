"""Who acts: a table of cases, and two operators whose clocks differ."""

from __future__ import annotations

import asyncio
import time
from typing import Any, cast

import pytest

from litevoice_operator.decide.leadership import (
    GIVE_UP_SECONDS,
    LEASE_SECONDS,
    RENEW_SECONDS,
    Seen,
    lease_spec,
    may_act,
    may_take,
)
from litevoice_operator.reconcile.leadership import Leadership


def lease(version: int, holder: str) -> dict[str, Any]:
    return {"metadata": {"resourceVersion": str(version)}, "spec": {"holderIdentity": holder}}


TAKEN: list[tuple[str, Seen, float, bool]] = [
    ("there is none", Seen(), 0.0, True),
    ("ours", Seen("1", "me", 0.0), 1.0, True),
    ("ours, from before an outage", Seen("1", "me", 0.0), 900.0, True),
    ("given up", Seen("1", "", 0.0), 1.0, True),
    ("another's, and alive", Seen("1", "other", 100.0), 100.0 + LEASE_SECONDS - 0.1, False),
    ("another's, and over", Seen("1", "other", 100.0), 100.0 + LEASE_SECONDS, True),
]


@pytest.mark.parametrize(("description", "seen", "now", "take"), TAKEN, ids=[row[0] for row in TAKEN])
def test_who_may_take_it(description: str, seen: Seen, now: float, take: bool) -> None:
    assert may_take(seen, "me", now) is take


def test_a_lease_lives_as_long_as_it_changes() -> None:
    seen = Seen().after(lease(1, "other"), 10.0)
    assert seen.after(lease(1, "other"), 20.0).since == 10.0, "the same version is not news"
    assert seen.after(lease(2, "other"), 20.0).since == 20.0
    assert seen.after(None, 30.0).holder == ""


def test_a_leader_stops_before_another_may_begin() -> None:
    """Its last write may have been stamped as late as its own request took; the other saw it no earlier."""
    assert may_act(100.0, 100.0 + GIVE_UP_SECONDS - 0.1)
    assert not may_act(100.0, 100.0 + GIVE_UP_SECONDS)
    assert not may_act(None, 0.0)
    assert GIVE_UP_SECONDS + RENEW_SECONDS < LEASE_SECONDS


class Silent:
    """An API server that answers once it is let."""

    def __init__(self) -> None:
        self.asked, self.answers = asyncio.Event(), asyncio.Event()

    async def get(self, *_: object) -> dict[str, Any]:
        self.asked.set()
        await self.answers.wait()
        return lease(1, "me")

    async def replace(self, *_: object) -> dict[str, Any]:
        return lease(2, "me")


async def test_a_leader_that_waits_for_the_api_server_has_stopped() -> None:
    """A look may take 5 s: an operator that judged itself only after it would act 16 s after its last sign."""
    cluster = Silent()
    leadership = Leadership(cast(Any, cluster), ("shop", "lease"), "me", lambda: None)
    leadership._renewed_at = time.monotonic() - GIVE_UP_SECONDS
    leadership.acting.set()
    look = asyncio.create_task(leadership._look())
    await cluster.asked.wait()
    assert not leadership.acting.is_set()
    cluster.answers.set()
    await look
    assert leadership.acting.is_set(), "nobody has taken it meanwhile"


def test_what_is_written() -> None:
    first = lease_spec(Seen(), "me", {}, 1000.5)
    assert first["holderIdentity"] == "me"
    assert first["acquireTime"] == first["renewTime"] == "1970-01-01T00:16:40.500000Z"
    assert first["leaseTransitions"] == 0
    again = lease_spec(Seen("1", "me"), "me", first, 1003.0)
    assert (again["acquireTime"], again["leaseTransitions"]) == (first["acquireTime"], 0)
    taken = lease_spec(Seen("2", "me"), "other", again, 1100.0)
    assert (taken["acquireTime"], taken["leaseTransitions"]) == ("1970-01-01T00:18:20.000000Z", 1)
