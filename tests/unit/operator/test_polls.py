"""The operator's open questions to gateways and workers, over TLS."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry

from litevoice_contracts.control import STATUS_PATH, DrainReport, GatewayStatus, WorkerStatus
from litevoice_contracts.metrics import GATEWAY_STATUS_ANSWERS
from litevoice_contracts.watching import MAX_WAITING, Question
from litevoice_dev.ports import free_port
from litevoice_gateway.admin_server import AdminServer as GatewayAdmin
from litevoice_gateway.drain import Drain
from litevoice_gateway.hub import Hub
from litevoice_gateway.metrics import Metrics
from litevoice_gateway.settings import Keys as GatewayKeys
from litevoice_operator.adapters.gateways import MAX_CONCURRENT, Gateways
from litevoice_operator.decide import polling
from litevoice_operator.observe.pods import SEALED
from litevoice_operator.reconcile.polls import Asked, Polls
from litevoice_worker.admin import AdminServer as WorkerAdmin
from litevoice_worker.settings import admin_tls as worker_tls
from tests.unit.operator.test_sealed import HERE, TOKEN, gateway_settings, worker_settings, write
from tests.waiting import until

KEY = ("shop", "demo")
SOON_SECONDS = 3.0
"""Far less than a question may wait, on a busy machine."""


@pytest.fixture(autouse=True)
def no_patience(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The first question comes at once; frozen pods are found out soon."""
    monkeypatch.setattr(polling.Poll, "begun", lambda now, _: polling.Poll(now))
    monkeypatch.setattr(polling, "APART_SECONDS", 0.2)
    monkeypatch.setattr(polling, "RETRY_SECONDS", 0.3)
    yield


class Gateway:
    """A real one, whose broker was never there; how often it has answered."""

    def __init__(self, folder: Path) -> None:
        self.plain, self.sealed = free_port(), free_port()
        where = {"admin_port": self.plain, "admin_tls_port": self.sealed, "admin_tls_dir": write(folder, TOKEN, TOKEN)}
        self.metrics = Metrics()
        self.hub = Hub(gateway_settings(**where), GatewayKeys(b"k" * 32, TOKEN.encode()), self.metrics, "g", HERE)
        self.drain = Drain(self.hub)
        self.server = GatewayAdmin(self.hub, self.drain, TOKEN.encode(), "g")

    def answers(self, outcome: str) -> float:
        read = self.metrics.registry.get_sample_value
        return read(GATEWAY_STATUS_ANSWERS, {"outcome": outcome}) or 0


@asynccontextmanager
async def gateway(folder: Path) -> AsyncIterator[Gateway]:
    made = Gateway(folder)
    await made.server.start()
    yield made
    await made.server.close()


@asynccontextmanager
async def polls(port: int) -> AsyncIterator[tuple[Polls, list[tuple[str, str]]]]:
    """And of which VoiceGateways there were news."""
    news = list[tuple[str, str]]()
    async with Gateways(port, port) as gateways:
        made = Polls(gateways, news.append)
        yield made, news
        await made.close()
        assert made.count == 0


def asked(address: str = f"{SEALED}{HERE}", kind: type[GatewayStatus | WorkerStatus] = GatewayStatus) -> Asked:
    return Asked(address, TOKEN, kind, 5)


async def test_a_change_is_told_at_once_and_no_change_costs_one_question(tmp_path: Path) -> None:
    async with gateway(tmp_path) as pod, polls(pod.sealed) as (watch, news):
        watch.keep(KEY, {"g": asked()})
        await until(lambda: "g" in watch.held(KEY))
        await until(lambda: pod.server._waiting.count == 1)
        await asyncio.sleep(1.0)
        assert (pod.answers("changed"), pod.answers("unchanged"), news) == (1, 0, [])
        began = time.monotonic()
        pod.drain.begin()
        await until(lambda: watch.held(KEY)["g"].reason == "draining")
        assert time.monotonic() - began < SOON_SECONDS
        assert news[0] == KEY


async def test_whatever_goes_wrong_with_a_question_the_next_one_is_put(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with gateway(tmp_path) as pod, polls(pod.sealed) as (watch, _):
        wrong, right = [ValueError("nobody has thought of this")], Gateways.watch

        async def once(*given: Any) -> Any:
            if wrong:
                raise wrong.pop()
            return await right(*given)

        monkeypatch.setattr(Gateways, "watch", once)
        watch.keep(KEY, {"g": asked()})
        await until(lambda: "g" in watch.held(KEY))
        assert [vars(line)["error"] for line in caplog.records if "a question to a pod failed" in line.message] == [
            "ValueError: nobody has thought of this"
        ]


async def test_what_has_not_changed_is_still_held_after_the_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(polling, "LEAST_WAIT_SECONDS", 1)
    async with gateway(tmp_path) as pod, polls(pod.sealed) as (watch, news):
        watch.keep(KEY, {"g": asked()})
        await until(lambda: pod.answers("unchanged") >= 2)
        held = watch.held(KEY)["g"]
        assert isinstance(held, GatewayStatus)
        assert (held.pod, pod.answers("changed"), news) == ("g", 1, [])


async def test_a_frozen_pod_is_silent_soon_after_the_wait_and_heard_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(polling, "LEAST_WAIT_SECONDS", 1)
    async with gateway(tmp_path) as pod, polls(pod.sealed) as (watch, news):
        watch.keep(KEY, {"g": asked()})
        await until(lambda: "g" in watch.held(KEY))
        thaw = asyncio.Event()
        monkeypatch.setattr(pod.server._waiting, "wait", lambda *_: thaw.wait())
        await until(lambda: "g" not in watch.held(KEY))
        assert news[0] == KEY
        thaw.set()
        await until(lambda: "g" in watch.held(KEY))


async def test_a_pod_of_an_early_release_is_asked_once_and_left_to_the_passes() -> None:
    port, questions = free_port(), list[str]()
    status = GatewayStatus("old", True, "", 0, 10, 0, 0, DrainReport())

    async def answer(request: web.Request) -> web.Response:
        questions.append(request.query_string)
        return web.Response(body=msgspec.json.encode(status), content_type="application/json")

    app = web.Application()
    app.add_routes([web.get(STATUS_PATH, answer)])
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, HERE, port).start()
    async with polls(port) as (watch, news):
        watch.keep(KEY, {"old": asked(HERE)})
        await until(lambda: bool(questions))
        await asyncio.sleep(1.0)
        watch.keep(KEY, {"old": asked(HERE)})
        assert (len(questions), watch.held(KEY), news) == (1, {}, [])
    await runner.cleanup()


async def test_an_older_operator_is_answered_at_once(tmp_path: Path) -> None:
    async with gateway(tmp_path) as pod, Gateways(pod.sealed, pod.sealed) as gateways:
        for _ in range(2):
            assert "g" in await gateways.statuses({"g": f"{SEALED}{HERE}"}, TOKEN)
        assert pod.answers("changed") == 2


@pytest.mark.parametrize("end", ["deleted", "no more listed", "the VoiceGateway is deleted", "another address"])
async def test_nothing_is_left_of_a_pod_that_is_gone(end: str, tmp_path: Path) -> None:
    async with gateway(tmp_path) as pod, polls(pod.sealed) as (watch, _):
        watch.keep(KEY, {"g": asked()})
        await until(lambda: pod.server._waiting.count == 1)
        tasks = asyncio.all_tasks()
        task = next(one for one in tasks if one.get_name() == "status of shop/g")
        if end == "deleted":
            watch.drop(KEY, "g")
        elif end == "no more listed":
            watch.keep(KEY, {})
        elif end == "another address":
            watch.keep(KEY, {"g": asked(f"{SEALED}127.0.0.9")})
        else:
            watch.forget(KEY)
        assert watch.held(KEY) == {}
        await until(task.done)
        await until(lambda: pod.server._waiting.count == 0)
        assert watch.count == (1 if end == "another address" else 0)


async def test_a_pod_lets_only_a_few_wait_and_ends_without_waiting_for_them(tmp_path: Path) -> None:
    async with gateway(tmp_path) as pod, polls(pod.sealed) as (watch, _):
        watch.keep(KEY, {f"g-{number}": asked() for number in range(MAX_WAITING + 1)})
        await until(lambda: pod.server._waiting.count == MAX_WAITING)
        await until(lambda: pod.answers("unchanged") >= 2)
        assert len(watch.held(KEY)) == MAX_WAITING + 1
        assert pod.server._waiting.count <= MAX_WAITING
        began = time.monotonic()
        await pod.server.close()
        assert time.monotonic() - began < SOON_SECONDS


async def test_first_questions_are_put_a_few_at_a_time_those_that_wait_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with gateway(tmp_path) as pod, Gateways(pod.sealed, pod.sealed) as gateways:
        open_now, most = 0, 0

        async def slow(*_: object) -> None:
            nonlocal open_now, most
            open_now += 1
            most = max(most, open_now)
            await asyncio.sleep(0.05)
            open_now -= 1

        monkeypatch.setattr(pod.server._waiting, "wait", slow)

        async def put(question: Question) -> int:
            nonlocal most
            most = 0
            at = f"{SEALED}{HERE}"
            told = await asyncio.gather(
                *(gateways.watch(at, TOKEN, question, 30.0, GatewayStatus) for _ in range(2 * MAX_CONCURRENT + 1))
            )
            assert all(told)
            return most

        assert await put(Question()) <= MAX_CONCURRENT
        assert await put(Question("seen.0.x", 10)) > MAX_CONCURRENT


async def test_workers_are_asked_the_same_way(tmp_path: Path) -> None:
    statuses = [WorkerStatus("w", True, "", 0, 10, [3])]
    digest = hashlib.sha256(TOKEN.encode()).hexdigest()
    outcomes = list[str]()
    server = WorkerAdmin(CollectorRegistry(), lambda: "", digest, lambda: statuses[-1], lambda _: None, outcomes.append)
    context = worker_tls(worker_settings(write(tmp_path, TOKEN, TOKEN)))
    assert context is not None
    sealed = free_port()
    await server.start(HERE, 0, (sealed, context))
    async with polls(sealed) as (watch, news):
        watch.keep(KEY, {"w": asked(kind=WorkerStatus)})
        await until(lambda: server._waiting.count == 1)
        assert (watch.held(KEY), outcomes) == ({"w": statuses[0]}, ["changed"])
        statuses.append(msgspec.structs.replace(statuses[0], partitions=[3, 4]))
        await until(lambda: watch.held(KEY) == {"w": statuses[1]})
        assert news == [KEY]
    await server.close()
