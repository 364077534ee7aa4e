"""Ids as the first release made them, without the number of partitions: they live on, and the simulator keeps them,
whose stories hang on their hashes."""

from __future__ import annotations

import secrets

from litevoice_contracts.names import _RANDOM_BYTES, _tag


def early_session_id(signing_key: bytes, principal: str, partitions: int = 0) -> str:
    random = secrets.token_urlsafe(_RANDOM_BYTES)
    return f"s_{random}_{_tag(signing_key, principal, random)}"


def early_gateway_id(partitions: int = 0) -> str:
    return f"g_{secrets.token_urlsafe(_RANDOM_BYTES)}"
