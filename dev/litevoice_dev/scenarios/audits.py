"""What a caller sent and heard, compared with what the broker holds."""

from __future__ import annotations

import asyncio

from litevoice_dev.scenarios.place import Place, ReadLines
from litevoice_dev.tally import Tally, tally_events, tally_packets
from litevoice_dev.voice_client import VoiceClient

PATIENCE_SECONDS = 30.0


async def audited_packets(read: ReadLines, call: VoiceClient, *, cut_at: int | None = None) -> Tally:
    """The packets of a call that is over. Waits for them, and tells what is missing when they do not come.

    `cut_at`: number of packets sent when the call's first connection was cut without a goodbye.
    """
    sent, waited = call.microphone.sent, 0.0
    while True:
        result = tally_packets(sent, await read(), call.session_id)
        if cut_at is not None and call.reconnects:
            result = result.cut(cut_at, call.reconnects[0].sent)
        if not result.lost or waited >= PATIENCE_SECONDS:
            return result
        await asyncio.sleep(0.5)
        waited += 0.5


async def audited_events(place: Place, call: VoiceClient) -> Tally:
    """The events of a call, up to the last position that was heard."""
    heard = [h.event_id for h in call.heard]
    last = max((int(i.split("_")[1]) for i in heard if i.split("_")[1].isdigit()), default=0)
    log = await place.replies(call.session_id)
    return tally_events(heard, [line for line in log if line["position"] <= last])
