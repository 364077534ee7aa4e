"""Alerts on their way to channels: Alertmanagers are told again and again, webhooks once for each transition."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from litevoice_operator.adapters.channels import Channel, ChannelClient, ChannelError
from litevoice_operator.api.resource import Key
from litevoice_operator.decide.alert_board import Alert, Board
from litevoice_operator.metrics import NOTIFICATIONS
from litevoice_operator.reconcile.outbox import Outbox

RESEND_SECONDS = 30.0
RETRY_SECONDS = 5.0
WEBHOOK_PATIENCE_SECONDS = 0.5

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
        self._news = asyncio.Event()

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
                self._news.set()

    def under_way(self, about: Mapping[str, str], channels: Iterable[str]) -> list[str]:
        return [name for name in channels if self._outbox.under_way(_of_channel(about, name))]

    async def tell(self, name: str, about: Mapping[str, str], body: Mapping[str, Any], once: tuple[str, float]) -> bool:
        """To a webhook; see `Outbox.send`."""
        return await self._outbox.send(_of_channel(about, name), _Notice(self._channels[name], body, once))

    async def run(self) -> None:
        """Until it is cancelled."""
        try:
            while True:
                self._news.clear()
                sent = await asyncio.gather(
                    *(
                        self._send(name, url, board)
                        for name, board in self._boards.items()
                        for url in self._channels[name].alertmanagers
                    )
                )
                pause_seconds = self._resend_seconds if all(sent) else min(RETRY_SECONDS, self._resend_seconds)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._news.wait(), pause_seconds)
        finally:
            await self._outbox.close()

    async def _send(self, name: str, url: str, board: Board) -> bool:
        """To one replica; what it does not get now comes in the next round."""
        due = board.due(time.time(), self._resend_seconds)
        if not due:
            return True
        try:
            await self._client.send_alerts(url, due)
        except ChannelError as error:
            NOTIFICATIONS.labels(name, "failed").inc()
            _log.warning("alerts not sent", extra={"channel": name, "url": url, "error": str(error)})
            return False
        NOTIFICATIONS.labels(name, "sent").inc()
        return True

    async def _post(self, about: Mapping[str, str], notice: _Notice) -> None:
        identity = hashlib.blake2b(f"{about['uid']} {notice.once}".encode(), digest_size=16).hexdigest()
        try:
            await self._client.send_webhook(notice.channel, notice.body, identity)
        except ChannelError:
            NOTIFICATIONS.labels(notice.channel.name, "failed").inc()
            raise
        NOTIFICATIONS.labels(notice.channel.name, "sent").inc()


def _of_channel(about: Mapping[str, str], channel: str) -> dict[str, str]:
    return {**about, "uid": f"{about['uid']}/{channel}"}
