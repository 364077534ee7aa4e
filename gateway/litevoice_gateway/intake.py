"""Whether to read from a client now, sans I/O: whatever has to wait is bounded by reading no further."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

from litevoice_contracts.conversation import SessionConfig
from litevoice_gateway import commands as do
from litevoice_gateway.limits import Limits, TokenBucket
from litevoice_gateway.protocols import ClientProtocol, Refusal

MAX_OWN_EVENTS = 100
"""Errors queued for a client that does not read, before we stop reading from it."""
MAX_EARLY_MESSAGES = 100
"""Messages queued until the session is restored, before we stop reading from the client."""


class Intake:
    """`settle` puts PauseReading and ResumeReading into `out`."""

    __slots__ = (
        "_audio",
        "_early",
        "_early_bytes",
        "_events",
        "_max_early_bytes",
        "_out",
        "_own_events_unread",
        "_reading",
        "_throttled_until",
    )

    def __init__(self, limits: Limits, out: list[do.Command], now: float) -> None:
        self._events = TokenBucket(limits.max_events_per_second, 2 * limits.max_events_per_second, now)
        self._audio = TokenBucket(limits.max_audio_speed, limits.max_audio_burst_seconds, now)
        self._max_early_bytes = limits.max_frame_bytes
        self._out = out
        self._early: list[str | bytes] = []
        self._early_bytes = 0
        self._own_events_unread = 0
        self._throttled_until: float | None = None
        self._reading = True

    @property
    def reading(self) -> bool:
        return self._reading

    @property
    def early(self) -> int:
        """Number of messages that wait for the session to be restored."""
        return len(self._early)

    def keep(self, message: str | bytes) -> None:
        """A message that came before the session was restored."""
        self._early.append(message)
        self._early_bytes += len(message)

    def take_early(self) -> list[str | bytes]:
        early, self._early, self._early_bytes = self._early, [], 0
        return early

    def spend(self, now: float, messages: int) -> None:
        """So many more. Beyond the rate, excess messages are delayed, not dropped: they may be speech recorded
        while the connection was lost."""
        if wait := self._events.spend(now, messages):
            self._throttle(now, wait)

    def spend_audio(self, seconds: float, now: float) -> None:
        """So much audio was read; delayed likewise, and as gently: the worker's time is everybody's."""
        if wait := self._audio.spend(now, seconds):
            self._throttle(now, wait)

    def _throttle(self, now: float, wait: float) -> None:
        if self._throttled_until is None:
            self._out.append(do.Observe("client_errors", "rate_limited"))
        self._throttled_until = max(self._throttled_until or 0.0, now + wait)
        self._out.append(do.WakeAt(self._throttled_until))

    def throttle_ends(self, now: float, *, closing: bool) -> bool:
        """Whether it ends now; when `closing`, at once, or the client's Close would not be read."""
        if self._throttled_until is None or not (closing or now >= self._throttled_until):
            return False
        self._throttled_until = None
        return True

    def unread(self) -> None:
        """An error was sent to a client that does not read."""
        self._own_events_unread += 1

    def all_read(self) -> None:
        """The client reads again, or no longer has to."""
        self._own_events_unread = 0

    def settle(self, *, full: bool) -> None:
        """Stops or resumes reading; `full`: too much waits for the broker."""
        reading = (
            not full
            and self._throttled_until is None
            and self._own_events_unread < MAX_OWN_EVENTS
            and len(self._early) < MAX_EARLY_MESSAGES
            and self._early_bytes < self._max_early_bytes
        )
        if reading != self._reading:
            self._reading = reading
            self._out.append(do.ResumeReading() if reading else do.PauseReading())


def unnumbered(messages: Iterable[str | bytes], protocol: ClientProtocol, config: SessionConfig) -> int:
    """So many packets go nowhere when these are not published: what the client numbers it says again."""
    count = 0
    for message in messages:
        with contextlib.suppress(Refusal):
            count += sum(event.client_seq is None for event in protocol.decode(message, config))
    return count
