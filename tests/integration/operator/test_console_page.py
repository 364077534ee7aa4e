"""The console's page in a real browser, through `litevoice console`, before the operator's own port.

What it shows is played: a fleet with a drain, an alert, a stalled turn, and names that are markup. With
LITEVOICE_PICTURES=docs/console, the pictures of docs/console.md are made.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from litevoice_cli.console import Console as LocalServer
from litevoice_cli.reach import ByUrl
from litevoice_contracts.control import SessionInfo
from litevoice_contracts.operator_api import (
    AlertedSession,
    ConsoleAlert,
    ConsolePod,
    ConsoleState,
    DrainRow,
    PartitionRow,
    SessionRow,
)
from litevoice_operator.api.resource import Key
from litevoice_operator.reconcile.console import Console
from tests.integration.browser import Page, browser
from tests.unit.cli.test_command import Served, served
from tests.unit.operator.test_admin_api import soon

__all__ = ["soon"]
pytestmark = pytest.mark.timeout(600)  # Chromium may have to be installed first
NOW = 1_790_000_000.0
HOSTILE = "<img src=x onerror=\"document.title='hit'\">"
WHERE = ("voice", "demo")


def session(name: str, pod: str, *, client: str, principal: str = "shop", **known: Any) -> SessionRow:
    info = SessionInfo(name, client, principal, 312.0, 4, False, 0, 0.0, True, 40, **known)
    return SessionRow(*WHERE, pod, "node-a" if pod.endswith("x8k2p") else "node-b", info)


def fleet() -> ConsoleState:
    pods = [
        ConsolePod(*WHERE, "demo-gateway-7c9f-x8k2p", "gateway", "node-a", "ready", 212, 1000, 31, 1, 12),
        ConsolePod(*WHERE, "demo-gateway-7c9f-m4wzd", "gateway", "node-b", "ready", 188, 1000, 24, 0, 3),
        ConsolePod(*WHERE, "demo-gateway-6f7d-qz2lm", "gateway", "node-b", "draining", 64, 1000, 9, 0, 1),
        ConsolePod(*WHERE, "demo-worker-5c9b-m2hfs", "worker", "node-a", "ready", 236, 1600, busy=0.41, partitions=[0]),
        ConsolePod(*WHERE, "demo-worker-5c9b-tt9qn", "worker", "node-b", "ready", 228, 1600, busy=0.93, partitions=[1]),
    ]  # fmt: skip
    stalled = session(
        "s_1", "demo-gateway-7c9f-x8k2p", client="10.1.0.1:4711", principal="tenant", stalled_seconds=21.4, partition=1,
        stage="responding",
    )  # fmt: skip
    odd = session(
        "s_cBi4KjgNxkjHhV2dvLwaGPB", "demo-gateway-7c9f-m4wzd", client="10.1.0.77:52632", principal=HOSTILE,
        stalled_seconds=3.2, partition=3, stage="waiting",
    )  # fmt: skip
    waits = msgspec.structs.replace(
        stalled, session=msgspec.structs.replace(stalled.session, pending_requests=12, oldest_request_seconds=21.4)
    )
    alert = ConsoleAlert(
        "voice", "one-caller-hears-nothing", "demo", "Turns", "Firing", "warning", "2026-09-21T14:13:12Z", 12, 21, 1,
        [AlertedSession("s_1", 1, 12, 21, "Held", "demo-gateway-7c9f-x8k2p", "node-a", "10.1.0.1:4711")],
    )  # fmt: skip
    calm = ConsoleAlert("voice", "replies", "demo", "Replies", "Inactive", "", "2026-09-21T11:02:40Z", 0, 0, 0, [])
    drains = [DrainRow(*WHERE, "demo-gateway-6f7d-qz2lm", "draining", 64, 131, 4, 0, 0, 12.4)]
    partitions = [
        PartitionRow(*WHERE, number, [worker], node, backlog, age)
        for number, worker, node, backlog, age in (
            (0, "demo-worker-5c9b-m2hfs", "node-a", 0, 0.0),
            (1, "demo-worker-5c9b-tt9qn", "node-b", 3, 6.1),
            (2, "demo-worker-5c9b-m2hfs", "node-a", 0, 0.0),
        )
    ] + [PartitionRow(*WHERE, 3, [])]
    return ConsoleState(
        "operator-0", NOW, ["voice/demo"], pods, 0, 464, [stalled, odd], [waits], drains, partitions, [alert, calm],
        ["voice/demo-gateway-6f7d-abcde does not answer: its sessions are missing here"],
    )  # fmt: skip


class Played(Console):
    """Shows what the test says."""

    state = fleet()

    async def look(self, key: Key) -> ConsoleState:
        return self.state

    def change(self, **fields: Any) -> None:
        self.state = msgspec.structs.replace(self.state, **fields)


@dataclass
class Stage:
    here: Served
    played: Played
    local: LocalServer
    page: Page

    @property
    def address(self) -> str:
        return self.local.address({"namespace": "voice"})

    async def enter(self) -> None:
        await self.page.go(self.address)
        await self.page.until("document.querySelectorAll('#fleet tbody tr').length === 5")


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("browser")


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("litevoice_operator.admin_api.LOOK_SECONDS", 0.1)
    yield


@pytest.fixture
async def stage(tmp_path: Path, often: None) -> AsyncIterator[Stage]:
    async with served() as here:
        played = Played(here.shared, here.console._inquiries, "operator-0")
        here.api._console = played
        local = LocalServer(ByUrl(here.url, "good"), 0)
        thread = threading.Thread(target=local.serve_forever, args=(0.05,))
        thread.start()
        try:
            async with browser(tmp_path) as page:
                yield Stage(here, played, local, page)
        finally:
            await here.api.close()
            await asyncio.to_thread(local.shutdown)
            local.server_close()
            thread.join()


async def test_from_the_address_to_the_cause_and_nothing_of_others_runs(stage: Stage) -> None:
    page = stage.page
    await page.show_as("light")
    await stage.enter()
    assert await page.js("location.hash") == "", "the code stands nowhere any more"
    shown = await page.js("document.body.innerText")
    for text in ("464", "212 of 1000", "demo-gateway-6f7d-qz2lm", "10.1.0.1:4711", "Firing: warning", "NOBODY",
                 "one-caller-hears-nothing", HOSTILE, "its sessions are missing here"):  # fmt: skip
        assert text in shown, text
    assert await page.js("document.querySelector('img') === null && document.title === 'litevoice console'")
    await page.js("document.querySelector('#stalled button.session').click()")
    await page.until("document.querySelector('#verdict').textContent.includes(': ')")
    assert "10.1.0.1:4711" in await page.js("document.querySelector('#facts').innerText")
    assert page.complaints == [], "neither an error nor anything that the policy refuses"
    assert await page.js("document.querySelector('#live').textContent") == "live", "what is told has no time in it"
    assert await page.js("document.querySelector('#at').textContent !== ''")
    await page.go(stage.address.partition("#")[0])
    await page.until("document.querySelectorAll('#fleet tbody tr').length === 5")  # the tab keeps its key
    if folder := os.environ.get("LITEVOICE_PICTURES"):
        for scheme in ("light", "dark"):
            await page.show_as(scheme, height=1220)
            (Path(folder) / f"{scheme}.png").write_bytes(await page.picture())


async def test_what_changes_is_shown_and_told_while_the_reader_stays_where_they_are(stage: Stage) -> None:
    page = stage.page
    await stage.enter()
    await page.js("document.querySelectorAll('#stalled button.session')[1].focus()")
    first, second = stage.played.state.stalled
    stage.played.change(stalled=[second, first], drains=[], sessions=470)
    await page.until("document.querySelector('#stalled tbody tr button').textContent.startsWith('s_cBi4')")
    assert (await page.js("document.activeElement.textContent")).startswith("s_cBi4"), "the focus went along"
    await page.until("document.querySelector('#news').textContent.includes('no longer drains')")
    assert "464" not in await page.js("document.querySelector('#summary').innerText")
    loud, calm = stage.played.state.alerts
    twin = msgspec.structs.replace(loud, namespace="eu")
    news = "document.querySelector('#news').textContent"
    stage.played.change(alerts=[msgspec.structs.replace(loud, severity="critical"), calm, twin])
    await page.until(f"{news}.includes('voice/one-caller-hears-nothing fires, critical')")
    assert await page.js(news) == (
        "alert voice/one-caller-hears-nothing fires, critical; alert eu/one-caller-hears-nothing fires, warning"
    )
    stage.played.change(alerts=[loud, calm])
    await page.until(f"{news}.includes('alert eu/one-caller-hears-nothing is over')")
    stage.played.change(stalled=[first])
    await page.until("document.querySelectorAll('#stalled tbody tr').length === 1")
    assert await page.js("document.activeElement.className") == "scroll", "its row is gone: the table has the focus"
    await page.js("document.querySelector('#pause').click()")
    stage.played.change(sessions=999)
    await page.until("document.querySelector('#live').textContent.startsWith('paused')")
    await asyncio.sleep(0.5)
    assert "999" not in await page.js("document.querySelector('#summary').innerText")
    await page.js("document.querySelector('#pause').click()")
    await page.until("document.querySelector('#summary').innerText.includes('999')")
    await stage.here.api.close()
    await page.until("document.querySelector('#live').className === 'bad'")


async def test_with_the_keyboard_alone_and_a_screen_reader(stage: Stage) -> None:
    page = stage.page
    await stage.enter()
    met = []
    for _ in range(12):
        await page.press("Tab")
        met.append(
            await page.js("document.activeElement.innerText.split('\\n')[0] || document.activeElement.className")
        )
    assert met[:3] == ["Skip to the tables", "Pause", "Dark"]
    assert "s_1" in met, met
    while await page.js("document.activeElement.className") != "session":
        await page.press("Tab")
    await page.press("Enter")
    await page.until("document.querySelector('#why').open")
    await page.press("Escape")
    await page.until("!document.querySelector('#why').open")
    assert await page.js("document.activeElement.className") == "session", "back to where they were"
    nodes = await page.nodes()
    named = [(role, name) for role, name in nodes if role in ("button", "link", "table", "region", "textbox")]
    assert all(name for _, name in named), named
    tables = {name for role, name in nodes if role == "table"}
    assert tables == {"Alerts", "Fleet", "Drains", "Stalled turns", "Top backlog", "Partitions"}
    assert ("columnheader", "Owner") in nodes
    assert {role for role, _ in nodes} >= {"main", "banner", "status", "heading", "log"}


async def test_dark_and_light(stage: Stage) -> None:
    page, ground = stage.page, "getComputedStyle(document.body).backgroundColor"
    await page.show_as("dark")
    await stage.enter()
    dark = await page.js(ground)
    assert await page.js("document.querySelector('#theme').textContent") == "Light"
    await page.js("document.querySelector('#theme').click()")
    light = await page.js(ground)
    assert (dark, light) == ("rgb(20, 23, 26)", "rgb(255, 255, 255)")
    await page.go(stage.address.partition("#")[0])
    await page.until("document.querySelectorAll('#fleet tbody tr').length === 5")
    assert await page.js(ground) == light, "as it was chosen"


async def test_without_the_command_a_token_is_asked_for(stage: Stage) -> None:
    page, form = stage.page, "document.querySelector('#token')"
    await page.go(f"{stage.here.url}/console?namespace=voice")
    await page.until(f"{form} !== null && document.activeElement === {form}")
    assert await page.js("document.querySelector('#refused').textContent") == ""
    for token in ("bad", "good"):
        await page.js(f"{form}.value = '{token}'; document.querySelector('#login-form').requestSubmit()")
        if token == "bad":
            await page.until("document.querySelector('#refused').textContent.includes('the token is not valid')")
    await page.until("document.querySelectorAll('#fleet tbody tr').length === 5")
    assert await page.js("sessionStorage.length + document.cookie.length") == 0, "it stays in memory"
    stage.here.accounts.tokens.clear()
    stage.here.now += 60
    await page.until(f"{form} !== null && document.activeElement === {form}")
    assert await page.js(f"{form}.value") == "", "the old token stands nowhere"
    await page.go(stage.address)
    await page.until(
        "document.querySelectorAll('#fleet tbody tr').length === 5 || !!document.querySelector('#refused').textContent"
    )
