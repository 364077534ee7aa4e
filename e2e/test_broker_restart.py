"""The development RocketMQ keeps its data on a volume: conversations outlive its pod."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from urllib.parse import urlencode

import pytest
import websockets
from websockets.asyncio.client import ClientConnection

from e2e import environment
from e2e.shell import kubectl

pytestmark = pytest.mark.timeout(600)

POD, STATEFUL_SET = f"{environment.RELEASE}-rocketmq-0", f"statefulset/{environment.RELEASE}-rocketmq"


async def test_a_conversation_outlives_the_brokers_pod(endpoint: environment.Endpoint) -> None:
    call = await connect(endpoint, model="litevoice")
    session_id = json.loads(await call.recv())["session"]["id"]
    first, last_event_id = await ask(call, "what is the capital of France")
    await call.close()
    assert "Paris" in first

    await asyncio.to_thread(replace_broker)

    call = await connect(endpoint, model="litevoice", session_id=session_id, last_event_id=last_event_id)
    again, _ = await ask(call, "what did I ask first")
    await call.close()
    assert "the capital of france" in again.lower()


def replace_broker() -> None:
    uid = ("get", "pod", POD, "-n", environment.SYSTEM_NAMESPACE, "-o", "jsonpath={.metadata.uid}")
    before = kubectl(*uid)
    kubectl("delete", "pod", POD, "-n", environment.SYSTEM_NAMESPACE)
    kubectl("rollout", "status", STATEFUL_SET, "-n", environment.SYSTEM_NAMESPACE, "--timeout=280s")
    assert kubectl(*uid) != before


async def connect(endpoint: environment.Endpoint, **query: str) -> ClientConnection:
    """Tries again while the gateways have no broker: they refuse new connections then."""
    url = f"{endpoint.url}/realtime?{urlencode(query)}"
    headers = {"Authorization": f"Bearer {endpoint.api_key}"}
    async with asyncio.timeout(180):
        while True:
            try:
                return await websockets.connect(url, additional_headers=headers)
            except (OSError, websockets.InvalidHandshake):
                await asyncio.sleep(0.5)


async def ask(call: ClientConnection, text: str) -> tuple[str, str]:
    """The answer's words, and the id of the last event."""
    item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}
    await call.send(json.dumps({"type": "conversation.item.create", "item": item}))
    await call.send(json.dumps({"type": "response.create"}))
    answer = ""
    async with asyncio.timeout(90):
        while True:
            event: dict[str, Any] = json.loads(await call.recv())
            assert event["type"] != "error", event
            if event["type"] == "response.output_audio_transcript.done":
                answer = event["transcript"]
            if event["type"] == "response.done":
                assert event["response"]["status"] == "completed", event
                return answer, event["event_id"]
