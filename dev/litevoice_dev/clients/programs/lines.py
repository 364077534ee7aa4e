"""How a driven client and `litevoice_dev.clients.driven` talk: a line of JSON on standard input for each command, one
on standard output for each thing that the library told. What a library itself prints goes to standard error."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from typing import Any

URL, KEY = os.environ["CLIENT_URL"], os.environ["CLIENT_KEY"]
RETURNS = os.environ.get("CLIENT_RETURNS") == "1"
"""Whether the client does what docs/clients.md says for coming back to its session."""

_told = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)


def tell(kind: str, **more: Any) -> None:
    _told.write(json.dumps({"is": kind, **more}) + "\n")
    _told.flush()


async def commands() -> AsyncIterator[Any]:
    reader = asyncio.StreamReader(limit=1 << 20)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        yield json.loads(line)
