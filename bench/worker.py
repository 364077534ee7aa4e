"""A worker alone: envelopes of many sessions in, messages to sessions out, without broker, ASR, LLM and TTS.

    python -m bench.worker [--sessions 32] [--seconds 20]

Three microphones: digital silence, a quiet room (-55 dBFS), and a voice that does not pause. Measured is the CPU time
of the whole process (threads included) from a message as the broker delivers it to the end of voice activity
detection. Sessions speak in beats of 100 ms, faster than they would. Prints one table, writes raw data, and exits
with 1 when a bar is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import itertools
import os
import statistics
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import uvloop

from bench import proc
from bench.figures import Figure, spread
from bench.report import add_output, finish
from litevoice_broker.partition_consumer import PartitionMessage
from litevoice_contracts.conversation import QUIETEST_FLOOR, Codec, Cursor, SessionConfig, Snapshot, TurnDetection
from litevoice_contracts.envelopes import Bundle, UpEnvelope
from litevoice_contracts.packets import Audio, Packet, described
from litevoice_contracts.settings import BrokerSettings, MembersSettings, WorkerSettings
from litevoice_dev.progress import say
from litevoice_dev.speech import RATE, speak
from litevoice_worker.audio import Samples, decode
from litevoice_worker.commands import Outcome, Prompt, StageContext
from litevoice_worker.endpointing import WINDOW_MILLISECONDS
from litevoice_worker.gate import energies
from litevoice_worker.members import StaticMembers
from litevoice_worker.ownership import Certain
from litevoice_worker.plugins import Pipelines, Stages
from litevoice_worker.turn import PAUSE_SECONDS
from litevoice_worker.worker import Worker

FRAME_BYTES = RATE // 50 * 2
FRAMES_PER_BEAT = 5
BEATS_PER_SECOND = 10
WARMUP_SECONDS = 8
"""Noise that begins is known to the gate after 6 s at most (ADR 9); until then the network hears it."""
LOOP_SECONDS = 10
ROOM_DBFS = -55.0
SETTLED_SECONDS = 0.05
IDLE_SESSIONS, POOL_SESSIONS = 200, 2000
KIB = 1024
TEXT = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen"
Kind = str


class NullStages:
    """ASR that understands nothing; the others are never asked, because nothing is to be answered."""

    async def transcribe(self, samples: Samples, context: StageContext) -> str:  # noqa: ARG002
        return ""

    async def respond(self, prompt: Prompt, context: StageContext) -> AsyncIterator[str | Outcome]:  # noqa: ARG002
        yield Outcome("completed", "", 0, 0)

    async def synthesize(self, text: str, voice: str, speed: float, codec: Codec, context: StageContext) -> bytes:  # noqa: ARG002
        return b""

    async def close(self) -> None: ...


class NullProducer:
    """Confirms in the loop's next turn, as a broker without a way to it."""

    def __init__(self) -> None:
        self.messages = 0

    def enqueue_lite(
        self, _parent: str, _name: str, _body: bytes, done: Callable[[BaseException | None], None], *_: Any
    ) -> None:
        self.messages += 1
        asyncio.get_running_loop().call_soon(done, None)


class Subject:
    """The seam to the worker's code: everything here that a change of it can break.

    `config`: of all sessions; `noise_floor`: where they are. Attributes: producer: counts what goes down.
    """

    def __init__(self, config: SessionConfig, noise_floor: float = QUIETEST_FLOOR) -> None:
        settings = WorkerSettings(
            broker=BrokerSettings(
                endpoints="127.0.0.1:1", name_server="127.0.0.1:1", request_topic="a", reply_topic="b", partitions=1
            ),
            members=MembersSettings(static=["worker-0"]),
            max_sessions=100_000,
        )
        stages = NullStages()
        members = StaticMembers(frozenset({"worker-0"}))
        environment = {"POD_NAME": "worker-0", "POD_IP": "127.0.0.1"}
        self._worker = Worker(settings, Pipelines({"litevoice": Stages(stages, stages, stages)}), members, environment)
        self.producer = NullProducer()
        self._worker._producers = [self.producer]  # type: ignore[list-item]
        self._snapshot = Snapshot(config=config, cursor=Cursor(noise_floor=noise_floor))
        self._next: dict[str, int] = {}
        self._offsets = itertools.count()

    async def deliver(self, packets: dict[str, list[Packet]]) -> None:
        """What a gateway sends for these sessions at one beat."""
        envelopes = []
        for name, some in packets.items():
            seq = self._next.get(name, 0)
            snapshot = self._snapshot if seq == 0 else None
            envelope = UpEnvelope(session_id=name, epoch=1, seq=seq, turn=0, packets=some, snapshot=snapshot)
            self._next[name] = seq + len(some)
            envelopes.append(envelope.encode())
        properties, body = Bundle("g_bench", envelopes).encode()
        message = PartitionMessage(next(self._offsets), properties, body, time.time())
        await self._worker._handle(0, [message], Certain(0, 0.0))

    async def settle(self) -> None:
        """Until nothing computes any more, in whatever thread."""
        while True:
            before = time.process_time()
            await asyncio.sleep(SETTLED_SECONDS)
            if time.process_time() - before < SETTLED_SECONDS / 10:
                return


@dataclass(slots=True)
class Results:
    """A value per round."""

    frame_microseconds: list[float] = field(default_factory=list)
    messages_per_second: list[float] = field(default_factory=list)
    """Down, per session and second of its audio."""


def config() -> SessionConfig:
    return SessionConfig(turn_detection=TurnDetection(create_response=False))


def room(count: int) -> bytes:
    """PCM16: noise through a one-pole low-pass, as the load generator's."""
    white = np.random.default_rng(11).standard_normal(count)
    low = np.empty(count)
    state = 0.0
    for index, value in enumerate(white):
        state += 0.1 * (value - state)
        low[index] = state
    scaled = low * (32768 * 10 ** (ROOM_DBFS / 20) / np.sqrt(np.mean(low**2)))
    return np.asarray(np.round(scaled), "<i2").tobytes()


def frames(pcm: bytes) -> list[Packet]:
    """As a gateway sends them: silence is described."""
    pieces = [pcm[at : at + FRAME_BYTES] for at in range(0, len(pcm) - FRAME_BYTES + 1, FRAME_BYTES)]
    return [described(Audio(piece), "pcm16/24000") for piece in pieces]


async def sounds() -> dict[Kind, list[Packet]]:
    """20 ms frames of each kind, to be looped."""
    voice = await speak(TEXT)
    return {
        "silence": frames(bytes(FRAME_BYTES * FRAMES_PER_BEAT)),
        "room": frames(await asyncio.to_thread(room, RATE * LOOP_SECONDS)),
        "speech": frames(voice),
    }


def beats(loop: Sequence[Packet], start: int) -> Iterator[list[Packet]]:
    """100 ms at a time, for ever, from frame `start` on."""
    endless = itertools.islice(itertools.cycle(loop), start % len(loop), None)
    while True:
        yield list(itertools.islice(endless, FRAMES_PER_BEAT))


def floor_of(loop: Sequence[Packet]) -> float:
    """The noise floor of a place that sounds like this."""
    audio = b"".join(packet.data for packet in loop if isinstance(packet, Audio))
    if not audio:  # digital silence is described
        return QUIETEST_FLOOR
    window_bytes = RATE * WINDOW_MILLISECONDS // 1000 * 2
    heard = decode(audio[: len(audio) // window_bytes * window_bytes], "pcm16/24000")
    return max(QUIETEST_FLOOR, statistics.mean(energies(heard.reshape(-1, window_bytes // 2))))


async def hear(
    loop: Sequence[Packet],
    sessions: int,
    seconds: float,
    warmup: float = WARMUP_SECONDS,
    noise_floor: float = QUIETEST_FLOOR,
) -> tuple[float, float]:
    """CPU microseconds per frame; messages down per session and second."""
    subject = Subject(config(), noise_floor)
    streams = {f"s_{number}": beats(loop, number * 37) for number in range(sessions)}

    async def listen(duration: float) -> None:
        for _ in range(round(duration * BEATS_PER_SECOND)):
            await subject.deliver({name: next(stream) for name, stream in streams.items()})
            await asyncio.sleep(0.001)
        await subject.settle()

    await listen(warmup)
    cpu, messages = time.process_time(), subject.producer.messages
    await listen(seconds)
    cpu, messages = time.process_time() - cpu, subject.producer.messages - messages
    return cpu * 1e6 / (sessions * seconds * 50), messages / (sessions * seconds)


async def session_kib(silence: Sequence[Packet], seconds: int) -> float:
    """KiB of memory per session after so many seconds of digital silence."""
    subject = Subject(config())
    for _ in range(max(1, seconds * BEATS_PER_SECOND)):
        await subject.deliver({"s_first": list(silence)})
    gc.collect()
    before = proc.own_memory_bytes(os.getpid())
    names = [f"s_{number}" for number in range(IDLE_SESSIONS)]
    for _ in range(max(1, seconds * BEATS_PER_SECOND)):
        await subject.deliver({name: list(silence) for name in names})
        await asyncio.sleep(0)
    await subject.settle()
    gc.collect()
    return (proc.own_memory_bytes(os.getpid()) - before) / KIB / IDLE_SESSIONS


async def idle_kib(sizes: Sequence[int]) -> dict[int, float]:
    """KiB of memory per session of which only the first envelope came: its configuration, and a moment of silence.
    With each of these numbers of sessions, in ascending order; the first ones, which fill the process's pools, do not
    count."""
    subject = Subject(config())
    pause = [described(Audio(bytes(FRAME_BYTES)), "pcm16/24000")]
    names = [f"idle_{number}" for number in range(POOL_SESSIONS + sizes[-1])]
    opened = 0

    async def memory(total: int) -> int:
        nonlocal opened
        while opened < total:
            some = names[opened : min(total, opened + IDLE_SESSIONS)]
            await subject.deliver(dict.fromkeys(some, pause))
            opened += len(some)
        await asyncio.sleep(PAUSE_SECONDS + 0.5)  # the end of a pause is the last that happens
        await subject.settle()
        gc.collect()
        return proc.own_memory_bytes(os.getpid())

    before = await memory(POOL_SESSIONS)
    return {size: (await memory(POOL_SESSIONS + size) - before) / KIB / size for size in sizes}


async def measure(options: argparse.Namespace) -> tuple[dict[Kind, Results], float]:
    loops = await sounds()
    memory = await session_kib(loops["silence"], options.memory_seconds)
    say(f"{IDLE_SESSIONS} silent sessions: {memory:.1f} KiB each")
    results = {kind: Results() for kind in loops}
    for turn in range(options.rounds):
        for kind, loop in loops.items():
            microseconds, messages = await hear(loop, options.sessions, options.seconds)
            results[kind].frame_microseconds.append(microseconds)
            results[kind].messages_per_second.append(messages)
            say(f"round {turn + 1} of {options.rounds}: {kind}: {microseconds:.1f} µs per frame")
    return results, memory


def figures(results: dict[Kind, Results], memory_kib: float) -> list[Figure]:
    bars = {"silence": (12, 5), "room": (12, 5), "speech": (60, 30)}
    found = []
    for kind, one in results.items():
        bar, goal = bars[kind]
        note = spread(one.frame_microseconds)
        found.append(
            Figure(f"worker CPU per frame: {kind}", statistics.median(one.frame_microseconds), "µs", bar, goal, note)
        )
    for kind, one in results.items():
        bar = 4 if kind == "speech" else 0
        found.append(Figure(f"messages down: {kind}", max(one.messages_per_second), "/s", bar, note="per session"))
    return [*found, Figure("memory per silent session, worker", memory_kib, "KiB", 4, 2)]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.worker", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sessions", type=int, default=32, help="at a time (default: %(default)s)")
    parser.add_argument("--seconds", type=int, default=20, help="of audio of each (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="(default: %(default)s)")
    parser.add_argument(
        "--memory-seconds", type=int, default=3, help="of silence before memory is read (default: %(default)s)"
    )
    add_output(parser)
    options = parser.parse_args(arguments)
    with contextlib.closing(asyncio.Runner(loop_factory=uvloop.new_event_loop)) as runner:
        results, memory = runner.run(measure(options))
    heading = f"{options.sessions} sessions, {options.seconds} s of audio, {options.rounds} rounds"
    raw = {"kinds": {kind: asdict(one) for kind, one in results.items()}}
    return finish("worker", options, figures(results, memory), raw, heading)


if __name__ == "__main__":
    sys.exit(main())
