"""A client edits its conversation, has an answer given beside it, and comes back after everything that held it in
memory is gone: the unchanged openai client, real gateways and workers, the broker's log."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from openai import AsyncOpenAI
from openai.resources.realtime.realtime import AsyncRealtimeConnection

from litevoice_dev.stack import LocalStack

pytestmark = pytest.mark.timeout(180)


async def until(connection: AsyncRealtimeConnection, kind: str) -> Any:
    """The next event of that type; an error is none of those expected here."""
    async with asyncio.timeout(60):
        while True:
            event = await connection.recv()
            assert event.type != "error", event
            if event.type == kind:
                return event


async def typed(connection: AsyncRealtimeConnection, item_id: str, text: str) -> None:
    content = [{"type": "input_text", "text": text}]
    item: Any = {"id": item_id, "type": "message", "role": "user", "content": content}
    await connection.conversation.item.create(item=item)
    await until(connection, "conversation.item.done")


async def test_what_was_heard_and_what_was_deleted_is_remembered(stack: LocalStack) -> None:
    clients = [
        AsyncOpenAI(api_key=stack.api_key, base_url="http://unused.invalid/v1", websocket_base_url=gateway.url)
        for gateway in stack.gateways[:2]
    ]
    async with clients[0].realtime.connect(model="litevoice") as connection:
        created: Any = await until(connection, "session.created")
        await typed(connection, "secret", "what is the capital of France")
        await typed(connection, "story", "tell me a story")
        await connection.response.create()
        answer: Any = await until(connection, "response.output_item.added")
        for _ in range(3):
            await until(connection, "response.output_audio.delta")
        await connection.conversation.item.truncate(item_id=answer.item.id, content_index=0, audio_end_ms=700)
        done: Any = await until(connection, "response.done")
        assert done.response.status == "cancelled"
        truncated: Any = await until(connection, "conversation.item.truncated")
        assert (truncated.item_id, truncated.audio_end_ms) == (answer.item.id, 700)
        await connection.conversation.item.delete(item_id="secret")
        await until(connection, "conversation.item.deleted")
        await typed(connection, "aside", "tell me about the sun")
        reference: Any = {"type": "item_reference", "id": "aside"}
        await connection.response.create(
            response={"conversation": "none", "metadata": {"topic": "sun"}, "input": [reference]}
        )
        beside: Any = await until(connection, "response.created")
        heard_of_it: Any = await until(connection, "response.output_audio.delta")
    for worker in list(stack.workers):
        worker.kill()
    for worker in list(stack.workers):
        await stack.replace_worker(worker).wait_ready()
    query = {"session_id": created.session.id, "last_event_id": heard_of_it.event_id}
    async with clients[1].realtime.connect(model="litevoice", extra_query=query) as connection:
        restored: Any = await until(connection, "session.created")
        assert restored.session.id == created.session.id
        end: Any = await until(connection, "response.done")
        assert (end.response.id, end.response.conversation_id) == (beside.response.id, None)
        assert (end.response.status, end.response.metadata) == ("completed", {"topic": "sun"})
        assert end.response.output[0].content[0].transcript.endswith("a million earths would fit inside.")
        await connection.conversation.item.retrieve(item_id=answer.item.id)
        remembered: Any = await until(connection, "conversation.item.retrieved")
        heard = remembered.item.content[0].transcript
        assert "Once there was a small boat".startswith(heard), "0.7 seconds of it"
        assert heard
        await typed(connection, "first", "what did I ask first")
        await connection.response.create(response={"output_modalities": ["text"]})
        said: Any = await until(connection, "response.output_text.done")
        assert "tell me a story" in said.text, "the question before it was deleted"
    for client in clients:
        await client.close()
