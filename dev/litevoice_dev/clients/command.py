"""Holds a conversation with each of six unchanged client libraries: a spoken and a typed turn, an interruption, a
function call, an edit of the history, a drain of the gateway, and a move to another gateway.

Starts RocketMQ, a worker, a chat endpoint and a gateway for each call as plain processes; installs the libraries as
locks/clients says. Writes docs/clients.json and the table in the documents. Exit code 0: every client could do
everything that is asked of it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from litevoice_contracts.names import Names
from litevoice_dev.clients import results
from litevoice_dev.clients.catalog import CLIENTS, STEPS, Client
from litevoice_dev.clients.driven import Missed, installed
from litevoice_dev.clients.place import Place, place
from litevoice_dev.clients.story import Story
from litevoice_dev.progress import say
from litevoice_dev.rocketmq import LocalRocketMQ
from litevoice_dev.stack import Member

GONE_SECONDS = 30.0
"""A gateway that is drained ends so soon after its last client has left."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    names = ", ".join(client.name for client in CLIENTS)
    parser.add_argument("--only", default="", metavar="NAMES", help=f"some of {names}, with commas (default: all)")
    parser.add_argument("--jobs", type=int, default=2, help="clients at the same time (default: %(default)s)")
    parser.add_argument("--dry-run", action="store_true", help="write neither docs/clients.json nor tables")


def chosen_clients(only: str) -> list[Client]:
    """Raises SystemExit for an unknown name."""
    names = [name for name in only.split(",") if name]
    known = {client.name: client for client in CLIENTS}
    for name in names:
        if name not in known:
            raise SystemExit(f"clients: --only: expected some of {', '.join(known)}, got {name!r}")
    return [known[name] for name in names] or list(CLIENTS)


def clients(chosen: argparse.Namespace) -> int:
    """The exit code."""
    wanted = chosen_clients(chosen.only)
    places = {client.name: installed(client) for client in wanted}
    folder = chosen.folder / "clients"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    found = asyncio.run(_run(folder, wanted, places, chosen.jobs))
    if not chosen.dry_run:
        results.record(found)
    print(results.table_of(found))
    missed = results.misses(found)
    for line in missed:
        print(f"missed: {line}")
    return 1 if missed else 0


async def _run(folder: Path, wanted: Sequence[Client], places: dict[str, str], jobs: int) -> dict[str, Any]:
    rocketmq = LocalRocketMQ(folder / "rocketmq", fresh=True, progress=say)
    names = Names("clients-requests", "clients-replies", 2)
    async with AsyncExitStack() as stack:
        stack.callback(rocketmq.kill)
        await asyncio.to_thread(rocketmq.start)
        called = await stack.enter_async_context(place(folder, rocketmq.endpoints, rocketmq.name_server, names))
        free = asyncio.Semaphore(max(1, jobs))
        found: dict[str, Any] = {}

        async def of(client: Client) -> None:
            async with free:
                found[client.name] = await call(called, client, places[client.name])
            (folder / "results.json").write_text(json.dumps(found))

        await asyncio.gather(*map(of, wanted))
        return found


async def call(at: Place, client: Client, installed_at: str) -> dict[str, Any]:
    """What the client could do."""
    steps = dict.fromkeys(STEPS, "not reached")
    version, moved = "", "not reached"
    async with AsyncExitStack() as ends:
        gateway = await at.gateway("Auto")
        driven = await at.driven(client, installed_at, gateway, ends)
        try:
            async with driven:
                version = driven.version
                story = Story(driven, gateway.terminate)
                for step in STEPS:
                    steps[step] = await story.outcome(step)
                    say(f"{client.title}: {STEPS[step]}: {steps[step]}")
        except Missed as missed:
            steps["spoken"] = str(missed)
        if steps["drained"] == results.HELD:
            steps["drained"] = await _ended(gateway)
    async with AsyncExitStack() as ends:
        gateway = await at.gateway("Migrate")
        driven = await at.driven(client, installed_at, gateway, ends)
        if client.returns:
            driven.comes_back()

        async def move() -> None:
            gateway.terminate()
            await gateway.wait_gone()
            await at.stack.replace_gateway(gateway).wait_ready()

        try:
            async with driven:
                moved = await Story(driven).moved(move)
        except (Missed, TimeoutError) as missed:
            moved = f"fails before: {missed}"
        say(f"{client.title}: moved: {moved}")
    return {"version": version, "steps": steps, "moved": moved}


async def _ended(gateway: Member) -> str:
    try:
        code = await gateway.wait_gone(GONE_SECONDS)
    except TimeoutError:
        return f"the gateway runs {GONE_SECONDS:.0f} s after its last client has left"
    return results.HELD if code == 0 else f"the gateway ended with {code}"
