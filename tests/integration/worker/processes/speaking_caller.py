"""Speaks sentences by espeak-ng on uvloop while gRPC calls go on, as a worker does.

Arguments: port of the server, sentences to speak. Prints one JSON object: how many were spoken right, what went wrong
with how many others, and how many calls were answered meanwhile.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter

import grpc.aio
import uvloop

from litevoice_worker.commands import StageContext
from litevoice_worker.stages.synthesize_espeak import EspeakOptions, EspeakSynthesizer

CONTEXT = StageContext("s", "alice", "litevoice", "", 1, 0, "key", "", "")
CALLS_AT_A_TIME = 4
SENTENCES_AT_A_TIME = 4
SENTENCES = [f"This is sentence number {number}." for number in range(5)]


async def main(port: int, wanted: int) -> None:
    synthesizer = EspeakSynthesizer(EspeakOptions())
    right = [await synthesizer.synthesize(text, "default", 1.0, "pcm16/24000", CONTEXT) for text in SENTENCES]
    answered = spoken = 0
    wrong: Counter[str] = Counter()

    async def call() -> None:
        nonlocal answered
        while True:
            await say(b"x" * 2000)
            answered += 1

    async def speak(numbers: range) -> None:
        nonlocal spoken
        for number in numbers:
            which = number % len(SENTENCES)
            try:
                audio = await synthesizer.synthesize(SENTENCES[which], "default", 1.0, "pcm16/24000", CONTEXT)
            except Exception as error:
                wrong[type(error).__name__] += 1
                continue
            if audio == right[which]:
                spoken += 1
            else:
                wrong["other audio"] += 1

    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        say = channel.unary_unary("/Echo/Say", request_serializer=bytes, response_deserializer=bytes)
        await say(b"", wait_for_ready=True)
        calls = [asyncio.create_task(call()) for _ in range(CALLS_AT_A_TIME)]
        await asyncio.gather(
            *(speak(range(first, wanted, SENTENCES_AT_A_TIME)) for first in range(SENTENCES_AT_A_TIME))
        )
        failed = [repr(task.exception()) for task in calls if task.done()]
        for task in calls:
            task.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
    print(json.dumps({"spoken": spoken, "wrong": wrong, "answered": answered, "failed_calls": failed}))


uvloop.run(main(int(sys.argv[1]), int(sys.argv[2])))
