"""Channels that the installation names, for alerts: every replica of an Alertmanager, or a webhook."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Self

import aiohttp
from pydantic import Field, TypeAdapter, ValidationError, model_validator

from litevoice_contracts.errors import InvalidField, problems
from litevoice_operator.api.backlog_alert import CHANNEL_NAME
from litevoice_operator.api.base import Api
from litevoice_operator.api.times import to_text
from litevoice_operator.decide.alert_board import Sent

TIMEOUT_SECONDS = 10.0
MAX_CHANNELS = 20
ALERTS_IN_REQUEST = 100
HMAC_KEY_MIN_BYTES = 16

Url = Annotated[str, Field(pattern=r"^https?://[^\s]+$", max_length=500)]


class ChannelError(Exception):
    """The channel refused, or could not be reached. `retryable`: the same may be taken later."""

    def __init__(self, message: str, *, retryable: bool) -> None:
        super().__init__(message)
        self.retryable = retryable


class _Alertmanager(Api):
    urls: Annotated[list[Url], Field(min_length=1, max_length=10)]


class _Webhook(Api):
    url: Url
    signed: bool = False


class _Entry(Api):
    name: Annotated[str, Field(pattern=CHANNEL_NAME, max_length=50)]
    alertmanager: _Alertmanager | None = None
    webhook: _Webhook | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if (self.alertmanager is None) == (self.webhook is None):
            raise ValueError("one of alertmanager and webhook is needed")
        return self


_ENTRIES = TypeAdapter(Annotated[list[_Entry], Field(max_length=MAX_CHANNELS)])


@dataclass(frozen=True, slots=True)
class Channel:
    """Attributes:
    alertmanagers: base URLs of all replicas; empty for a webhook.
    webhook: its URL; "" for an Alertmanager.
    key: signs a webhook's bodies; b"" for none.
    """

    name: str
    alertmanagers: tuple[str, ...] = ()
    webhook: str = ""
    key: bytes = field(default=b"", repr=False)


def read_channels(variable: str, text: str, keys: Path) -> dict[str, Channel]:
    """By name, from a JSON list; signed webhooks have their key in the file ``<keys>/<name>/hmac-key``. Raises
    InvalidField that names the variable and what in it does not fit."""
    try:
        entries = _ENTRIES.validate_json(text or "[]")
    except ValidationError as error:
        where, message = problems(error, "")[0]
        raise InvalidField(".".join(filter(None, (variable, where))), message) from error
    found: dict[str, Channel] = {}
    for number, entry in enumerate(entries):
        if entry.name in found or entry.name == "events":
            raise InvalidField(f"{variable}.{number}.name", f"another name, got {entry.name!r} again")
        if entry.alertmanager is not None:
            urls = tuple(url.rstrip("/") for url in entry.alertmanager.urls)
            found[entry.name] = Channel(entry.name, alertmanagers=urls)
        elif entry.webhook is not None:
            key = _key(f"{variable}.{number}.webhook", keys / entry.name / "hmac-key") if entry.webhook.signed else b""
            found[entry.name] = Channel(entry.name, webhook=entry.webhook.url, key=key)
    return found


def _key(where: str, path: Path) -> bytes:
    try:
        key = path.read_bytes().strip()
    except OSError as error:
        raise InvalidField(where, f"its Secret to have the key hmac-key: {error}") from error
    if len(key) < HMAC_KEY_MIN_BYTES:
        raise InvalidField(where, f"an hmac-key of at least {HMAC_KEY_MIN_BYTES} bytes, got {len(key)}")
    return key


def signature(key: bytes, timestamp: str, body: bytes) -> str:
    """Of ``<timestamp>.<body>``, as the header ``Litevoice-Signature`` carries it."""
    return "sha256=" + hmac.new(key, timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def annotation_name(name: str) -> str:
    """As every Alertmanager takes it: letters, digits and `_` (all but the newest refuse others). What came after an
    alert with a name that it refuses, of others too, it would never hear of."""
    return re.sub(r"^(?=[0-9])|[^a-zA-Z0-9_]", "_", name) or "_"


class ChannelClient:
    """All requests to channels. Redirects are not followed: nobody but the installation says where alerts go."""

    def __init__(self) -> None:
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_SECONDS))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def send_alerts(self, base_url: str, sent: Sequence[Sent]) -> None:
        """To one Alertmanager (API v2). Raises ChannelError."""
        for first in range(0, len(sent), ALERTS_IN_REQUEST):
            alerts = [
                {
                    "labels": dict(one.alert.labels),
                    "annotations": {annotation_name(name): text for name, text in one.alert.annotations.items()},
                    "startsAt": to_text(one.alert.starts_at),
                    "endsAt": to_text(one.ends_at),
                }
                for one in sent[first : first + ALERTS_IN_REQUEST]
            ]
            await self._post(f"{base_url}/api/v2/alerts", json.dumps(alerts).encode(), {})

    async def send_webhook(self, channel: Channel, body: Mapping[str, Any], identity: str) -> None:
        """`identity`: the same for every attempt to tell the same. Raises ChannelError."""
        content, now = json.dumps(body).encode(), str(int(time.time()))
        headers = {"Idempotency-Key": identity, "Litevoice-Timestamp": now}
        if channel.key:
            headers["Litevoice-Signature"] = signature(channel.key, now, content)
        await self._post(channel.webhook, content, headers)

    async def _post(self, url: str, body: bytes, headers: Mapping[str, str]) -> None:
        try:
            async with self._session.post(
                url, data=body, headers={"Content-Type": "application/json", **headers}, allow_redirects=False
            ) as response:
                status, text = response.status, await response.content.read(200)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ChannelError(f"{type(error).__name__}: {error}", retryable=True) from error
        if not 200 <= status < 300:
            reason = re.sub(r"\s+", " ", text.decode(errors="replace"))
            raise ChannelError(f"HTTP {status}: {reason}", retryable=status == 429 or status >= 500)
