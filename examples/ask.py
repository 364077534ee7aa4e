"""Asks a question with the unchanged openai client, prints the answer's text, and writes its audio to answer.wav.

    pip install 'openai[realtime]'
    python examples/ask.py --url ws://127.0.0.1:8080/v1 --key KEY 'what is the capital of France'
    python examples/ask.py --url ws://127.0.0.1:8080/v1 --key KEY --wav question.wav

A WAV file is spoken in real time: 16 bit, mono, 24 kHz. When the gateway goes away in the middle, the client comes back
to the same session on another one (`resume`), and the answer goes on where it stopped.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import os
import sys
import wave
from typing import Any

from openai import AsyncOpenAI
from websockets.exceptions import ConnectionClosed

RATE = 24_000
PACKET_SECONDS = 0.02
SILENCE_SECONDS = 1.0  # after this, voice activity detection knows that the question is over


async def ask(url: str, key: str, question: str, wav: str) -> None:
    client = AsyncOpenAI(api_key=key, websocket_base_url=url)
    seen = {"session_id": "", "last_event_id": ""}

    def resume(_event: Any) -> Any:
        """Only needed to survive the loss of a gateway: names the session and the last event that arrived."""
        print(f"\ncoming back to {seen['session_id']}", file=sys.stderr)
        return {"extra_query": dict(seen)}

    async with client.realtime.connect(model="litevoice", on_reconnecting=resume, max_retries=40) as connection:
        speaking = asyncio.create_task(speak(connection, wav) if wav else type_in(connection, question))
        audio = bytearray()
        event: Any
        async for event in connection:
            seen["last_event_id"] = event.event_id
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


async def speak(connection: Any, path: str) -> None:
    with wave.open(path) as file:
        if (file.getnchannels(), file.getsampwidth(), file.getframerate()) != (1, 2, RATE):
            sys.exit(f"{path}: expected 16 bit, mono, {RATE} Hz")
        pcm = file.readframes(file.getnframes()) + bytes(int(SILENCE_SECONDS * RATE) * 2)
    size = int(PACKET_SECONDS * RATE) * 2
    for start in range(0, len(pcm), size):
        audio = base64.b64encode(pcm[start : start + size]).decode()
        await send(connection, {"type": "input_audio_buffer.append", "audio": audio})
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
    parser.add_argument("--wav", default="", help="speak this file instead")
    arguments = parser.parse_args()
    asyncio.run(ask(arguments.url, arguments.key, arguments.question, arguments.wav))


if __name__ == "__main__":
    main()
