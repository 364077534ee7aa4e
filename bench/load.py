"""Child processes that tell what they do in lines of JSON: the load generator, senders."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from bench.programs import program

_LONGEST_LINE_BYTES = 64 << 20


async def said(command: Sequence[str], environment: Mapping[str, str]) -> AsyncIterator[dict[str, Any]]:
    """Each line as it comes. Raises RuntimeError when the child fails."""
    child = await asyncio.create_subprocess_exec(
        *("setpriv", "--pdeathsig", "KILL", *command),
        stdout=asyncio.subprocess.PIPE,
        env=environment,
        limit=_LONGEST_LINE_BYTES,
    )
    assert child.stdout is not None
    try:
        async for text in child.stdout:
            yield json.loads(text)
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        raise
    if await child.wait():
        raise RuntimeError(f"{command[0]} ended with {child.returncode}")


async def lines(url: str, key: str, options: Sequence[str]) -> AsyncIterator[dict[str, Any]]:
    """What the load generator says; see bench/loadgen/src/main.rs. Raises RuntimeError when it fails."""
    binary = await asyncio.to_thread(program, "loadgen")
    async for line in said([binary, "--url", url, *options], {"LOADGEN_KEY": key}):
        yield line


def count(**numbers: int) -> list[str]:
    """Options of the load generator: ``silence_ms=100`` is ``--silence-ms 100``."""
    return [part for name, value in numbers.items() for part in (f"--{name.replace('_', '-')}", str(value))]
