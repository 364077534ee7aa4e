"""What the stages that call OpenAI-compatible endpoints share: the client, its key, its errors."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from litevoice_contracts.settings import OpenAICompatible
from litevoice_worker.stages import StageError

MAX_CONNECTIONS = 256
"""Requests under way at one endpoint; more wait, within the timeout."""
MAX_BODY_BYTES = 16 << 20
"""A longer body is refused: it would be minutes of speech for one sentence."""


def make_client(endpoint: OpenAICompatible) -> httpx.AsyncClient:
    """A client for the endpoint; `path` arguments are relative to its base URL. The key is read now."""
    key = Path(endpoint.api_key_file).read_text().strip() if endpoint.api_key_file else ""
    return httpx.AsyncClient(
        base_url=endpoint.base_url.rstrip("/") + "/",
        headers={"Authorization": f"Bearer {key}"} if key else {},
        timeout=endpoint.timeout_seconds,
        limits=httpx.Limits(max_connections=MAX_CONNECTIONS),
    )


@contextmanager
def stage_errors(stage: str) -> Iterator[None]:
    """Turns what httpx raises into a StageError that names the stage and no secret."""
    try:
        yield
    except httpx.TimeoutException as error:
        raise StageError(f"the {stage} endpoint did not answer in time") from error
    except httpx.HTTPError as error:
        raise StageError(f"the {stage} endpoint cannot be reached") from error


async def ask(client: httpx.AsyncClient, stage: str, timeout_seconds: float, path: str, **request: Any) -> bytes:
    """POSTs and returns the body of the 200. Otherwise, and after `timeout_seconds` in all, raises StageError."""
    try:
        with stage_errors(stage):
            async with asyncio.timeout(timeout_seconds), client.stream("POST", path, **request) as response:
                await check_status(response, stage)
                body = bytearray()
                async for piece in response.aiter_bytes():
                    body += piece
                    if len(body) > MAX_BODY_BYTES:
                        raise StageError(f"the {stage} endpoint answered with more than {MAX_BODY_BYTES} bytes")
                return bytes(body)
    except TimeoutError as error:
        raise StageError(f"the {stage} endpoint did not answer in time") from error


async def check_status(response: httpx.Response, stage: str) -> None:
    """Raises StageError unless the endpoint said 200."""
    if response.status_code != httpx.codes.OK:
        raise StageError(f"the {stage} endpoint answered with status {response.status_code}")
