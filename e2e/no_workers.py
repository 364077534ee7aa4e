"""Workers that are gone during a call: its requests wait at the broker until they come back."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from e2e.environment import GATEWAY, NAMESPACE
from e2e.shell import kubectl, kubectl_json, wait_until
from litevoice_dev.scenarios.audits import audited_packets
from litevoice_dev.scenarios.place import BacklogWatch, Place, Show
from litevoice_dev.scenarios.printing import backlog_table
from litevoice_dev.speech import speak
from litevoice_dev.tally import Tally
from litevoice_dev.voice_client import Answer, VoiceClient

QUESTION = "what is the capital of France"


@dataclass(slots=True)
class Outcome:
    session_id: str = ""
    answer: Answer = field(default_factory=Answer)
    packets: Tally = field(default_factory=lambda: Tally("audio packets", 0, 0))


def scale_workers(replicas: int) -> None:
    """Through the VoiceGateway; returns when as many pods run."""
    patch = f'{{"spec":{{"workers":{{"replicas":{replicas}}}}}}}'
    kubectl("patch", "vgw", "-n", NAMESPACE, GATEWAY, "--type=merge", "-p", patch)
    selector = f"app.kubernetes.io/instance={GATEWAY},app.kubernetes.io/component=worker"

    def settled() -> bool:
        items = kubectl_json("get", "pods", "-n", NAMESPACE, "-l", selector)["items"]
        ready = [
            p
            for p in items
            if any(c["type"] == "Ready" and c["status"] == "True" for c in p["status"].get("conditions", []))
        ]
        return len(items) == len(ready) == replicas

    wait_until(settled, 180, f"{replicas} workers")


async def starve(place: Place, watch: BacklogWatch, show: Show) -> Outcome:
    """Workers are scaled to 0 during a call and come back when `watch` has noticed."""
    outcome = Outcome()
    recording = await speak(QUESTION)
    async with place.requests() as read:
        async with VoiceClient(place.urls[0], place.api_key) as call:
            outcome.session_id = call.session_id
            await call.ask(recording)
            show(f"session {call.session_id} talks; scaling the workers to 0")
            await asyncio.to_thread(scale_workers, 0)
            start = len(call.heard)
            spoken_until = await call.microphone.say(recording)
            for line in backlog_table((await watch.seen(call.session_id))[:3]):
                show(f"  {line}")
            show("scaling the workers to 2")
            await asyncio.to_thread(scale_workers, 2)
            await call.wait_for(
                lambda: call.answers_since(start) >= 1, 180, "the answer to the question asked meanwhile"
            )
            outcome.answer = call.answer(start, spoken_until)
            await watch.gone(call.session_id)
        outcome.packets = await audited_packets(read, call)
    return outcome
