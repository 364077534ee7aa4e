"""A Chromium without a window, driven by its own DevTools protocol: as much of it as the console's tests need."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import re
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

from litevoice_dev import processes
from tests.waiting import until

REPOSITORY = Path(__file__).resolve().parents[2]
START_SECONDS = 60.0
KEYS = {"Tab": 9, "Enter": 13, "Escape": 27}
# --no-sandbox: Chromium's own needs namespaces that root in a container may not make. It sees pages of tests alone.
OPTIONS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0", "--no-first-run",
           "--disable-background-networking", "--disable-component-update", "--hide-scrollbars")  # fmt: skip


class Page:
    """Attributes:
    complaints: what the page threw, and what its policy refused.
    """

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._session = ""
        self.complaints: list[str] = []

    async def open(self) -> None:
        target = await self.call("Target.createTarget", url="about:blank")
        attached = await self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Accessibility"):
            await self.call(f"{domain}.enable")

    async def read(self) -> None:
        async for text in self._socket:
            message = json.loads(text)
            if (future := self._answers.pop(message.get("id", 0), None)) is not None:
                future.set_result(message)
            elif message.get("method") == "Runtime.exceptionThrown":
                self.complaints.append(str(message["params"]["exceptionDetails"]))
            elif message.get("method") == "Log.entryAdded" and message["params"]["entry"]["source"] != "network":
                self.complaints.append(str(message["params"]["entry"]["text"]))

    async def call(self, method: str, **params: Any) -> Any:
        number, future = next(self._numbers), asyncio.get_running_loop().create_future()
        self._answers[number] = future
        session = {"sessionId": self._session} if self._session else {}
        await self._socket.send(json.dumps({"id": number, "method": method, "params": params, **session}))
        answer = await asyncio.wait_for(future, START_SECONDS)
        assert "error" not in answer, (method, answer)
        return answer["result"]

    async def go(self, url: str) -> None:
        await self.call("Page.navigate", url=url)

    async def js(self, expression: str) -> Any:
        """The value of a JavaScript expression."""
        found = await self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, (expression, found)
        return found["result"].get("value")

    async def until(self, expression: str) -> None:
        """Until it is true; fails with what the page says."""

        async def true() -> bool:
            try:
                return bool(await self.js(expression))
            except AssertionError:  # between two pages
                return False

        last = ""
        try:
            await until(true, timeout_seconds=30, step_seconds=0.05)
        except AssertionError:
            last = str(await self.js("document.body.innerText"))
            raise AssertionError(f"never true: {expression}\n{last}\n{self.complaints}") from None

    async def press(self, key: str) -> None:
        code = KEYS[key]
        text = {"text": "\r"} if key == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            event = {"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code}
            await self.call("Input.dispatchKeyEvent", **event, **(text if kind == "keyDown" else {}))

    async def show_as(self, scheme: str, width: int = 1360, height: int = 1000) -> None:
        """`scheme`: light or dark."""
        media = [{"name": "prefers-color-scheme", "value": scheme}]
        await self.call("Emulation.setEmulatedMedia", features=media)
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        await self.call("Emulation.setDeviceMetricsOverride", **metrics)

    async def picture(self) -> bytes:
        return base64.b64decode((await self.call("Page.captureScreenshot", format="png"))["data"])

    async def nodes(self) -> list[tuple[str, str]]:
        """Role and name of all that a screen reader meets."""
        tree = (await self.call("Accessibility.getFullAXTree"))["nodes"]
        return [
            (node.get("role", {}).get("value", ""), node.get("name", {}).get("value", ""))
            for node in tree
            if not node.get("ignored")
        ]


@asynccontextmanager
async def browser(folder: Path) -> AsyncIterator[Page]:
    """`folder`: for its profile and log."""
    found = subprocess.run([REPOSITORY / "scripts/install-browser"], stdout=subprocess.PIPE, text=True, check=True)
    log = folder / "chromium.log"
    process = processes.spawn(
        [found.stdout.strip(), *OPTIONS, f"--user-data-dir={folder}/profile", "about:blank"], log=log
    )
    try:
        async with connect(await _address(log), max_size=64 << 20) as socket:
            page = Page(socket)
            reading = asyncio.create_task(page.read())
            await page.open()
            yield page
            reading.cancel()
            with suppress(asyncio.CancelledError):
                await reading
    finally:
        processes.kill(process)


async def _address(log: Path) -> str:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if found := re.search(r"DevTools listening on (ws://\S+)", log.read_text(errors="replace")):
            return found[1]
        await asyncio.sleep(0.1)
    raise AssertionError(f"Chromium did not start:\n{processes.last_lines(log)}")
