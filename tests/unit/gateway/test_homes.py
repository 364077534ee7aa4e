"""Names that are on the brokers that they are wanted on."""

from __future__ import annotations

import itertools
import string

import pytest

from litevoice_contracts.names import Names
from litevoice_gateway.homes import drawn

NAMES = Names("x", "y", 8, 3)


@pytest.mark.parametrize("wanted", [{0}, {1}, {0, 2}, {0, 1, 2}])
def test_a_name_is_on_a_broker_that_is_wanted(wanted: set[int]) -> None:
    letters = itertools.cycle(string.ascii_letters)
    found = [NAMES.broker_of(drawn(lambda: next(letters), NAMES, wanted)) for _ in range(50)]
    assert set(found) == wanted


def test_any_name_will_do_when_no_broker_answers() -> None:
    assert drawn(lambda: "name", NAMES, set()) == "name"
