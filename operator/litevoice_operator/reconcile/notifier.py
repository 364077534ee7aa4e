"""Alerts on their way to channels: Alertmanagers are told again and again, webhooks once for each transition."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from litevoice_broker.waiting import set_within
from litevoice_operator.adapters.channels import Channel, ChannelClient, ChannelError, shown
from litevoice_operator.api.resource import Key
from litevoice_operator.decide.alert_board import Alert, Board
from litevoice_operator.metrics import NOTIFICATIONS
from litevoice_operator.reconcile.outbox import Outbox

RESEND_SECONDS = 30.0
RETRY_SECONDS = 5.0
WEBHOOK_PATIENCE_SECONDS = 0.5
FAILING_SECONDS = 30.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Notice:
    channel: Channel
    body: Mapping[str, Any]
    once: tuple[str, float]

    @property
    def reason(self) -> str:
        return self.once[0]


class Notifier:
    """`channels` by name. `run` is to be run."""

    def __init__(
        self, channels: Mapping[str, Channel], client: ChannelClient, resend_seconds: float = RESEND_SECONDS
    ) -> None:
        self._channels = channels
        self._client = client
        self._resend_seconds = resend_seconds
        self._boards = {name: Board() for name, channel in channels.items() if channel.alertmanagers}
        self._outbox: Outbox[_Notice] = Outbox(self._post, WEBHOOK_PATIENCE_SECONDS)
        self._replicas = {
            name: {url: asyncio.Event() for url in channel.alertmanagers or (channel.webhook,)}
            for name, channel in channels.items()
        }
        """Set when there is news for it."""
        self._failing: dict[tuple[str, str], tuple[float, str]] = {}
        """By channel and replica: since when (monotonic seconds), and how."""

    @property
    def channels(self) -> Collection[str]:
        return self._channels.keys()

    def webhooks(self, routes: Iterable[str]) -> list[str]:
        """Those of `routes` that are webhooks."""
        return [name for name in routes if name in self._channels and name not in self._boards]

    def alertmanagers(self, routes: Iterable[str]) -> list[str]:
        """Those of `routes` that are Alertmanagers."""
        return [name for name in routes if name in self._boards]

    def put(self, owner: Key, alerts: Mapping[str, Iterable[Alert]], why: str = "") -> None:
        """What Alertmanagers, by name, are told of a BacklogAlert from now on; the others that it is over, or `why` it
        is told no longer."""
        now = time.time()
        for name, board in self._boards.items():
            if board.put(owner, alerts.get(name, ()), now, why):
                for news in self._replicas[name].values():
                    news.set()

    def failing(self, routes: Iterable[str]) -> dict[str, str]:
        """Those of `routes` that have taken nothing for a while although they were sent something, and how."""
        found = {}
        for name in routes:
            failed = [self._failing.get((name, url)) for url in self._replicas.get(name, {})]
            since = max((at for at, _ in filter(None, failed)), default=0.0)
            if (last := next(iter(failed), None)) and all(failed) and time.monotonic() - since >= FAILING_SECONDS:
                found[name] = last[1]
        return found

    def under_way(self, about: Mapping[str, str], channels: Iterable[str]) -> list[str]:
        return [name for name in channels if self._outbox.under_way(_of_channel(about, name))]

    async def tell(self, name: str, about: Mapping[str, str], body: Mapping[str, Any], once: tuple[str, float]) -> bool:
        """To a webhook; see `Outbox.send`."""
        return await self._outbox.send(_of_channel(about, name), _Notice(self._channels[name], body, once))

    async def run(self) -> None:
        """Until it is cancelled. Replicas do not wait for one another: one may hang."""
        replicas = [(name, url, news) for name in self._boards for url, news in self._replicas[name].items()]
        try:
            await asyncio.gather(asyncio.Event().wait(), *(self._keep_told(*replica) for replica in replicas))
        finally:
            await self._outbox.close()

    async def _keep_told(self, name: str, url: str, news: asyncio.Event) -> None:
        while True:
            news.clear()
            sent = await self._send(name, url, self._boards[name])
            pause_seconds = self._resend_seconds if sent else min(RETRY_SECONDS, self._resend_seconds)
            await set_within(news, pause_seconds)

    async def _send(self, name: str, url: str, board: Board) -> bool:
        """To one replica; what it does not get now comes in the next round."""
        due = board.due(time.time(), self._resend_seconds)
        if not due:
            self._failing.pop((name, url), None)
            return True
        try:
            await self._client.send_alerts(url, due)
        except ChannelError as error:
            self._failed(name, url, error)
            return False
        self._sent(name, url)
        return True

    async def _post(self, about: Mapping[str, str], notice: _Notice) -> None:
        identity = hashlib.blake2b(f"{about['uid']} {notice.once}".encode(), digest_size=16).hexdigest()
        try:
            await self._client.send_webhook(notice.channel, notice.body, identity)
        except ChannelError as error:
            self._failed(notice.channel.name, notice.channel.webhook, error)
            raise
        self._sent(notice.channel.name, notice.channel.webhook)

    def _failed(self, name: str, url: str, error: ChannelError) -> None:
        """Logged when it begins, and when it fails in another way."""
        NOTIFICATIONS.labels(name, "failed").inc()
        since, how = self._failing.get((name, url), (time.monotonic(), ""))
        self._failing[name, url] = since, error.brief
        if how != error.brief:
            _log.warning("channel fails", extra={"channel": name, "url": shown(url), "error": str(error)})

    def _sent(self, name: str, url: str) -> None:
        NOTIFICATIONS.labels(name, "sent").inc()
        if self._failing.pop((name, url), None):
            _log.info("channel works again", extra={"channel": name, "url": shown(url)})


def _of_channel(about: Mapping[str, str], channel: str) -> dict[str, str]:
    return {**about, "uid": f"{about['uid']}/{channel}"}
