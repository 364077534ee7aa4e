"""The six unchanged client libraries of `make clients` in a shorter story, side by side at one gateway."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from litevoice_contracts.names import Names
from litevoice_dev import processes
from litevoice_dev.clients.catalog import BRIEF, CLIENTS, Client
from litevoice_dev.clients.driven import Missed, installed
from litevoice_dev.clients.place import Place, place
from litevoice_dev.clients.results import HELD, locked_version
from litevoice_dev.clients.story import Story
from litevoice_dev.stack import Member
from tests.integration.shared_rocketmq import SharedRocketMQ
from tests.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.timeout(900)  # the libraries may have to be fetched first


async def missed(at: Place, client: Client, installed_at: str, gateway: Member) -> str:
    """What the client could not do; "" when it held its call."""
    async with AsyncExitStack() as ends:
        try:
            driven = await ends.enter_async_context(await at.driven(client, installed_at, gateway, ends))
            story = Story(driven, patience=PATIENCE_SECONDS)
            told = {"version": driven.version} | {step: await story.outcome(step) for step in BRIEF}
        except Missed as error:
            told = {"session": str(error)}
    if told == {"version": locked_version(client), **dict.fromkeys(BRIEF, HELD)}:
        return ""
    return f"{client.title}: {told}\n{processes.last_lines(at.log(client))}"


async def test_unchanged_client_libraries_speak_interrupt_and_call_functions(
    rocketmq: SharedRocketMQ, names: Names, tmp_path: Path
) -> None:
    places = [await asyncio.to_thread(installed, client) for client in CLIENTS]
    async with place(tmp_path, rocketmq.endpoints, rocketmq.name_server, names) as at:
        gateway = await at.gateway("Auto")
        found = await asyncio.gather(
            *(missed(at, client, where, gateway) for client, where in zip(CLIENTS, places, strict=True))
        )
    if any(found):
        pytest.fail("\n\n".join(filter(None, found)), pytrace=False)
