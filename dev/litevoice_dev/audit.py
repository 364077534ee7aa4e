"""Reads what the broker really holds, in consumer groups of its own, so that a claim of "nothing lost" can be checked.

    python -m litevoice_dev.audit requests SETTINGS.json          one JSON line per upstream message, until stopped
    python -m litevoice_dev.audit replies SETTINGS.json SESSION   one JSON line per position of the LiteTopic
    python -m litevoice_dev.audit replies SETTINGS.json @FILE     the same of many, a session in each line of the file:
                                                                  one JSON line for each with all its positions

SETTINGS.json holds the `broker` section of a gateway's or worker's settings. The file needs litevoice_broker and
litevoice_contracts alone, so that it can run in a pod of the worker image too. No audio and no text is printed: only
numbers, the packet numbers that the microphone of the voice client hides in its audio, and digests.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from litevoice_broker.admin import Admin
from litevoice_broker.config import BrokerConfig
from litevoice_broker.lite.channel import Delivery, LiteChannel
from litevoice_broker.partition_consumer import PartitionConsumer, PartitionMessage
from litevoice_broker.waiting import set_within
from litevoice_contracts.envelopes import Bundle, DownEnvelope, UpEnvelope
from litevoice_contracts.events import CONTROL_EVENTS, AudioDelta
from litevoice_contracts.names import ClientId
from litevoice_contracts.packets import audio_of
from litevoice_contracts.settings import BrokerSettings

MARKED_PACKET_BYTES = 960
READ_SECONDS = 60.0
"""For all of one LiteTopic."""
AT_ONCE = 8
"""LiteTopics that are read at the same time."""
WAKE_SECONDS = 2.0
"""The broker loses wake-ups (upstream issue 11191). Gateways ask when a session is late; here nobody else would."""

Line = dict[str, Any]
"""What an audit says of one message."""


def audit_group(topic: str) -> str:
    """Beside the gateways', whose subscriptions an audit leaves alone."""
    return f"{topic}-audit"


def print_line(line: Line) -> None:
    print(json.dumps(line), flush=True)


def read_mark(pcm: bytes) -> int:
    """The packet number in the lowest bits of the first 32 samples (see microphone.py)."""
    return sum((pcm[2 * bit] & 1) << bit for bit in range(32))


@contextlib.asynccontextmanager
async def reading_requests(settings: BrokerSettings, take: Callable[[Line], None]) -> AsyncIterator[None]:
    """`take` gets every upstream message from now on; entered when every partition is being read."""
    names, group = settings.names, audit_group(settings.request_topic)
    admin = Admin.from_settings(settings)
    try:
        await admin.ensure_group(group, orderly=True)
    finally:
        await admin.close()

    async def show(messages: Sequence[PartitionMessage]) -> None:
        for message in messages:
            for data in Bundle.decode(message.properties, message.body).envelopes:
                up = UpEnvelope.decode(data)
                slices = [audio_of(packet, up.codec) for packet in up.packets]
                marks = [read_mark(audio) if len(audio) == MARKED_PACKET_BYTES else None for audio in slices]
                take(
                    {
                        "session": up.session_id,
                        "epoch": up.epoch,
                        "seq": up.seq,
                        "attempt": up.attempt,
                        "snapshot": up.snapshot is not None,
                        "marks": marks,
                        "client_seqs": up.client_seqs,
                    }
                )

    consumers = [
        PartitionConsumer(broker_config(settings), topic, group, handler=show) for topic in names.partition_topics
    ]
    try:
        for consumer in consumers:
            await consumer.start()
        for consumer in consumers:
            await consumer.wait_ready(60)
        yield
    finally:
        await asyncio.gather(*(consumer.abandon() for consumer in consumers))


ReadReplies = Callable[[str], Awaitable[list[Line]]]


async def read_replies(settings: BrokerSettings, session_id: str) -> list[Line]:
    """Every position of the session's LiteTopic, from the first to the last at the time of the call.

    Raises LookupError when the broker has no such LiteTopic, TimeoutError when not all of it comes, RuntimeError when
    it cannot go on.
    """
    async with reading_replies(settings) as read:
        return await read(session_id)


@contextlib.asynccontextmanager
async def reading_replies(settings: BrokerSettings) -> AsyncIterator[ReadReplies]:
    """Gives a function that does what `read_replies` does, for several sessions at the same time too."""
    names = settings.names
    lines: dict[str, list[Line]] = {}
    numbers: dict[str, dict[int, int]] = {}
    last: dict[str, int] = {}
    complete: dict[str, asyncio.Event] = {}
    lost: set[str] = set()

    def take(delivery: Delivery) -> None:
        if delivery.name not in lines:
            return
        lines[delivery.name].append(reply_line(delivery, numbers[delivery.name]))
        if delivery.position >= last[delivery.name]:
            complete[delivery.name].set()

    def lose(session_id: str) -> None:
        lost.add(session_id)
        complete[session_id].set()

    async def read(session_id: str) -> list[Line]:
        topic = names.reply_topic_of(session_id)
        info = await admin.lite_topic(topic, session_id, audit_group(topic))
        if info is None:
            raise LookupError(f"the broker has no LiteTopic {session_id} under {topic}")
        lines[session_id], last[session_id] = [], info.max_offset - 1
        numbers[session_id] = {}
        lost.discard(session_id)
        complete[session_id] = asyncio.Event()
        if info.max_offset:
            await channels[topic].take_over(session_id, 0)
            try:
                async with asyncio.timeout(READ_SECONDS):
                    await woken_until(complete[session_id], channels[topic])
            except TimeoutError:
                got = len(lines[session_id])
                raise TimeoutError(f"{session_id}: {got} of {info.max_offset} in {READ_SECONDS:g} s") from None
            if session_id in lost:
                raise RuntimeError(f"{session_id}: another audit reads it, or its log was cut")
            await channels[topic].release(session_id)
        return lines.pop(session_id)

    admin = Admin.from_settings(settings)
    channels = {
        topic: LiteChannel(
            broker_config(settings),
            topic,
            audit_group(topic),
            on_delivery=take,
            on_evicted=lose,
            admin=admin,
        )
        for topic in names.reply_topics
    }
    try:
        for topic, channel in channels.items():
            await admin.ensure_group(audit_group(topic), orderly=True, lite_bind_topic=topic, exclusive=True)
            await channel.start()
        for channel in channels.values():
            await channel.wait_ready(60)
        yield read
    finally:
        await asyncio.gather(*(channel.close() for channel in channels.values()))
        await admin.close()


async def woken_until(complete: asyncio.Event, channel: LiteChannel) -> None:
    while not await set_within(complete, WAKE_SECONDS):
        await channel.wake()


def reply_line(delivery: Delivery, numbers: dict[int, int]) -> Line:
    """`numbers`: sender → number of its last message of this session; brought up to date."""
    down = DownEnvelope.decode(delivery.body)
    sender, number = (down.id.sender, down.id.number) if down.id else (0, 0)
    repeated = number <= numbers.get(sender, -1)  # sent again after an unclear answer: it counts once
    numbers[sender] = max(number, numbers.get(sender, -1)) if down.id else -1
    digest = hashlib.sha256(b"".join(e.audio for e in down.events if isinstance(e, AudioDelta))).hexdigest()
    return {
        "position": delivery.position,
        "turn": down.turn,
        "attempt": down.attempt,
        "sender": sender,
        "repeated": repeated,
        "types": [type(e).__name__ for e in down.events],
        "visible": not repeated and any(not isinstance(e, CONTROL_EVENTS) for e in down.events),
        "audio": digest if any(isinstance(e, AudioDelta) for e in down.events) else "",
    }


async def print_requests(settings: BrokerSettings) -> None:
    """For ever; the line `{"ready": true}` says from when."""
    async with reading_requests(settings, print_line):
        print_line({"ready": True})
        await asyncio.Event().wait()


async def print_replies(settings: BrokerSettings, session_id: str) -> None:
    for line in await read_replies(settings, session_id):
        print_line(line)


async def print_all_replies(settings: BrokerSettings, session_ids: Sequence[str]) -> None:
    """One line for each: `{"session": …, "log": [one for each position]}`, with `error` instead of `log` when it cannot
    be read."""
    left = iter(session_ids)
    async with reading_replies(settings) as read, asyncio.TaskGroup() as readers:

        async def read_what_is_left() -> None:
            for session_id in left:
                try:
                    print_line({"session": session_id, "log": await read(session_id)})
                except LookupError:
                    print_line({"session": session_id, "log": []})  # nobody has ever said anything to it
                except TimeoutError as error:
                    print_line({"session": session_id, "error": str(error)})

        for _ in range(AT_ONCE):
            readers.create_task(read_what_is_left())


def broker_config(settings: BrokerSettings) -> BrokerConfig:
    return BrokerConfig.from_settings(settings, ClientId.new("audit", "127.0.0.1", "audit"))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, fromfile_prefix_chars="@"
    )
    parser.add_argument("what", choices=("requests", "replies"))
    parser.add_argument("settings", type=Path)
    parser.add_argument("sessions", nargs="*", metavar="SESSION")
    chosen = parser.parse_args(arguments)
    if chosen.what == "replies" and not chosen.sessions:
        parser.error("replies: which session?")
    settings = BrokerSettings.model_validate(json.loads(chosen.settings.read_text())["broker"])
    if chosen.what == "requests":
        work = print_requests(settings)
    elif len(chosen.sessions) == 1:
        work = print_replies(settings, chosen.sessions[0])
    else:
        work = print_all_replies(settings, chosen.sessions)
    try:
        asyncio.run(work)
    except LookupError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
