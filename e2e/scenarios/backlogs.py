"""Two backlogs and the alerts that must see them: a caller that stops reading, and workers that are gone."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from e2e.audit_pod import AuditPod
from e2e.environment import GATEWAY, NAMESPACE, Endpoint
from e2e.shell import kubectl, kubectl_json, wait_until
from litevoice_dev.speech import speak
from litevoice_dev.tally import Tally, tally_events, tally_packets
from litevoice_dev.voice_client import Answer, VoiceClient

REPLIES_ALERT, REQUESTS_ALERT = "demo-replies", "demo-requests"
LONG_QUESTION, SHORT_QUESTION = "tell me the story of the lighthouse", "what is the capital of France"
FIRING_TIMEOUT_SECONDS = 150.0

Show = Callable[[str], None]


@dataclass(slots=True)
class Outcome:
    """What the alert said while it fired, what Kubernetes Events there were, and whether anything was lost."""

    session_id: str = ""
    client: str = ""
    firing: dict[str, Any] = field(default_factory=dict)
    cleared: dict[str, Any] = field(default_factory=dict)
    kubernetes_events: list[str] = field(default_factory=list)
    answer: Answer = field(default_factory=Answer)
    lost: Tally = field(default_factory=lambda: Tally("", 0, 0))


def alert_status(name: str) -> dict[str, Any]:
    return dict(kubectl_json("get", "bla", "-n", NAMESPACE, name).get("status", {}))


def wait_for_state(name: str, state: str) -> dict[str, Any]:
    def look() -> dict[str, Any]:
        status = alert_status(name)
        return status if status.get("state") == state and (state != "Firing" or status.get("top")) else {}

    return dict(wait_until(look, FIRING_TIMEOUT_SECONDS, f"BacklogAlert {name} is {state}"))


def alert_events(name: str) -> list[str]:
    """Kubernetes Events about the alert, oldest first: `<type> <reason> <message>`."""
    items = kubectl_json("get", "events", "-n", NAMESPACE, "--field-selector", f"involvedObject.name={name}")["items"]
    items.sort(key=lambda e: e.get("lastTimestamp") or e.get("eventTime") or "")
    return [f"{e['type']} {e['reason']} {e['message']}" for e in items]


def narrow_socket(url: str) -> socket.socket:
    """A connection whose receive buffer is small, so that a reader that stops is noticed soon."""
    parts = urlsplit(url)
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
    connection.connect((parts.hostname, parts.port or 80))
    connection.setblocking(False)
    return connection


async def slow_reader(endpoint: Endpoint, show: Show) -> Outcome:
    """A caller stops reading during a long answer, and reads on when the alert has fired."""
    outcome = Outcome()
    connection = narrow_socket(endpoint.direct_url)
    address, port = connection.getsockname()
    outcome.client = f"{address}:{port}"
    options = {"sock": connection, "max_queue": 2, "ping_interval": None}  # a device that hangs asks for nothing
    async with VoiceClient(endpoint.direct_url, endpoint.api_key, websocket_options=options) as call:
        outcome.session_id = call.session_id
        recording = await speak(LONG_QUESTION)
        start = len(call.heard)
        spoken_until = await call.microphone.say(recording)
        await call.wait_for(lambda: bool(call.answer(start, 0).audio), 60, "the first answer audio")
        call.stop_reading()
        show(f"session {call.session_id} has stopped reading while a long answer is spoken")
        outcome.firing = await asyncio.to_thread(wait_for_state, REPLIES_ALERT, "Firing")
        outcome.kubernetes_events = await asyncio.to_thread(alert_events, REPLIES_ALERT)
        show_alert(show, REPLIES_ALERT, outcome)
        call.read_on()
        show("it reads on")
        await call.wait_for(lambda: call.answers_since(start) >= 1, 120, "the rest of the long answer")
        outcome.answer = call.answer(start, spoken_until)
        heard = [h.event_id for h in call.heard]
        outcome.cleared = await asyncio.to_thread(wait_for_state, REPLIES_ALERT, "Inactive")
    audit = AuditPod("replies", outcome.session_id)
    await asyncio.to_thread(audit.start)
    log = await asyncio.to_thread(audit.wait_complete)
    last = max(int(i.split("_")[1]) for i in heard if i.split("_")[1].isdigit())
    outcome.lost = tally_events(heard, [line for line in log if line["position"] <= last])
    await asyncio.to_thread(audit.remove)
    return outcome


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


async def no_workers(endpoint: Endpoint, show: Show) -> Outcome:
    """Workers are scaled to 0 during a call and come back when the alert has fired."""
    outcome = Outcome()
    recording = await speak(SHORT_QUESTION)
    audit = AuditPod("requests")
    await asyncio.to_thread(audit.start)
    await asyncio.to_thread(audit.wait_ready)
    async with VoiceClient(endpoint.url, endpoint.api_key) as call:
        outcome.session_id = call.session_id
        await call.ask(recording)
        show(f"session {call.session_id} talks; scaling the workers to 0")
        await asyncio.to_thread(scale_workers, 0)
        start = len(call.heard)
        spoken_until = await call.microphone.say(recording)
        outcome.firing = await asyncio.to_thread(wait_for_state, REQUESTS_ALERT, "Firing")
        outcome.kubernetes_events = await asyncio.to_thread(alert_events, REQUESTS_ALERT)
        show_alert(show, REQUESTS_ALERT, outcome)
        show("scaling the workers to 2")
        await asyncio.to_thread(scale_workers, 2)
        await call.wait_for(lambda: call.answers_since(start) >= 1, 180, "the answer to the question asked meanwhile")
        outcome.answer = call.answer(start, spoken_until)
        outcome.cleared = await asyncio.to_thread(wait_for_state, REQUESTS_ALERT, "Inactive")
    sent = call.microphone.sent
    for _ in range(30):
        outcome.lost = tally_packets(sent, await asyncio.to_thread(audit.lines), outcome.session_id)
        if not outcome.lost.lost:
            break
        await asyncio.sleep(1)
    await asyncio.to_thread(audit.remove)
    return outcome


def show_alert(show: Show, name: str, outcome: Outcome) -> None:
    show(kubectl("get", "bla", "-n", NAMESPACE, "-o", "wide").rstrip())
    status = outcome.firing
    show(f"{name}: {status.get('state')} {status.get('severity')}, value {status.get('value')}")
    for entry in status.get("top", [])[:3]:
        show("  " + ", ".join(f"{key} {value}" for key, value in entry.items()))
    for event in outcome.kubernetes_events[-3:]:
        show(f"  Event: {event}")
