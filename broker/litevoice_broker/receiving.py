"""Requests that every kind of consumer makes: long poll and acknowledgement."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from litevoice_broker import stubs
from litevoice_broker.connection import Connection, is_cancelled
from litevoice_broker.errors import BrokerError, BrokerUnavailable
from litevoice_broker.status import RETRYABLE_CODES
from litevoice_broker.waiting import set_within

logger = logging.getLogger(__name__)

BATCH_MESSAGES = 32
"""The most that a broker hands out at once."""
HAND_BACK_SECONDS = 0.05
"""When what came to the wrong one is handed out again."""
_POLL_GRACE_SECONDS = 3.0
_POLL_BACKOFF_FIRST_SECONDS = 0.05
_POLL_BACKOFF_MAX_SECONDS = 0.5
_ACK_RETRY_FIRST_SECONDS = 0.1
_ACK_RETRY_MAX_SECONDS = 0.5


class Poller:
    """Long polls of one queue. A poll that failed is repeated with its attempt id: the broker then hands out again what
    got lost on the way, instead of blocking the queue behind it. `is_open`: one waits at the broker."""

    def __init__(
        self, connection: Connection, group: str, queue: Any, *, long_poll_seconds: float, invisible_seconds: float
    ) -> None:
        self._connection = connection
        self._long_poll_seconds = long_poll_seconds
        self.is_open = False
        # Without auto renewal: it keeps a dead consumer's messages locked for over a minute, does nothing for LITE
        # messages, and makes the proxy refuse every poll of a client with 100 of them un-acknowledged.
        self._request = stubs.service.ReceiveMessageRequest(
            group=stubs.resource(group), message_queue=queue, batch_size=BATCH_MESSAGES, auto_renew=False
        )
        self._request.filter_expression.type = stubs.definition.TAG
        self._request.filter_expression.expression = "*"
        self._request.invisible_duration.FromMilliseconds(int(invisible_seconds * 1000))
        self._request.long_polling_timeout.FromMilliseconds(int(long_poll_seconds * 1000))
        self._request.attempt_id = str(uuid.uuid4())

    async def run(
        self,
        handle: Callable[[list[Any]], Awaitable[None]],
        *,
        report: Callable[[BrokerError | None], None],
        leaving: asyncio.Event,
        prepare: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Poll, handle, poll again, until `leaving` is set, whatever happens; `report` gets what each poll came to, and
        `prepare` runs before each."""
        backoff = 0.0
        while not leaving.is_set():
            try:
                if prepare is not None:
                    await prepare()
                messages = await self.poll()
                report(None)
                backoff = 0.0
                if messages:
                    await handle(messages)
            except BrokerError as error:
                report(error)
                backoff = min(backoff * 2 or _POLL_BACKOFF_FIRST_SECONDS, _POLL_BACKOFF_MAX_SECONDS)
            except asyncio.CancelledError:
                if is_cancelled():
                    raise
                report(BrokerUnavailable("ReceiveMessage: the call was cut off"))
                backoff = _POLL_BACKOFF_MAX_SECONDS
            except Exception as error:
                logger.exception("poll failed")
                report(BrokerError(f"ReceiveMessage: {error!r}"))
                backoff = _POLL_BACKOFF_MAX_SECONDS
            if backoff:
                await set_within(leaving, backoff)

    async def poll(self) -> list[Any]:
        """Raises BrokerError when the poll failed."""
        timeout_seconds = self._long_poll_seconds + _POLL_GRACE_SECONDS
        self.is_open = True
        try:
            messages = await self._connection.receive(self._request, timeout_seconds)
        finally:
            self.is_open = False
        self._request.attempt_id = str(uuid.uuid4())
        return messages


async def acknowledge(
    connection: Connection,
    group: str,
    topic: str,
    messages: Sequence[Any],
    *,
    patient: Callable[[float], bool],
    refused: Callable[[Sequence[Any]], None] = lambda _: None,
) -> list[Any]:
    """One request for all, repeated while `patient` (it gets the seconds since the first try).

    Returns the messages that the broker never answered for. A refused entry counts as answered: its message was handed
    out anew meanwhile, or will be; `refused` gets these messages. Until then they block what comes after them.
    """
    left = list(messages)
    started = time.monotonic()
    pause = _ACK_RETRY_FIRST_SECONDS
    while left:
        request = stubs.service.AckMessageRequest(group=stubs.resource(group), topic=stubs.resource(topic))
        for message in left:
            system = message.system_properties
            request.entries.add(
                message_id=system.message_id, receipt_handle=system.receipt_handle, lite_topic=system.lite_topic
            )
        try:
            response = await connection.call("AckMessage", request)
        except BrokerError as error:
            if not error.retryable:
                logger.warning("acknowledgement refused", extra={"reason": str(error), "messages": len(left)})
                refused(left)
                return []
        else:
            failed = {entry.receipt_handle: entry.status.code for entry in response.entries}
            codes = [(message, failed.get(message.system_properties.receipt_handle, stubs.OK)) for message in left]
            left = [message for message, code in codes if code in RETRYABLE_CODES]
            gone = [message for message, code in codes if code != stubs.OK and code not in RETRYABLE_CODES]
            if gone:
                refused(gone)
        if left:
            if not patient(time.monotonic() - started):
                break
            await asyncio.sleep(pause)
            pause = min(pause * 2, _ACK_RETRY_MAX_SECONDS)
    return left


async def change_invisible(connection: Connection, group: str, topic: str, message: Any, seconds: float) -> None:
    """The broker hands the message out again after so long. Whatever it answers: in the end it does so anyway."""
    system = message.system_properties
    request = stubs.service.ChangeInvisibleDurationRequest(
        group=stubs.resource(group),
        topic=stubs.resource(topic),
        receipt_handle=system.receipt_handle,
        message_id=system.message_id,
        lite_topic=system.lite_topic,
    )
    request.invisible_duration.FromMilliseconds(int(seconds * 1000))
    with contextlib.suppress(BrokerError):
        await connection.call("ChangeInvisibleDuration", request)
