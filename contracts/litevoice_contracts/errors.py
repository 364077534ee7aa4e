"""One error type for bad input, so that every part can name the field and say what would be right."""

from __future__ import annotations


class InvalidField(ValueError):  # noqa: N818 - reads as what it is
    """A value from outside does not fit.

    Attributes:
        field: dotted path of the offending field, e.g. ``session.audio.input.format.type``.
        expected: what would be right, e.g. ``one of audio/pcm, audio/pcmu, audio/pcma``.
    """

    def __init__(self, field: str, expected: str) -> None:
        super().__init__(f"{field}: expected {expected}")
        self.field = field
        self.expected = expected
