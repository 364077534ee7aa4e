"""A plug-in that goes wrong, in a whole worker: its caller is told, all others are heard and answered on, and it is
named in the log and by a metric. (Of the worker's status the operator makes a condition: operator/test_scaling.py.)"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect

from litevoice_contracts import metrics
from litevoice_contracts.names import Names
from litevoice_dev.speech import speak
from litevoice_dev.stack import LocalStack, Member
from litevoice_dev.voice_client import VoiceClient
from tests.integration.shared_rocketmq import SharedRocketMQ

pytestmark = pytest.mark.timeout(300)

TEAM = """
import asyncio, ctypes, os, sys
from litevoice_worker.commands import FunctionCall
from litevoice_worker.stages import Plugin

class Agent(Plugin):
    async def respond(self, prompt, context):
        wish = prompt.items[-1].text
        if wish == "hang":
            ctypes.PyDLL(None).sleep(3600)  # in C, with the interpreter's lock
        elif wish == "exit":
            os._exit(0)
        elif wish == "raise":
            raise KeyError("content")
        elif wish == "wrong type":
            yield FunctionCall(7, None, {})
        elif wish == "for ever":
            while True:
                yield " more"
        elif wish == "huge":
            while True:
                yield "y" * 1_000_000
        elif wish == "print":
            print("z" * 2_000_000, flush=True)
            yield "Printed."
        else:
            yield "Here."
"""
PIPELINES: list[dict[str, Any]] = [{"name": "litevoice"}, {"name": "team", "responder": {"use": "agent"}}]
WISHES = [
    ("exit", "failed", "the responder crashed 3 times at this"),
    ("raise", "failed", "internal error"),
    ("wrong type", "failed", "internal error"),
    ("for ever", "incomplete", "max_output_tokens"),
    ("huge", "incomplete", "max_output_tokens"),
    ("print", "completed", ""),
]
HUNG_SECONDS = 10
MAX_DELAY_SECONDS = 2.0
"""Of a typed question elsewhere, on a busy machine; who waits for the plug-in waits longer."""


@pytest.fixture
async def place(
    rocketmq: SharedRocketMQ, names: Names, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[LocalStack]:
    (tmp_path / "litevoice_test_wrong.py").write_text(TEAM)
    metadata = tmp_path / "litevoice_test_wrong-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: litevoice-test-wrong\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[litevoice.responders]\nagent = litevoice_test_wrong:Agent\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    stack = LocalStack(
        tmp_path / "stack",
        rocketmq.endpoints,
        rocketmq.name_server,
        names,
        gateway={"models": [pipeline["name"] for pipeline in PIPELINES]},
        worker={"pipelines": PIPELINES},
        worker_names=("worker-0",),
    )
    try:
        await stack.start(gateways=1)
        yield stack
    finally:
        stack.kill()


class Typing:
    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket

    async def ask(self, text: str) -> dict[str, Any]:
        """The response, as `response.done` has it."""
        content = [{"type": "input_text", "text": text}]
        item = {"type": "message", "role": "user", "content": content}
        await self._socket.send(json.dumps({"type": "conversation.item.create", "item": item}))
        await self._socket.send(json.dumps({"type": "response.create"}))
        while (event := json.loads(await self._socket.recv()))["type"] != "response.done":
            pass
        response: dict[str, Any] = event["response"]
        return response


@asynccontextmanager
async def typing(stack: LocalStack, model: str) -> AsyncIterator[Typing]:
    url, headers = f"{stack.gateways[0].url}/realtime?model={model}", {"Authorization": f"Bearer {stack.api_key}"}
    async with connect(url, additional_headers=headers, compression=None) as socket:
        session = {"type": "realtime", "output_modalities": ["text"]}
        await socket.send(json.dumps({"type": "session.update", "session": session}))
        yield Typing(socket)


async def test_what_a_plug_in_does_to_itself_costs_its_own_turn(place: LocalStack) -> None:
    slowest = 0.0

    async def keep_asking(caller: Typing) -> None:
        nonlocal slowest
        while True:
            began = time.monotonic()
            assert (await caller.ask("hello"))["status"] == "completed"
            slowest = max(slowest, time.monotonic() - began)
            await asyncio.sleep(0.1)

    worker = place.workers[0]
    async with (
        typing(place, "litevoice") as other,
        typing(place, "team") as wrong,
        typing(place, "team") as right,
        VoiceClient(place.gateways[0].url, place.api_key) as speaking,
    ):
        assert (await right.ask("hello"))["status"] == "completed"
        asking = asyncio.create_task(keep_asking(other))
        for wish, status, why in WISHES:
            response = await wrong.ask(wish)
            details = response["status_details"] or {}
            told = details.get("error", {}).get("message") or details.get("reason", "")
            assert (response["status"], told) == (status, why), wish
            assert (await right.ask("hello"))["status"] == "completed", f"another caller of it, after {wish}"
        hanging = asyncio.create_task(wrong.ask("hang"))
        await asyncio.sleep(1)
        heard = await speaking.ask(await speak("what is the capital of France"), timeout_seconds=HUNG_SECONDS)
        assert heard.status == "completed"
        assert "paris" in heard.text.lower()
        assert not hanging.done()
        deadline = time.monotonic() + 3 * HUNG_SECONDS
        while await deaths(worker, "hung") == 0:
            assert time.monotonic() < deadline, "the watchdog has seen it"
            await asyncio.sleep(0.5)
        for task in (hanging, asking):
            task.cancel()
        assert await deaths(worker, "crashed") == 3
    assert slowest < MAX_DELAY_SECONDS
    log = worker.log.read_text()
    assert '"message": "a plug-in\'s process ended", "stage": "responder", "plugin": "agent", "how": "hung"' in log
    assert '"message": "a plug-in failed", "stage": "responder", "plugin": "agent", "error": "KeyError"' in log


async def deaths(worker: Member, how: str) -> float:
    return await worker.metric(metrics.WORKER_PLUGIN_DEATHS, stage="responder", plugin="agent", how=how)
