"""What a worker's admin port tells of a session, over HTTP, with the stages that the session waits for."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import msgspec
import pytest

from litevoice_contracts.control import SESSIONS_PATH, STATUS_PATH, WorkerSession, WorkerStatus
from litevoice_worker.admin import AdminServer
from litevoice_worker.sessions import Sessions
from tests.unit.worker.test_shell import Bench
from tests.waiting import until

TOKEN = "t" * 64
SHA256 = hashlib.sha256(TOKEN.encode()).hexdigest()


@asynccontextmanager
async def served(bench: Bench, sha256: str) -> AsyncIterator[tuple[Sessions, aiohttp.ClientSession]]:
    sessions = Sessions(10, bench.runner, bench.metrics, bench.say)
    status = WorkerStatus("worker-0", True, "", 0, 10, [3])
    server = AdminServer(
        bench.metrics.registry, lambda: "", sha256, lambda: status, sessions.report, bench.metrics.status_answered
    )
    await server.start("127.0.0.1", 0)
    async with aiohttp.ClientSession(f"http://127.0.0.1:{server.port}") as client:
        yield sessions, client
    await server.close()


async def asked(client: aiohttp.ClientSession, path: str, token: str = TOKEN) -> tuple[int, bytes]:
    async with client.get(path, headers={"Authorization": f"Bearer {token}"}) as answer:
        return answer.status, await answer.read()


async def test_it_tells_which_stage_a_session_waits_for_and_since_when() -> None:
    bench = Bench()
    bench.voice.slow = True
    async with served(bench, SHA256) as (sessions, client):
        assert (await asked(client, f"{SESSIONS_PATH}/s"))[0] == 404
        runner = sessions.get("s", 3)
        bench.text_turn(runner)

        async def told() -> WorkerSession:
            status, body = await asked(client, f"{SESSIONS_PATH}/s")
            assert status == 200
            assert b"hello" not in body, "no content"
            return msgspec.json.decode(body, type=WorkerSession)

        await until(lambda: any(job.stage == "respond" for job in runner._jobs.values()))
        await asyncio.sleep(0.05)
        session = await told()
        assert (session.session_id, session.partition, session.stage) == ("s", 3, "respond")
        assert session.stage_seconds >= 0.04
        status, body = await asked(client, STATUS_PATH)
        assert (status, msgspec.json.decode(body, type=WorkerStatus).partitions) == (200, [3])
        runner.close()


@pytest.mark.parametrize(
    ("what", "sha256", "token"),
    [
        ("another token", SHA256, "x" * 64),
        ("the hash is not the token", SHA256, SHA256),
        ("not served without a hash", "", ""),
    ],
)
async def test_nothing_without_the_token(what: str, sha256: str, token: str) -> None:
    async with served(Bench(), sha256) as (_, client):
        assert (await asked(client, STATUS_PATH, token))[0] == 401, what
        assert (await asked(client, "/healthz", ""))[0] == 200
