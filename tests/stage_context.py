"""For tests that call a stage themselves."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from litevoice_worker.commands import StageContext

CONTEXT = StageContext("s", "alice", "litevoice", "", 1, 0, "key", "", "")


def context(key: str = "key", said: str = "", **changes: Any) -> StageContext:
    return replace(CONTEXT, idempotency_key=key, said=said, **changes)
