"""A client library at work: a process in the library's own environment, which does what it is told and tells what it
gets, a line of JSON each."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from litevoice_broker.waiting import set_within
from litevoice_dev.clients.catalog import PROGRAMS, Client
from litevoice_dev.microphone import Microphone

ROOT = Path(__file__).resolve().parents[3]
START_SECONDS = 120.0
LEAVE_SECONDS = 10.0


class Missed(Exception):  # noqa: N818 - reads as what it is
    """What was expected of a client has not happened; the text says what."""


def installed(client: Client) -> str:
    """Its Python, or its folder of Node modules; installs it if need be. Raises RuntimeError."""
    command = [str(ROOT / "scripts" / "install-client"), client.name]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{client.name} cannot be installed, see above")
    return done.stdout.strip()


class Driven:
    """One call of a client. `place`: what `installed` gave.

    Attributes:
        text: of all answers, as the client got it. `heard`: what was understood of what it said.
        over: the newest answer has ended, or, if the client plays it, has been played. `audio_bytes`: of all answers.
        calls: arguments of the function calls that it was asked for.
        errors: that the library told; `closed`: how the connection ended, "" while it is open.
    """

    def __init__(self, client: Client, place: str, url: str, key: str, log: Path, certificate: Path | None) -> None:
        self._client = client
        self._command = [place] if client.program.endswith(".py") else ["node"]
        self._command.append(str(PROGRAMS / client.program))
        self._environment = {**os.environ, "CLIENT_URL": url, "CLIENT_KEY": key, "CLIENT_MODULES": place}
        self._environment["OPENAI_AGENTS_DISABLE_TRACING"] = "1"
        if certificate is not None:
            self._environment["NODE_EXTRA_CA_CERTS"] = str(certificate)
        self._log = log
        self._changed = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._process: asyncio.subprocess.Process | None = None
        self.version = ""
        self.text = ""
        self.heard: list[str] = []
        self.calls: list[str] = []
        self.errors: list[str] = []
        self.audio_bytes = 0
        self.over = False
        self.closed = ""
        self.microphone = Microphone(self._hear)

    def comes_back(self) -> Self:
        """It does what docs/clients.md says for coming back."""
        self._environment["CLIENT_RETURNS"] = "1"
        return self

    async def __aenter__(self) -> Self:
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                env=self._environment,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                limit=1 << 20,
            )
        self._tasks.append(asyncio.create_task(self._listen(self._process)))
        try:
            await self.until(lambda: bool(self.version), START_SECONDS, "a session")
        except BaseException:
            await self._end()
            raise
        self._tasks.append(asyncio.create_task(self.microphone.run()))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._end()

    async def _end(self) -> None:
        for task in self._tasks[1:]:
            task.cancel()
        process = self._process
        assert process is not None
        assert process.stdin is not None
        process.stdin.close()
        try:
            async with asyncio.timeout(LEAVE_SECONDS):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
        self._tasks[0].cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def do(self, command: str, **more: str) -> None:
        process = self._process
        assert process is not None
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps({"do": command, **more}).encode() + b"\n")
            await process.stdin.drain()
        except ConnectionError:
            self.closed = self.closed or "the program has ended"
            self._changed.set()

    async def until(self, condition: Callable[[], bool], seconds: float, what: str) -> None:
        """Raises Missed."""
        deadline = time.monotonic() + seconds
        while not condition():
            if self.closed:
                raise Missed(f"no {what}: {self.closed}")
            self._changed.clear()
            if not await set_within(self._changed, max(0.0, deadline - time.monotonic())):
                raise Missed(
                    f"no {what} within {seconds:.0f} s; it said {self.text[-80:]!r}, it understood {self.heard[-2:]}"
                )

    async def _hear(self, packet: bytes) -> None:
        await self.do("hear", audio=base64.b64encode(packet).decode())

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        while line := await process.stdout.readline():
            self._take(json.loads(line))
            self._changed.set()
        self.closed = self.closed or f"the program has ended, see {self._log}"
        self._changed.set()

    def _take(self, told: Any) -> None:
        match told["is"]:
            case "ready":
                self.version = told["version"]
            case "said":
                self.text += told["text"]
                self.over = False
            case "over":
                self.over = True
            case "heard":
                self.heard.append(told["text"])
            case "audio":
                self.audio_bytes += told["bytes"]
            case "called":
                self.calls.append(told["arguments"])
            case "error":
                self.errors.append(told["text"])
            case "closed":
                self.closed = told["text"] or "closed"
