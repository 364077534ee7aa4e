"""What Kubernetes Events tell users."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class EventText:
    type: Literal["Normal", "Warning"]
    reason: str
    message: str
