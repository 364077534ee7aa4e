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
from urllib.parse import urlsplit

import aiohttp
from pydantic import AfterValidator, Field, TypeAdapter, ValidationError, model_validator

from litevoice_contracts.errors import InvalidField, problems
from litevoice_operator.api.backlog_alert import CHANNEL_NAME
from litevoice_operator.api.base import Api
from litevoice_operator.api.times import to_text
from litevoice_operator.decide.alert_board import Sent

TIMEOUT_SECONDS = 10.0
MAX_CHANNELS = 20
CONNECTIONS_PER_HOST = 10
ALERTS_IN_REQUEST = 100
HMAC_KEY_MIN_BYTES = 16


def _with_host(url: str) -> str:
    """Raises ValueError, which does not show the URL: it may have a password."""
    try:
        parts = urlsplit(url)
        good = bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good:
        raise ValueError("expected http(s)://HOST[:PORT][/PATH]")
    return url


Url = Annotated[str, Field(pattern=r"^https?://[^\s]+$", max_length=500), AfterValidator(_with_host)]


class ChannelError(Exception):
    """The channel refused, or could not be reached. `retryable`: the same may be taken later. `brief`: without what it
    said and where it is, which is not everybody's to know."""

    def __init__(self, message: str, *, retryable: bool, brief: str = "") -> None:
        super().__init__(message)
        self.retryable = retryable
        self.brief = brief or message


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
    key: signs a webhook's bodies; b"" for none. key_file: where the next one will be.
    """

    name: str
    alertmanagers: tuple[str, ...] = field(default=(), repr=False)
    webhook: str = field(default="", repr=False)
    key: bytes = field(default=b"", repr=False)
    key_file: Path | None = None

    @property
    def key_now(self) -> bytes:
        """The Secret's key as it is now; the one at the start while that cannot be read, or is too short."""
        if self.key_file is None:
            return self.key
        try:
            return _key("", self.key_file)
        except InvalidField:
            return self.key


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
            file = keys / entry.name / "hmac-key" if entry.webhook.signed else None
            key = _key(f"{variable}.{number}.webhook", file) if file else b""
            found[entry.name] = Channel(entry.name, webhook=entry.webhook.url, key=key, key_file=file)
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


class ChannelClient:
    """All requests to channels. Redirects are not followed: nobody but the installation says where alerts go."""

    def __init__(self) -> None:
        # By host: one that hangs is not to take the connections of the others.
        connector = aiohttp.TCPConnector(limit=0, limit_per_host=CONNECTIONS_PER_HOST)
        self._session = aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=TIMEOUT_SECONDS))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def send_alerts(self, base_url: str, sent: Sequence[Sent]) -> None:
        """To one Alertmanager (API v2). What it refuses keeps it from nothing else. Raises ChannelError."""
        refused: ChannelError | None = None
        for first in range(0, len(sent), ALERTS_IN_REQUEST):
            alerts = [as_alertmanager_takes_it(one) for one in sent[first : first + ALERTS_IN_REQUEST]]
            try:
                await self._post(f"{base_url}/api/v2/alerts", json.dumps(alerts).encode(), {})
            except ChannelError as error:
                if error.retryable:
                    raise
                refused = error
        if refused is not None:
            raise refused

    async def send_webhook(self, channel: Channel, body: Mapping[str, Any], identity: str) -> None:
        """`identity`: the same for every attempt to tell the same. Raises ChannelError."""
        content, now = json.dumps(body).encode(), str(int(time.time()))
        headers = {"Idempotency-Key": identity, "Litevoice-Timestamp": now}
        if key := channel.key_now:
            headers["Litevoice-Signature"] = signature(key, now, content)
        await self._post(channel.webhook, content, headers)

    async def _post(self, url: str, body: bytes, headers: Mapping[str, str]) -> None:
        try:
            async with self._session.post(
                url, data=body, headers={"Content-Type": "application/json", **headers}, allow_redirects=False
            ) as response:
                status, text = response.status, await response.content.read(200)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            name, why = type(error).__name__, str(error) or f"no answer within {TIMEOUT_SECONDS:.0f} s"
            raise ChannelError(_without(url, f"{name}: {why}"), retryable=True, brief=name) from error
        if not 200 <= status < 300:
            reason = _without(url, re.sub(r"\s+", " ", text.decode(errors="replace")))
            final = 400 <= status < 500 and status not in (408, 429)
            raise ChannelError(f"HTTP {status}: {reason}", retryable=not final, brief=f"HTTP {status}")


def as_alertmanager_takes_it(sent: Sent) -> dict[str, Any]:
    """It refuses annotations whose names it would not take for labels, and an end before the start, which a clock that
    was set back would make."""
    annotations = {
        re.sub(r"^(?=[0-9]|$)|[^A-Za-z0-9_]", "_", name): text for name, text in sent.alert.annotations.items()
    }
    return {
        "labels": dict(sent.alert.labels),
        "annotations": annotations,
        "startsAt": to_text(min(sent.alert.starts_at, sent.ends_at)),
        "endsAt": to_text(sent.ends_at),
    }


def shown(url: str) -> str:
    """For logs: scheme and host. What is behind them, and a password before them, is often as good as a key."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _without(url: str, text: str) -> str:
    """What a channel says may have the path that it was asked for."""
    parts = urlsplit(url)
    path = f"{parts.path}?{parts.query}" if parts.query else parts.path
    for secret in (url, path, parts.path, parts.netloc.rpartition("@")[0]):
        text = text.replace(secret, "…") if len(secret) > 1 else text
    return text
