"""What the stages that call an OpenAI-compatible endpoint have in common: the client, its key, its errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from litevoice_contracts.settings import OpenAICompatible
from litevoice_worker.stages import StageError

MAX_CONNECTIONS = 256
"""Requests under way at one endpoint; more wait, within the timeout."""


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


async def check_status(response: httpx.Response, stage: str) -> None:
    """Raises StageError unless the endpoint said 200."""
    if response.status_code != httpx.codes.OK:
        await response.aread()
        raise StageError(f"the {stage} endpoint answered with status {response.status_code}")
