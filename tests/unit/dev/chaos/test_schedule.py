"""The same seed gives the same faults; each kind comes once before any overlap."""

from __future__ import annotations

import pytest

from litevoice_contracts.errors import InvalidField
from litevoice_dev.chaos.place import targets
from litevoice_dev.chaos.schedule import KINDS, LINK_MODES, kinds_from, plan


def test_a_seed_decides_everything() -> None:
    assert plan(5, 1800, targets()) == plan(5, 1800, targets())
    assert plan(5, 1800, targets()) != plan(6, 1800, targets())


@pytest.mark.parametrize("seconds", [120, 180, 1800])
def test_each_kind_once_with_time_to_settle_then_several_at_a_time(seconds: int) -> None:
    for seed in range(20):
        faults = plan(seed, seconds, targets())
        first = faults[: len(KINDS)]
        assert [fault.kind for fault in first] == list(KINDS)
        for fault, following in zip(first, faults[1:], strict=False):
            assert following.at > fault.over
        assert [fault.at for fault in faults] == sorted(fault.at for fault in faults)
        assert all(fault.over < seconds for fault in faults)
        assert {fault.mode for fault in first if fault.kind.endswith("-cut")} <= set(LINK_MODES)


def test_a_long_run_cuts_every_way_in_every_mode_and_overlaps_on_different_parts_only() -> None:
    faults = [fault for seed in range(10) for fault in plan(seed, 1800, targets())]
    cuts = {(fault.kind, fault.mode) for fault in faults if fault.mode}
    assert len(cuts) == 3 * len(LINK_MODES)
    for seed in range(10):
        faults, overlaps = plan(seed, 1800, targets()), 0
        for number, fault in enumerate(faults):
            under_way = [other for other in faults[:number] if other.over > fault.at]
            overlaps += bool(under_way)
            role = KINDS[fault.kind].role
            assert (role, fault.target) not in [(KINDS[other.kind].role, other.target) for other in under_way]
        assert overlaps > 10


def test_only_some_kinds() -> None:
    only = kinds_from("worker-kill, broker-kill")
    assert {fault.kind for fault in plan(1, 120, targets(), only)} == {"worker-kill", "broker-kill"}
    assert kinds_from("") == list(KINDS)


def test_what_cannot_be_is_named() -> None:
    with pytest.raises(InvalidField, match=r"--only: expected one or more of gateway-drain.*got 'gateway-kil'"):
        kinds_from("gateway-kil")
    with pytest.raises(InvalidField, match=r"--minutes: expected at least \d.* for 18 kinds of faults, got 0.5"):
        plan(1, 30, targets())
