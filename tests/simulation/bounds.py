"""Gateways with narrow bounds, and callers that send more than these: what is more waits, is refused and is counted.
Brokers that keep LiteTopics for a short time, and callers that say nothing for longer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from random import Random
from typing import TYPE_CHECKING, Any

from litevoice_gateway.connections import UNREAD_MESSAGES, Connection
from litevoice_gateway.intake import MAX_EARLY_MESSAGES
from litevoice_gateway.metrics import Metrics
from tests.simulation.stages import FRAME_SECONDS, SILENCE

if TYPE_CHECKING:
    from tests.simulation.programs import Gateway

SHARE = 0.12
"""Of the seeds that are like that."""
NARROW = {
    "max_pending_packets": 40,
    "max_events_per_second": 15,
    "max_audio_speed": 2,
    "max_audio_burst_seconds": 3,
}
RECORDED_FRAMES = 45
"""Of silence, that a caller has kept and sends together with what it says then, all at once."""
IDLE_SHARE = 0.08
EXPIRE_SECONDS, RENEW_SECONDS = 30.0, 10
"""As 900 and 300: how long LiteTopics live after their last message, and after how long one is written or exchanged."""
RATE_LIMITED = ("client_errors", "rate_limited")


class Counted(Metrics):
    """Counts what a session observes, by itself: nobody scrapes it."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: Counter[tuple[str, str]] = Counter()

    def observe(self, what: str, label: str = "", amount: float = 1.0) -> None:
        self.seen[what, label] += int(amount)


class Idleness:
    """Of one world. Attributes:
    caller: who says nothing for a while, "" for nobody. question: after which one. seconds: for how long.
    settings: of the gateways.
    """

    def __init__(self, seed: int, callers: Sequence[str]) -> None:
        random = Random(f"idle {seed}")
        self.caller = random.choice(callers) if random.random() < IDLE_SHARE else ""
        self.question = random.randint(1, 3)
        self.seconds = random.uniform(1.1, 1.6) * EXPIRE_SECONDS
        self.settings = {"keep_alive_seconds": RENEW_SECONDS} if self.caller else {}

    def after(self, caller: str, questions: int) -> float:
        """So long does it say nothing after its latest question."""
        return self.seconds if (caller, questions) == (self.caller, self.question) else 0.0


class Bounds:
    """Of one world. Attributes:
    narrow: whether it is such a seed. settings: of its gateways.
    """

    def __init__(self, seed: int, callers: int, gateways: int) -> None:
        self.narrow = Random(f"bounds {seed}").random() < SHARE
        room = max(1, callers - 1) if gateways > 1 else callers
        self.settings: dict[str, Any] = {**NARROW, "max_sessions": room} if self.narrow else {}

    def reads_by(self, frames: int) -> float:
        """How many seconds a gateway takes at most to read so much that comes at once, and a question's silence that is
        not paid off yet."""
        seconds = (frames + RECORDED_FRAMES) * FRAME_SECONDS / NARROW["max_audio_speed"]
        return max(seconds, (frames + RECORDED_FRAMES) / NARROW["max_events_per_second"]) + 1.0

    def exceeded(self, gateway: Gateway) -> str:
        """What a gateway holds beyond its bounds; "" for nothing."""
        if gateway.hub is None:
            return ""
        settings = gateway.hub.settings
        if (count := len(gateway.hub.sessions)) > settings.max_sessions:
            return f"{count} sessions, {settings.max_sessions} are the bound"
        most = settings.max_pending_packets + UNREAD_MESSAGES + MAX_EARLY_MESSAGES
        for connection in gateway.connections():
            if (waiting := _waiting(connection)) > most:
                return f"{waiting} packets of a session that wait for the broker, {most} are the bound"
        return ""


def recorded(frames: list[bytes]) -> list[bytes]:
    return [SILENCE] * RECORDED_FRAMES + frames


def _waiting(connection: Connection) -> int:
    pending = connection.session._packets.pending
    return pending.collected + pending.unconfirmed + len(connection._unread)
