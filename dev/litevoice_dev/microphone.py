"""A microphone that never stops: 20 ms packets in real time, speech when there is some and silence otherwise.

Every packet carries its number in the lowest bits of its first samples (inaudible), so that whoever sees the packets
later, on any pod, can tell which are missing, doubled or out of order.
"""

from __future__ import annotations

import asyncio
import collections
import time
from collections.abc import Awaitable, Callable

import numpy as np

from litevoice_dev.speech import RATE

PACKET_SECONDS = 0.02
PACKET_BYTES = int(RATE * PACKET_SECONDS) * 2
_MARK_BITS = 32


def mark(pcm: bytes, number: int) -> bytes:
    """`pcm` (at least 64 bytes of PCM16) with `number` in its lowest bits."""
    samples = np.frombuffer(pcm, dtype="<i2").copy()
    bits = (number >> np.arange(_MARK_BITS)) & 1
    samples[:_MARK_BITS] = (samples[:_MARK_BITS] & ~np.int16(1)) | bits.astype("<i2")
    return samples.tobytes()


class Microphone:
    """Sends packets through `send` until closed.

    Attributes:
        sent: number of packets handed to `send`, which is also the number of the next one.
    """

    def __init__(self, send: Callable[[bytes], Awaitable[None]]) -> None:
        self._send = send
        self._speech: collections.deque[bytes] = collections.deque()
        self._spoken = asyncio.Event()
        self._spoken.set()
        self.sent = 0

    async def say(self, pcm: bytes) -> float:
        """Speaks `pcm`, and returns when its last packet has been sent: that moment (time.monotonic())."""
        padded = pcm + bytes(-len(pcm) % PACKET_BYTES)
        self._spoken.clear()
        self._speech.extend(padded[i : i + PACKET_BYTES] for i in range(0, len(padded), PACKET_BYTES))
        await self._spoken.wait()
        return time.monotonic()

    async def run(self) -> None:
        """Sends for ever; a late packet is followed by the next at once, none is skipped."""
        start, silence = time.monotonic(), bytes(PACKET_BYTES)
        for number in range(1 << _MARK_BITS):
            await asyncio.sleep(start + number * PACKET_SECONDS - time.monotonic())
            packet = self._speech.popleft() if self._speech else silence
            await self._send(mark(packet, number))
            self.sent = number + 1
            if not self._speech:
                self._spoken.set()
