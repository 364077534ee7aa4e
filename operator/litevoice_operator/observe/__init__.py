"""What was seen: pure functions that turn API objects and the broker's answers into small frozen dataclasses."""
