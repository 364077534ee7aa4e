"""Whether this gateway can serve, as it was told last, and when it could again."""

from __future__ import annotations

import logging

logger = logging.getLogger("litevoice_gateway.hub")

ATTEMPTS_SECONDS = 120.0
"""So long after it was cut off connections may arrive whose clients are elsewhere by now: TCP doubles its pauses, and
what stands between (a proxy, a node) goes on trying."""


class Readiness:
    """The clock (monotonic) is passed in."""

    def __init__(self) -> None:
        self._reason = ""
        self._was_ready = False
        self._back_at = float("-inf")

    def is_now(self, reason: str, now: float) -> None:
        """`reason`: why not; "" for ready. Changes are logged."""
        if reason == self._reason:
            return
        if not reason and self._was_ready:
            self._back_at = now
        self._was_ready |= not reason
        self._reason = reason
        logger.log(
            logging.WARNING if reason else logging.INFO,
            "gateway is not ready" if reason else "gateway is ready",
            extra={"reason": reason},
        )

    def was_lost(self, now: float) -> bool:
        """It could not serve a while ago, and could before: its broker, or the whole node, could not be reached."""
        return now - self._back_at < ATTEMPTS_SECONDS
