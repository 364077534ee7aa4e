"""The tests that come with examples/own_agent."""

from __future__ import annotations

from examples.own_agent.test_bookings import (  # noqa: F401
    test_a_table_is_booked,
    test_it_is_booked_once_though_workers_die,
)
