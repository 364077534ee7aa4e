"""RocketMQ's remoting protocol over TCP, as far as the admin calls need it: one kept connection per address.

Frame: int32 length of the rest, int32 (serialize type << 24 | header length), JSON header, body.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import ssl
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from litevoice_broker.config import AdminAccess
from litevoice_broker.errors import BrokerError, BrokerUnavailable, NotPermitted
from litevoice_broker.signature import sign_request
from litevoice_contracts.addresses import split_address

_VERSION = 497  # MQVersion.Version.V5_5_0 is not checked by the broker; it only shows in its logs
_RESPONSE_FLAG = 1
_MAX_FRAME_BYTES = 64 << 20
SUCCESS = 0
SILENT_SECONDS = 1.5
"""Who gives a call up after so long, and has had nothing at all since, has the connection opened anew for the next one:
after a cut TCP waits longer and longer before it tries again, up to two minutes after the cut is over."""
_NO_PERMISSION = 16


class Refused(BrokerError):  # noqa: N818 - reads as what it is
    """The server answered with an error code."""


@dataclass(frozen=True, slots=True)
class Answer:
    header: Mapping[str, Any]
    body: bytes


def encode_request(code: int, opaque: int, fields: Mapping[str, str], body: bytes) -> bytes:
    header = json.dumps(
        {
            "code": code,
            "language": "PYTHON",
            "version": _VERSION,
            "opaque": opaque,
            "flag": 0,
            "serializeTypeCurrentRPC": "JSON",
            "extFields": dict(fields),
        }
    ).encode()
    return struct.pack(">ii", 4 + len(header) + len(body), len(header)) + header + body


def decode_frame(frame: bytes) -> Answer:
    """`frame` without its leading length. Raises BrokerError when the header is not JSON."""
    (word,) = struct.unpack_from(">i", frame)
    if word >> 24:
        raise BrokerError("the name server or broker did not answer in JSON")
    end = 4 + (word & 0xFFFFFF)
    return Answer(json.loads(frame[4:end]), frame[end:])


class _Connection:
    """An open one. `reader`, `writer`: its ends; `over_tls`: so that its end without any answer can be explained."""

    def __init__(
        self, address: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, over_tls: bool
    ) -> None:
        self._address = address
        self._reader = reader
        self._writer = writer
        self._over_tls = over_tls
        self._waiting: dict[int, asyncio.Future[Answer]] = {}
        self._heard_at = 0.0  # in loop time
        self._reading = asyncio.create_task(self._read())

    @property
    def is_over(self) -> bool:
        return self._reading.done() or self._writer.is_closing()

    async def ask(self, opaque: int, request: bytes) -> Answer:
        """The answer to `opaque`. Raises BrokerUnavailable when the connection ends before, OSError."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Answer] = loop.create_future()
        self._waiting[opaque], asked_at = future, loop.time()
        try:
            self._writer.write(request)
            await self._writer.drain()
            return await future
        except asyncio.CancelledError:
            if self._heard_at < asked_at <= loop.time() - SILENT_SECONDS:
                self._writer.transport.abort()
            raise
        finally:
            del self._waiting[opaque]

    async def close(self) -> None:
        self._reading.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._reading

    async def _read(self) -> None:
        reason = "" if self._over_tls else "the connection was closed before any answer: it may require TLS (admin_tls)"
        try:
            while True:
                (length,) = struct.unpack(">i", await self._reader.readexactly(4))
                if not 4 <= length <= _MAX_FRAME_BYTES:
                    reason = f"frame of {length} bytes"
                    break
                answer = decode_frame(await self._reader.readexactly(length))
                self._heard_at = asyncio.get_running_loop().time()
                reason = ""
                future = self._waiting.get(int(answer.header["opaque"]))
                is_response = int(answer.header.get("flag", 0)) & _RESPONSE_FLAG
                if is_response and future is not None and not future.done():
                    future.set_result(answer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        except (BrokerError, ValueError) as error:
            reason = str(error)
        finally:
            self._writer.close()
            for future in self._waiting.values():
                if not future.done():
                    future.set_exception(BrokerUnavailable(f"{self._address}: {reason or 'the connection was closed'}"))


class RemotingClient:
    """Calls to one address, pipelined over one connection that is opened when needed and again after it broke.

    `access` says whether over TLS, and with which credentials requests are signed.
    """

    def __init__(self, address: str, *, access: AdminAccess, timeout_seconds: float) -> None:
        self._address = address
        self._access = access
        self._timeout_seconds = timeout_seconds
        self._opaques = itertools.count(1)
        self._connection: _Connection | None = None
        self._connecting = asyncio.Lock()

    async def call(self, code: int, fields: Mapping[str, object] | None = None, body: bytes = b"") -> Answer:
        """Raises Refused with the server's code and remark, NotPermitted when that is about the credentials,
        BrokerUnavailable when there is no answer in time."""
        text_fields = {name: str(value) for name, value in (fields or {}).items() if value is not None}
        access_key, secret_key = self._access.keys
        if access_key:
            text_fields = sign_request(access_key, secret_key, text_fields, body)
        opaque = next(self._opaques)
        try:
            async with asyncio.timeout(self._timeout_seconds):
                connection = await self._connected()
                answer = await connection.ask(opaque, encode_request(code, opaque, text_fields, body))
        except TimeoutError:
            raise BrokerUnavailable(f"no answer from {self._address} within {self._timeout_seconds} s") from None
        except ssl.SSLCertVerificationError as error:
            raise BrokerError(
                f"admin_tls: the certificate of {self._address} does not match ca_file or this address: "
                f"{error.verify_message}"
            ) from error
        except OSError as error:
            raise BrokerUnavailable(f"cannot reach {self._address}: {error}") from error
        if answer.header["code"] != SUCCESS:
            remark = str(answer.header.get("remark", "")).split("\n")[0]
            if answer.header["code"] == _NO_PERMISSION:
                raise NotPermitted(
                    f"credentials_dir: {self._objection} (request {code}: {remark})", code=_NO_PERMISSION
                )
            raise Refused(f"{self._address} refused request {code}: {remark}", code=answer.header["code"])
        return answer

    async def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    @property
    def _objection(self) -> str:
        access_key, _ = self._access.keys
        if not access_key:
            return f"{self._address} requires signed requests"
        return f"{self._address} rejects the credentials of {access_key}"

    async def _connected(self) -> _Connection:
        async with self._connecting:
            if self._connection is None or self._connection.is_over:
                host, port = split_address(self._address)
                ends = await asyncio.open_connection(host, port, ssl=self._access.ssl_context())
                self._connection = _Connection(self._address, *ends, over_tls=self._access.tls)
            return self._connection
