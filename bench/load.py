"""The load generator as a child process."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

from bench.programs import program


async def lines(url: str, key: str, options: Sequence[str]) -> AsyncIterator[dict[str, Any]]:
    """What it says, as it says it; see bench/loadgen/src/main.rs. Raises RuntimeError when it fails."""
    binary = await asyncio.to_thread(program, "loadgen")
    generator = await asyncio.create_subprocess_exec(
        "setpriv", "--pdeathsig", "KILL", binary, "--url", url, *options,
        stdout=asyncio.subprocess.PIPE, env={"LOADGEN_KEY": key}, limit=1 << 26,
    )  # fmt: skip
    assert generator.stdout is not None
    try:
        async for text in generator.stdout:
            yield json.loads(text)
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            generator.kill()
        raise
    if await generator.wait():
        raise RuntimeError(f"the load generator ended with {generator.returncode}")


def count(**numbers: int) -> list[str]:
    """Options of the load generator: ``silence_ms=100`` is ``--silence-ms 100``."""
    return [part for name, value in numbers.items() for part in (f"--{name.replace('_', '-')}", str(value))]
