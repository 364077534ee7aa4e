from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.integration.worker.model_endpoint import Endpoint


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    async with Endpoint() as made:
        yield made
