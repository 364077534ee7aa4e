"""Neighbours for an operator that is measured alone: the status of many gateways, on an address each.

    python -m bench.canned_pods COUNT

Each pod of `addresses(COUNT)` answers on the admin port as a gateway and a worker do that work; how many sessions it
holds changes every CHANGE_SECONDS, so that there is something to write into a status. One line of JSON a second: how
often it was asked.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

from aiohttp import web

from litevoice_contracts.control import STATUS_PATH
from litevoice_operator.manifests.paths import ADMIN_PORT

CHANGE_SECONDS = 10.0
MAX_SESSIONS = 100
REPORT_SECONDS = 1.0
PER_NETWORK = 250


def addresses(count: int) -> list[str]:
    """Of this machine, all of them: Linux takes every address of 127.0.0.0/8 for its own."""
    return [f"127.20.{number // PER_NETWORK}.{number % PER_NETWORK + 1}" for number in range(count)]


def sessions(address: str, now: float) -> int:
    """40 to 59, other at each of its pods, and one more or less every CHANGE_SECONDS."""
    last = int(address.rpartition(".")[2])
    return 40 + (last * 7 + int(now / CHANGE_SECONDS)) % 20


async def main(count: int) -> None:
    asked = 0

    async def status(request: web.Request) -> web.Response:
        nonlocal asked
        asked += 1
        address = request.host.partition(":")[0]
        held = sessions(address, time.time())
        drain = {"state": "none"}
        return web.json_response(
            {"pod": address, "ready": True, "reason": "", "sessions": held, "max_sessions": MAX_SESSIONS,
             "slow_readers": 0, "pending_requests": 0, "drain": drain, "in_turn": held // 10, "partitions": []}
        )  # fmt: skip

    app = web.Application()
    app.add_routes([web.get(STATUS_PATH, status)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    for address in addresses(count):
        await web.TCPSite(runner, address, ADMIN_PORT).start()
    while True:
        print(json.dumps({"line": "asked", "count": asked}), flush=True)
        await asyncio.sleep(REPORT_SECONDS)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
