"""What Kubernetes Events tell users."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class EventText:
    """`once`: what it tells, and since when (Unix seconds). The same is posted once, whoever tries it again."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str
    once: tuple[str, float] | None = None
