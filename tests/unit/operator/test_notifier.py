"""Channels that hang, refuse, lead elsewhere or work again, over HTTP."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from litevoice_operator.adapters.channels import ALERTS_IN_REQUEST, Channel, ChannelClient
from litevoice_operator.decide import alert_board
from litevoice_operator.decide.alert_board import Alert
from litevoice_operator.reconcile import notifier as module
from litevoice_operator.reconcile import outbox
from litevoice_operator.reconcile.notifier import Notifier
from tests.waiting import until

KEY, ONCE = ("voice", "late"), ("Firing warning 2026-01-01T00:00:00Z", 1.0)
ABOUT = {"uid": "u", "namespace": "voice", "name": "late"}


def alert(name: str) -> Alert:
    return Alert({"alertname": name}, {}, 1.0)


class Elsewhere:
    """Alertmanagers and a webhook, by path: `/hangs` never answers, `/good` takes all but `refused`, and `/hooks/T0`
    answers as `answers` says, then takes it."""

    def __init__(self) -> None:
        self.taken: list[str] = []
        self.refused = ""
        self.answers: list[int] = []
        self.asked = 0
        self.hung = asyncio.Event()

    async def handle(self, request: web.Request) -> web.Response:
        self.asked += 1
        if request.path.startswith("/hangs"):
            self.hung.set()
            await asyncio.Event().wait()
        body = await request.json()
        if request.path.startswith("/good"):
            names = [one["labels"]["alertname"] for one in body]
            if self.refused in names:
                return web.Response(status=400, text="invalid")
            self.taken += names
        elif self.answers:
            return web.Response(
                status=self.answers.pop(0), text=f"no: {request.path_qs}", headers={"Location": "/good"}
            )
        return web.Response()


@asynccontextmanager
async def elsewhere() -> AsyncIterator[tuple[Elsewhere, str]]:
    """And where it is, as ``HOST:PORT``."""
    there, app = Elsewhere(), web.Application(client_max_size=8 << 20)
    app.router.add_post("/{path:.*}", there.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield there, f"127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def running(*channels: Channel) -> AsyncIterator[Notifier]:
    async with ChannelClient() as client:
        notifier = Notifier({channel.name: channel for channel in channels}, client)
        task = asyncio.create_task(notifier.run())
        yield notifier
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_replica_that_hangs_keeps_the_other_from_nothing() -> None:
    async with (
        elsewhere() as (there, at),
        running(Channel("oncall", (f"http://{at}/hangs", f"http://{at}/good"))) as notifier,
    ):
        notifier.put(KEY, {"oncall": [alert("A")]})
        await until(lambda: there.hung.is_set() and "A" in there.taken, "one to hang, and the other to know")
        notifier.put(KEY, {"oncall": [alert("A"), alert("B")]})
        await until(lambda: "B" in there.taken, "the other to know the next one", timeout_seconds=5)


async def test_a_webhook_that_hangs_leaves_an_alertmanager_its_connections() -> None:
    async with elsewhere() as (slow, there), elsewhere() as (good, at):
        channels = Channel("oncall", (f"http://{at}/good",)), Channel("chat", webhook=f"http://{there}/hangs")
        async with running(*channels) as notifier:
            many = [{**ABOUT, "uid": f"u{number}"} for number in range(120)]
            telling = [asyncio.create_task(notifier.tell("chat", about, {}, ONCE)) for about in many]
            await until(slow.hung.is_set, "the webhook to hang")
            await asyncio.wait(telling)
            notifier.put(KEY, {"oncall": [alert("A")]})
            await until(lambda: "A" in good.taken, "the Alertmanager to know", timeout_seconds=5)


async def test_what_an_alertmanager_refuses_keeps_it_from_nothing_else() -> None:
    many = [alert(f"A{number}") for number in range(ALERTS_IN_REQUEST + 1)]
    async with elsewhere() as (there, at), running(Channel("oncall", (f"http://{at}/good",))) as notifier:
        there.refused = "A0"
        notifier.put(KEY, {"oncall": many})
        await until(lambda: f"A{ALERTS_IN_REQUEST}" in there.taken, "the rest to be taken")


@pytest.mark.parametrize(
    ("description", "answers", "asked"),
    [
        ("a redirect is not followed, but may be gone the next time", [302], 2),
        ("too late, too often, away", [408, 429, 503], 4),
        ("refused for good", [404, 404], 1),
    ],
)
async def test_how_long_a_webhook_is_tried(
    description: str, answers: list[int], asked: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "FIRST_PAUSE_SECONDS", 0.01)
    async with elsewhere() as (there, at), running(Channel("chat", webhook=f"http://{at}/hooks/T0")) as notifier:
        there.answers = answers
        await until(lambda: not notifier.under_way(ABOUT, ["chat"]), "nothing to be under way")
        while not await notifier.tell("chat", ABOUT, {}, ONCE):
            pass
        assert there.asked == asked, description
        assert there.taken == []


async def test_a_channel_that_failed_and_has_nothing_to_take_is_named_no_longer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, seconds in (("FAILING_SECONDS", 0.0), ("RETRY_SECONDS", 0.01)):
        monkeypatch.setattr(module, name, seconds)
    monkeypatch.setattr(alert_board, "RESOLVED_SECONDS", 0.0)
    async with running(Channel("oncall", ("http://127.0.0.1:9",))) as notifier:
        notifier.put(KEY, {"oncall": [alert("A")]})
        await until(lambda: notifier.failing(["oncall"]) == {"oncall": "ClientConnectorError"}, "nobody to answer")
        notifier.put(KEY, {})
        await until(lambda: notifier.failing(["oncall"]) == {}, "nothing to be left to tell")


async def test_a_channel_that_fails_is_named_without_its_secrets(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(outbox, "FIRST_PAUSE_SECONDS", 0.01)
    caplog.set_level(logging.INFO)
    async with elsewhere() as (there, at):
        there.answers = [500] * 3
        chat = Channel("chat", webhook=f"http://ann:hidden@{at}/hooks/T0?key=K1")
        async with running(chat) as notifier:
            sending = asyncio.create_task(notifier.tell("chat", ABOUT, {}, ONCE))
            await until(lambda: there.asked > 0 and notifier._failing, "the first answer")
            assert notifier.failing(["chat", "other"]) == {}, "it may be over in a moment"
            monkeypatch.setattr(module, "FAILING_SECONDS", 0.0)
            assert notifier.failing(["chat", "other"]) in ({"chat": "HTTP 500"}, {})
            await until(lambda: there.asked == 4, "it to be taken")
            await sending
            await until(lambda: not notifier.failing(["chat"]), "it to be well")
        logged = [
            (record.getMessage(), getattr(record, "url", ""), getattr(record, "error", "")) for record in caplog.records
        ]
        logged = [one for one in logged if one[0].startswith("channel")]
        assert [one[0] for one in logged] == ["channel fails", "channel works again"]
        assert logged[0][1:] == (f"http://{at}", "HTTP 500: no: …")
