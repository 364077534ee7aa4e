"""Callers of the walk, and what `litevoice`, as a program of its own, says of them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

from websockets.asyncio.client import connect

from litevoice_contracts.control import RefusalCause
from litevoice_contracts.operator_api import Cause
from litevoice_dev.stack import Member
from litevoice_dev.voice_client import VoiceClient
from litevoice_dev.walk.place import KEY, TOKEN, WalkPlace

BOUND_SECONDS = 5.0
"""For all commands about a fault together."""


@dataclass
class Caller:
    """`client`: its address, as the gateway sees it."""

    call: VoiceClient
    session_id: str
    client: str
    gateway: str


@dataclass
class Found:
    """What the commands have said of a planted fault.

    Attributes:
        wrong: what they got wrong, by name.
        seconds: that they took together.
        unknown: what nobody can know, and is not asked for.
    """

    cause: str
    wrong: list[str]
    seconds: float
    says: str
    unknown: str = ""

    @property
    def right(self) -> str:
        return ", ".join(self.wrong) or ("all but " + self.unknown if self.unknown else "all")

    @property
    def good(self) -> bool:
        return not self.wrong and self.seconds <= BOUND_SECONDS


@contextlib.asynccontextmanager
async def calling(here: WalkPlace, gateway: Member, model: str = "well", **options: Any) -> AsyncIterator[Caller]:
    call = VoiceClient(gateway.url, here.stack.api_key, model=model, **options)
    await call.__aenter__()
    try:
        host, port = call._connection._connection.local_address[:2]
        yield Caller(call, call.session_id, f"{host}:{port}", gateway.name)
    finally:
        with contextlib.suppress(Exception):  # whatever the fault has made of it
            async with asyncio.timeout(5):
                await call.__aexit__(None, None, None)


async def sent_away(here: WalkPlace, gateway: Member) -> str:
    """The address of a caller whom the gateway gives no session. Raises TimeoutError when it gives one."""
    headers = {"Authorization": f"Bearer {here.stack.api_key}"}
    async with connect(f"{gateway.url}/realtime?model=well", additional_headers=headers) as socket:
        host, port = socket.local_address[:2]
        async with asyncio.timeout(30):
            await socket.wait_closed()
    return f"{host}:{port}"


async def asked(
    here: WalkPlace, caller: Caller, cause: Cause, *, words: Sequence[str] = (), gone: bool = False
) -> Found:
    """`words`: the verdict has each of them. `gone`: the session's gateway is; `orphans` takes the place of `find`."""
    async with here.asking:
        began = time.monotonic()
        if gone:
            listed = await litevoice(here, "orphans")
            ids = [row["session_id"] for row in listed["orphans"] if row["client"] == caller.client]
        else:
            listed = await litevoice(here, "find", "--client", caller.client)
            ids = [row["session"]["session_id"] for row in listed["sessions"]]
            ids += [row["session_id"] for row in listed["at_silent"]]
        report = await litevoice(here, "why", caller.session_id)
        seconds = time.monotonic() - began
    wrong = mistakes(caller, here.node(caller.gateway), cause, ids, report, words=words)
    return Found(report["verdict"]["cause"], wrong, seconds, report["verdict"]["says"])


def mistakes(
    caller: Caller,
    node: str,
    cause: Cause,
    ids: list[str],
    report: Any,
    *,
    words: Sequence[str] = (),
) -> list[str]:
    """What `litevoice find`, which lists `ids`, and `why`, which says `report`, got wrong."""
    wrong = [] if ids == [caller.session_id] else [f"session: {', '.join(ids) or 'none'}"]
    verdict, session = report["verdict"], report.get("session") or {}
    expected = {
        "cause": (cause, verdict["cause"]),
        "pod": (caller.gateway, report.get("pod") or report.get("subscriber") or report.get("last_pod", "")),
        "node": (node, report.get("node") or report.get("last_node", "")),
        "client": (caller.client, session.get("client") or report.get("last_client", "")),
    }
    return [*wrong, *_different(expected), *_unsaid(words, verdict["says"])]


async def asked_of_one_sent_away(
    here: WalkPlace, client: str, gateway: Member, cause: RefusalCause, words: Sequence[str]
) -> Found:
    """There is no session that `litevoice why` could be asked about."""
    async with here.asking:
        began = time.monotonic()
        listed = await litevoice(here, "find", "--client", client)
        seconds = time.monotonic() - began
    wrong = mistakes_of_refusal(client, gateway.name, here.node(gateway.name), cause, words, listed)
    told = listed["refused"][0]["refused"] if listed["refused"] else {"cause": "none", "says": ""}
    return Found(told["cause"], wrong, seconds, told["says"], "session, as there is none")


def mistakes_of_refusal(
    client: str, pod: str, node: str, cause: RefusalCause, words: Sequence[str], listed: Any
) -> list[str]:
    """What `litevoice find` got wrong of a client that was sent away."""
    rows = listed["refused"]
    if len(rows) != 1 or listed["sessions"]:
        return [f"client: {len(rows)} refusals and {len(listed['sessions'])} sessions"]
    (row,) = rows
    told = row["refused"]
    expected = {
        "cause": (cause, told["cause"]),
        "pod": (pod, row["pod"]),
        "node": (node, row["node"]),
        "client": (client, told["client"]),
    }
    return [*_different(expected), *_unsaid(words, told["says"])]


def _different(expected: dict[str, tuple[str, str]]) -> list[str]:
    """Name → what is right, and what was said."""
    return [f"{name}: {got or 'none'}" for name, (right, got) in expected.items() if got != right]


def _unsaid(words: Sequence[str], says: str) -> list[str]:
    return [f"says nothing of {word}" for word in words if word not in says]


async def litevoice(here: WalkPlace, *arguments: str) -> Any:
    """What the command says, as JSON."""
    options = ("-n", KEY[0], "--url", here.url, "--token", TOKEN, "-o", "json")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "litevoice_cli", *arguments, *options),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, error = await process.communicate()
    if process.returncode not in (0, 3):
        raise RuntimeError(f"litevoice {arguments[0]}: {error.decode().strip()}")
    return json.loads(out)
