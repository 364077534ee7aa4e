"""How a session comes to its end: a drain that waits for the turn's edge, our Close and the client's, the last
confirmations, and what the end is counted as. Sans I/O."""

from __future__ import annotations

from litevoice_gateway import commands as do

COUNTED_CODES = frozenset(range(do.NORMAL, 1016)) | {do.REPLACED}
"""A client may name any code in its Close, and gets it back: only these have a counter of their own."""


class Ending:
    """Commands go to `out`.

    Attributes:
        drain_by: a drain closes the session then at the latest; None without one.
        evicted: somebody else owns it now.
        forced: the client's own Close was not waited for, or did not come.

    Args:
        peer_seconds: how long the client may take to answer our Close.
    """

    __slots__ = (
        "_at_edge",
        "_close_by",
        "_leaving",
        "_out",
        "_out_of_time",
        "_peer_seconds",
        "_restarted",
        "_told",
        "drain_by",
        "evicted",
        "forced",
    )

    def __init__(self, peer_seconds: float, out: list[do.Command]) -> None:
        self._peer_seconds = peer_seconds
        self._out = out
        self._at_edge = False
        self._told = False
        self._close_by: float | None = None
        self._leaving = False
        self.drain_by: float | None = None
        self._restarted = self._out_of_time = False
        self.evicted = False
        self.forced = False

    @property
    def outcome(self) -> do.Outcome:
        if self.forced or self._out_of_time:
            return "forced"
        return "moved" if self._restarted or self.evicted else "completed"

    # A drain

    def drain(self, *, at_edge: bool, by: float) -> None:
        self._at_edge, self.drain_by = at_edge, by
        self._out.append(do.WakeAt(by))

    def stay(self) -> None:
        """The drain was taken back. Another one tells the client again."""
        self._at_edge, self.drain_by = False, None
        self._told = False

    def drain_is_due(self, now: float, *, at_edge: bool) -> bool:
        return self.drain_by is not None and ((self._at_edge and at_edge) or now >= self.drain_by)

    def restart(self, *, can_return: bool) -> None:
        """The drain closes it: a session that might have completed is moved if its client comes back, or else cut."""
        self._restarted = True
        self._out_of_time = not (self._at_edge or can_return)

    def tell(self) -> bool:
        """Whether the client was not told of the drain yet: it is now."""
        told, self._told = self._told, True
        return not told

    # The Close

    def send_close(self, code: int, reason: str) -> None:
        self._out.append(do.Observe("closes", str(code) if code in COUNTED_CODES else "other"))
        self._out.append(do.SendClose(code, reason))

    def await_peer(self, now: float) -> None:
        self._close_by = now + self._peer_seconds
        self._out.append(do.WakeAt(self._close_by))

    def peer_is_late(self, now: float) -> bool:
        return self._close_by is not None and now >= self._close_by

    def wake(self, now: float, *, may_drain: bool) -> None:
        """When this must be looked at again."""
        for later in (self._close_by, self.drain_by if may_drain else None):
            if later is not None and later > now:
                self._out.append(do.WakeAt(later))

    # The end

    def over(self) -> None:
        """Nothing is waited for any more."""
        self._close_by = None
        self._leaving = False

    def leave(self) -> None:
        """The client is gone: its connection ends when everything that was read from it is settled."""
        self._leaving = True

    def disconnect_if(self, settled: bool) -> None:
        if self._leaving and settled:
            self.over()
            self._out.append(do.Disconnect())
