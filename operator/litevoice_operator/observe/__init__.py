"""What was seen: pure parsers of API objects and of the broker's answers into small frozen dataclasses."""
