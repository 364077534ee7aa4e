"""Decisions: pure functions of what was observed, what is wanted, and the time."""
