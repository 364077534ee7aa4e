"""What stands in the way of a resource, however it came to light."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """`lasting`: somebody must change something; otherwise the operator tries again."""

    reason: str
    message: str
    lasting: bool
