"""Asks a question with the unchanged openai client, prints the answer's text, and writes its audio to answer.wav.

    pip install 'openai[realtime]'
    python examples/ask.py --url ws://127.0.0.1:8080/v1 --key KEY 'what is the capital of France'
    python examples/ask.py --url ws://127.0.0.1:8080/v1 --key KEY --wav question.wav
    python examples/ask.py --url ws://127.0.0.1:8080/v1 --key KEY --model bookings 'a table for two'

Without `--model` the first pipeline answers.

A WAV file is spoken in real time: 16 bit, mono, 24 kHz. When the gateway goes away in the middle, the client comes back
to the same session on another one (`resume`): the answer goes on where it stopped, and what the broker had not
confirmed of the question is sent again (`Appends`).
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import collections
import os
import sys
import wave
from typing import Any

from openai import AsyncOpenAI, omit
from websockets.exceptions import ConnectionClosed, InvalidStatus

RATE = 24_000
PACKET_SECONDS = 0.02
SILENCE_SECONDS = 1.0  # after this, voice activity detection knows that the question is over


class Appends:
    """Audio that the broker has not confirmed: kept, and sent again on the next connection."""

    def __init__(self) -> None:
        self.kept: collections.deque[str] = collections.deque()
        self.count = self.next = 0  # of all, and of those kept that this connection was sent
        self.ready = False
        self.lock = asyncio.Lock()

    def query(self) -> dict[str, str]:
        """For a connection that is about to be made: asks for confirmations, and says where they stand."""
        self.ready = False
        while len(self.kept) > 3000:  # a minute; beyond it the oldest go, but only here, where the count is told
            self.kept.popleft()
        return {"confirmed_appends": str(self.count - len(self.kept))}

    async def take(self, event: Any, connection: Any) -> None:
        """Every server event."""
        if event.type == "session.created":
            self.ready, self.next = True, 0
            await self.send(connection)
        elif event.type == "litevoice.input_audio_buffer.confirmed":
            while self.kept and self.count - len(self.kept) < event.appends:
                self.kept.popleft()
                self.next -= 1

    async def append(self, connection: Any, pcm: bytes) -> None:
        self.kept.append(base64.b64encode(pcm).decode())
        self.count += 1
        await self.send(connection)

    async def send(self, connection: Any) -> None:
        """What this connection was not sent yet. Before session.created nothing: the kept ones come first."""
        async with self.lock:
            while self.ready and self.next < len(self.kept):
                self.next += 1
                try:
                    await connection.input_audio_buffer.append(audio=self.kept[self.next - 1])
                except ConnectionClosed:
                    return  # it is kept


async def ask(url: str, key: str, model: str, question: str, wav: str) -> None:
    client = AsyncOpenAI(api_key=key, websocket_base_url=url)
    seen = {"session_id": "", "last_event_id": ""}
    appends = Appends()

    def resume(_event: Any) -> Any:
        """Only needed to survive the loss of a gateway: names the session and the last event that arrived."""
        print(f"\ncoming back to {seen['session_id']}", file=sys.stderr)
        return {"extra_query": seen | appends.query()}

    async with client.realtime.connect(
        model=model or omit, extra_query=appends.query(), on_reconnecting=resume, max_retries=40
    ) as connection:
        speaking = asyncio.create_task(speak(connection, appends, wav) if wav else type_in(connection, question))
        audio = bytearray()
        event: Any
        async for event in connection:
            seen["last_event_id"] = event.event_id
            await appends.take(event, connection)
            match event.type:
                case "session.created":
                    seen["session_id"] = event.session.id
                case "conversation.item.input_audio_transcription.completed":
                    print(f"you said: {event.transcript}", flush=True)
                case "response.output_audio_transcript.delta":
                    print(event.delta, end="", flush=True)
                case "response.output_audio.delta":
                    audio += base64.b64decode(event.delta)
                case "error":
                    sys.exit(f"{event.error.code}: {event.error.message}")
                case "response.done":
                    break
        await speaking
    with wave.open("answer.wav", "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(audio)
    print(f"\nanswer.wav: {len(audio) / RATE / 2:.1f} s")


async def type_in(connection: Any, question: str) -> None:
    item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": question}]}
    await send(connection, {"type": "conversation.item.create", "item": item})
    await send(connection, {"type": "response.create"})


async def speak(connection: Any, appends: Appends, path: str) -> None:
    with wave.open(path) as file:
        if (file.getnchannels(), file.getsampwidth(), file.getframerate()) != (1, 2, RATE):
            sys.exit(f"{path}: expected 16 bit, mono, {RATE} Hz")
        pcm = file.readframes(file.getnframes()) + bytes(int(SILENCE_SECONDS * RATE) * 2)
    size = int(PACKET_SECONDS * RATE) * 2
    for start in range(0, len(pcm), size):
        await appends.append(connection, pcm[start : start + size])
        await asyncio.sleep(PACKET_SECONDS)


async def send(connection: Any, event: Any) -> None:
    """Sends once. Between the loss of a connection and the return, the client raises without having sent."""
    while True:
        try:
            await connection.send(event)
            return
        except ConnectionClosed:
            await asyncio.sleep(0.05)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("question", nargs="?", default="what is the capital of France")
    parser.add_argument("--url", default="ws://127.0.0.1:8080/v1")
    parser.add_argument("--key", default=os.environ.get("LITEVOICE_API_KEY", ""), help="default: $LITEVOICE_API_KEY")
    parser.add_argument("--model", default="", help="name of a pipeline (default: the first)")
    parser.add_argument("--wav", default="", help="speak this file instead")
    arguments = parser.parse_args()
    try:
        asyncio.run(ask(arguments.url, arguments.key, arguments.model, arguments.question, arguments.wav))
    except InvalidStatus as error:
        sys.exit(f"refused: {error.response.status_code} {error.response.body.decode(errors='replace')}")


if __name__ == "__main__":
    main()
