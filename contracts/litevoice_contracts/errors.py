"""One error type for bad input, so that every part can name the field and say what would be right."""

from __future__ import annotations

from pydantic import ValidationError


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


def problems(error: ValidationError, whole: str) -> list[tuple[str, str]]:
    """Each field that does not fit, as a dotted path, and why; `whole` stands for the object itself. Never the values:
    they may be secret."""
    found = error.errors(include_url=False, include_input=False)
    return [(".".join(map(str, entry["loc"])) or whole, entry["msg"]) for entry in found]
