"""Looks at the processes and the broker while calls go on: who owns what, and what they hold."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter, defaultdict
from collections.abc import Collection
from pathlib import Path

import httpx

from litevoice_broker.admin import Admin
from litevoice_broker.config import AdminAccess
from litevoice_broker.errors import BrokerError
from litevoice_broker.fastjson import parse
from litevoice_broker.lag import lite_topic_info
from litevoice_broker.remoting import Refused, RemotingClient
from litevoice_contracts import metrics
from litevoice_contracts.control import MAX_LISTED_SESSIONS, METRICS_PATH, SESSIONS_PATH
from litevoice_contracts.settings import BrokerSettings
from litevoice_dev.chaos.place import ChaosPlace
from litevoice_dev.chaos.records import OUR_PARTS, Owners, Use
from litevoice_dev.rocketmq import Part
from litevoice_dev.stack import Member, sample

EVERY_SECONDS = 1.0
ANSWER_SECONDS = 0.8
QUESTIONS_AT_ONCE = 100
_LITE_TOPIC = 200076


class Watch:
    """Asks every gateway and worker again and again. `samples`: what they said, oldest first."""

    def __init__(self, place: ChaosPlace) -> None:
        self._place = place
        self.samples: list[Owners] = []

    async def run(self) -> None:
        async with httpx.AsyncClient(timeout=ANSWER_SECONDS, trust_env=False) as http:
            while True:
                gateways, workers = list(self._place.stack.gateways), list(self._place.stack.workers)
                sessions, partitions = await asyncio.gather(
                    asyncio.gather(*(_sessions(http, gateway) for gateway in gateways)),
                    asyncio.gather(*(_partitions(http, worker) for worker in workers)),
                )
                self.samples.append(
                    Owners(
                        time.monotonic(),
                        {g.name: held for g, held in zip(gateways, sessions, strict=True) if held is not None},
                        {w.name: owned for w, owned in zip(workers, partitions, strict=True) if owned is not None},
                    )
                )
                await asyncio.sleep(EVERY_SECONDS)


async def _sessions(http: httpx.AsyncClient, gateway: Member) -> frozenset[str] | None:
    headers = {"Authorization": f"Bearer {gateway.admin_token}"}
    try:
        answer = await http.get(f"{gateway.admin_url}{SESSIONS_PATH}?limit={MAX_LISTED_SESSIONS}", headers=headers)
        answer.raise_for_status()
    except httpx.HTTPError:
        return None
    return frozenset(session["session_id"] for session in answer.json()["sessions"])


async def _partitions(http: httpx.AsyncClient, worker: Member) -> int | None:
    try:
        answer = await http.get(worker.admin_url + METRICS_PATH)
    except httpx.HTTPError:
        return None
    return int(sample(answer.text, metrics.WORKER_PARTITIONS))


async def use(place: ChaosPlace, sessions: list[str]) -> Use:
    """What everything holds now. `sessions`: all ever made, whose LiteTopics and subscribers are counted."""
    memory: defaultdict[str, float] = defaultdict(float)
    descriptors: Counter[str] = Counter()
    members: list[tuple[str, int]] = [
        *(("gateways", gateway.process.pid) for gateway in place.stack.gateways),
        *(("workers", worker.process.pid) for worker in place.stack.workers),
    ]
    rocketmq = place.rocketmq
    parts: list[tuple[str, Part]] = [
        *(("brokers", part) for part in rocketmq.broker_parts),
        *(("proxies", part) for part in rocketmq.proxy_parts),
        ("name server", rocketmq.name_server_part),
    ]
    for role, pid in (*members, *((role, part.pid) for role, part in parts)):
        with contextlib.suppress(OSError):  # it has ended, which is a finding of its own
            memory[role] += resident_mebibytes(pid)
            descriptors[role] += open_files(pid) if role in OUR_PARTS else open_sockets(pid)
    subscriptions, lite_topics = await _at_the_brokers(place, sessions)
    return Use(dict(memory), dict(descriptors), subscriptions, lite_topics)


async def _at_the_brokers(place: ChaosPlace, sessions: list[str]) -> tuple[int, int]:
    """Subscribers, and LiteTopics, of these sessions; -1 each when a broker does not answer."""
    subscriptions = lite_topics = 0
    admin = Admin.from_settings(place.stack.broker_settings)
    try:
        for topic, group in place.names.reply_readers:
            there = [session for session in sessions if place.names.reply_topic_of(session) == topic]
            for first in range(0, len(there), QUESTIONS_AT_ONCE):
                infos = await admin.lite_topics(topic, there[first : first + QUESTIONS_AT_ONCE], group)
                subscriptions += sum(len(info.subscribers) for info in infos if info)
                lite_topics += sum(info is not None for info in infos)
    except BrokerError:
        return -1, -1
    finally:
        await admin.close()
    return subscriptions, lite_topics


async def homes(settings: BrokerSettings, sessions: Collection[str]) -> dict[str, dict[str, int]]:
    """Session → broker → how many messages its LiteTopic has there, for LiteTopics that stand on any broker."""
    found: defaultdict[str, dict[str, int]] = defaultdict(dict)
    admin = Admin.from_settings(settings)
    try:
        masters = await admin.cluster.masters()
    finally:
        await admin.close()
    for broker, address in masters.items():
        client = RemotingClient(address, access=AdminAccess(), timeout_seconds=5.0)
        for session in sessions:
            topic = settings.names.reply_topic_of(session)
            with contextlib.suppress(Refused):
                answer = await client.call(_LITE_TOPIC, {"parentTopic": topic, "liteTopic": session})
                if count := lite_topic_info(parse(answer.body), "").max_offset:
                    found[session][broker] = count
        await client.close()
    return dict(found)


def resident_mebibytes(pid: int) -> float:
    """Of a process of this machine, from /proc."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * 4096 / (1 << 20)


def open_files(pid: int) -> int:
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def open_sockets(pid: int) -> int:
    """Of RocketMQ, whose files are as many as what it holds wants: a connection that is left over is ours."""
    count = 0
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed since
            count += str(descriptor.readlink()).startswith("socket:")
    return count
