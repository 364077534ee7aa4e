"""Kills gateways (kill -9) while callers speak, and checks by what the recognizer was given that nothing is missing,
doubled or out of order: every 20 ms of the audio say their own number.

Everything is a real process: RocketMQ, three gateways, a worker, and a recognizer that it asks by OpenAI's HTTP API.
The callers use the unchanged openai client and acknowledgements; without them (`--unacknowledged`) what was in flight
is lost, which shows that the check sees it. Exit code 0: nothing was lost, doubled or reordered.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import random
import shutil
import time
import wave
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from aiohttp import web

from litevoice_contracts.names import Names
from litevoice_dev.microphone import PACKET_BYTES, PACKET_SECONDS
from litevoice_dev.numbered_speech import NUMBERS, frame, numbers, read, written
from litevoice_dev.ports import HOST, free_port
from litevoice_dev.progress import say
from litevoice_dev.rocketmq import LocalRocketMQ
from litevoice_dev.stack import LocalStack, Member
from litevoice_dev.tally import Tally, tally
from litevoice_dev.voice_client import CallFailed, VoiceClient

ROUND_FRAMES = 100
"""Two seconds are spoken in each round, and a gateway dies at some moment of them."""
CALM_FRAMES = 15
"""But not among the first and the last."""
TAIL_FRAMES = 5
"""Silence before a commit, of which the last 60 ms do not reach a recognizer."""
PATIENCE_SECONDS = 60.0
NAMES = Names("kills-requests", "kills-replies", 4)
_TRANSCRIBED = "conversation.item.input_audio_transcription.completed"


@dataclass(slots=True)
class Outcome:
    """Attributes:
    cuts: connections that a kill has cut.
    resent: appends that were sent again, of which the broker had some.
    heard: one tally per session.
    stopped: why it ended early, "" when it did not.
    gaps_ms: connection lost → first event on the new connection.
    """

    kills: int = 0
    cuts: int = 0
    resent: int = 0
    heard: list[Tally] = field(default_factory=list)
    gaps_ms: list[float] = field(default_factory=list)
    stopped: str = ""

    @property
    def clean(self) -> bool:
        return not self.stopped and bool(self.heard) and self.cuts > 0 and all(map(exact, self.heard))

    def lines(self) -> list[str]:
        """For people."""
        total = {
            name: sum(len(getattr(one, name)) for one in self.heard) for name in ("lost", "duplicated", "reordered")
        }
        gaps = sorted(self.gaps_ms) or [0.0]
        return [
            f"kills {self.kills}, sessions {len(self.heard)}, connections cut {self.cuts}",
            f"frames spoken {sum(one.expected for one in self.heard)}, heard {sum(one.arrived for one in self.heard)}, "
            f"lost {total['lost']}, doubled {total['duplicated']}, reordered {total['reordered']}",
            f"appends sent again {self.resent}; "
            f"gap p50 {gaps[len(gaps) // 2]:.0f} ms, p99 {gaps[len(gaps) * 99 // 100]:.0f} ms, max {gaps[-1]:.0f} ms",
            *([f"✘ stopped: {self.stopped}"] if self.stopped else []),
            *(f"✘ session {index}: {one}" for index, one in enumerate(self.heard) if not exact(one)),
        ]


def exact(heard: Tally) -> bool:
    """Nothing else was heard either."""
    return heard.clean and heard.arrived == heard.expected


@contextlib.asynccontextmanager
async def recognizer() -> AsyncIterator[list[object]]:
    """An endpoint whose transcripts say which frames it was given; the worker's `pipelines` to use it."""

    async def transcribe(request: web.Request) -> web.Response:
        form: Any = await request.post()
        with wave.open(io.BytesIO(form["file"].file.read())) as speech:
            rate, pcm = speech.getframerate(), speech.readframes(speech.getnframes())
        return web.json_response({"text": written(numbers(np.frombuffer(pcm, dtype="<i2").astype(np.int16), rate))})

    app = web.Application(client_max_size=16 << 20)
    app.router.add_post("/v1/audio/transcriptions", transcribe)
    runner, port = web.AppRunner(app, access_log=None), free_port()
    await runner.setup()
    try:
        await web.TCPSite(runner, HOST, port).start()
        options = {"endpoints": [{"baseUrl": f"http://{HOST}:{port}/v1", "model": "numbers"}]}
        yield [{"name": "numbers", "transcriber": {"use": "openai", "options": options}}]
    finally:
        await runner.cleanup()


class Caller:
    """Speaks numbered frames in real time, and remembers what was heard of them."""

    def __init__(self, call: VoiceClient) -> None:
        self.call = call
        self.spoken = 0
        self._heard: list[int] = []
        self._seen = 0

    async def speak(self) -> None:
        """One round, up to the transcript."""
        begin = time.monotonic()
        for index in range(ROUND_FRAMES):
            await asyncio.sleep(begin + index * PACKET_SECONDS - time.monotonic())
            await self.call.append(frame(self.spoken))
            self.spoken += 1
        for _ in range(TAIL_FRAMES):
            await self.call.append(bytes(PACKET_BYTES))
        await self.call.all_confirmed(PATIENCE_SECONDS)
        await self.call.commit()
        await self.call.wait_for(lambda: self._transcripts() > self._seen, PATIENCE_SECONDS, "the transcript")
        self._seen += 1

    def _transcripts(self) -> int:
        return sum(1 for heard in self.call.heard if heard.type == _TRANSCRIBED)

    def tally(self, name: str) -> Tally:
        """Frames count on from NUMBERS, the transcripts begin with 0 again: each is taken for the nearest."""
        arrived: list[int] = []
        for heard in self.call.heard:
            if heard.type == _TRANSCRIBED:
                event: Any = heard.event
                arrived += (nearest(number, len(arrived)) for number in read(event.transcript))
        return tally(name, range(self.spoken), arrived)


def nearest(number: int, near: int) -> int:
    """Of all that are written like `number`; something that is no number stays as it is."""
    if number < 0:
        return number
    return number + round((near - number) / NUMBERS) * NUMBERS


async def kill_gateways(
    stack: LocalStack, *, kills: int, sessions: int, seed: int, acknowledged: bool = True
) -> Outcome:
    """`stack`: running, with the pipelines of `recognizer`; it must have two gateways or more."""
    outcome, chance = Outcome(), random.Random(seed)
    urls = [gateway.url for gateway in stack.gateways]
    silent = {"audio": {"input": {"turn_detection": None}}}
    async with contextlib.AsyncExitStack() as calls:
        clients = [
            VoiceClient(
                urls[0], stack.api_key, more_urls=urls[1:], session=silent, acknowledged=acknowledged, mute=True
            )
            for _ in range(sessions)
        ]
        callers = [Caller(call) for call in await asyncio.gather(*map(calls.enter_async_context, clients))]
        try:
            for number in range(1, kills + 1):
                moment = chance.uniform(CALM_FRAMES, ROUND_FRAMES - CALM_FRAMES)
                struck = asyncio.create_task(_strike(stack, await _busiest(stack), moment))
                await asyncio.gather(*(caller.speak() for caller in callers), struck)
                outcome.kills = number
                if number % 10 == 0:
                    say(f"{number} kills")
        except CallFailed as failure:
            outcome.stopped = str(failure)
        for caller in callers:
            call = caller.call
            outcome.cuts += len(call.reconnects)
            outcome.gaps_ms += [(back.back_at - back.lost_at) * 1000 for back in call.reconnects]
            outcome.resent += call.resent
            outcome.heard.append(caller.tally("frames, caller → recognizer"))
    return outcome


async def _busiest(stack: LocalStack) -> Member:
    """The gateway with the most sessions, once all are ready."""
    await asyncio.gather(*(gateway.wait_ready() for gateway in stack.gateways))
    held = [(await gateway.status())["sessions"] for gateway in stack.gateways]
    return stack.gateways[held.index(max(held))]


async def _strike(stack: LocalStack, gateway: Member, after_frames: float) -> None:
    await asyncio.sleep(after_frames * PACKET_SECONDS)
    await asyncio.to_thread(gateway.kill)
    stack.replace_gateway(gateway)


async def run(folder: Path, *, kills: int, sessions: int, seed: int, acknowledged: bool) -> bool:
    """All of it, with a RocketMQ of its own in `folder`; whether nothing is wrong."""
    shutil.rmtree(folder, ignore_errors=True)
    rocketmq = LocalRocketMQ(folder / "rocketmq", progress=say)
    async with recognizer() as pipelines:
        stack = LocalStack(
            folder / "stack",
            rocketmq.endpoints,
            rocketmq.name_server,
            NAMES,
            worker={"pipelines": pipelines},
            worker_names=("worker-0",),
            progress=say,
        )
        try:
            await asyncio.to_thread(rocketmq.start)
            await stack.start(gateways=3)
            say(f"{sessions} callers speak; {kills} gateways die meanwhile (seed {seed})")
            outcome = await kill_gateways(stack, kills=kills, sessions=sessions, seed=seed, acknowledged=acknowledged)
        finally:
            stack.kill()
            rocketmq.kill()
    print("\n".join(outcome.lines()), flush=True)
    return outcome.clean
