"""A neighbour for a gateway that is measured alone: speaks RocketMQ's gRPC protocol, takes every message, has none.

    python -m bench.canned_proxy PORT

Writes once a second a line of JSON: messages and bytes so far. It keeps no state but these, so it costs the machine a
fraction of what a broker does, and ten thousand sessions can be opened at it.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio

from litevoice_broker import stubs

SERVICE = "apache.rocketmq.v2.MessagingService"
HOST = "127.0.0.1"
REPORT_SECONDS = 1.0
_wire: Any = stubs.service


class Proxy:
    """`port`: its own, which it gives out as the broker's address."""

    def __init__(self, port: int) -> None:
        self._endpoints = stubs.endpoints([(HOST, port)])
        self._ok = stubs.definition.Status(code=stubs.OK, message="OK")
        self.messages = 0
        self.bytes = 0

    def handlers(self) -> dict[str, Any]:
        unary = {
            "QueryRoute": self.route,
            "QueryAssignment": self.assignment,
            "SendMessage": self.send,
            "Heartbeat": self.fine("HeartbeatResponse"),
            "AckMessage": self.fine("AckMessageResponse"),
            "SyncLiteSubscription": self.fine("SyncLiteSubscriptionResponse"),
            "ChangeInvisibleDuration": self.fine("ChangeInvisibleDurationResponse"),
            "NotifyClientTermination": self.fine("NotifyClientTerminationResponse"),
        }
        methods: dict[str, Any] = {
            name: grpc.unary_unary_rpc_method_handler(
                function, getattr(_wire, f"{name}Request").FromString, _serialized
            )
            for name, function in unary.items()
        }
        methods["ReceiveMessage"] = grpc.unary_stream_rpc_method_handler(
            self.receive, _wire.ReceiveMessageRequest.FromString, _serialized
        )
        methods["Telemetry"] = grpc.stream_stream_rpc_method_handler(
            self.telemetry, _wire.TelemetryCommand.FromString, _serialized
        )
        return methods

    def fine(self, response: str) -> Any:
        answer = getattr(_wire, response)(status=self._ok)

        async def handle(_request: Any, _context: Any) -> Any:
            return answer

        return handle

    def queue(self, topic: Any) -> Any:
        broker = stubs.definition.Broker(name="canned", endpoints=self._endpoints)
        every_type = [stubs.FIFO, stubs.LITE]
        return stubs.definition.MessageQueue(
            topic=topic, id=0, permission=stubs.definition.READ_WRITE, broker=broker, accept_message_types=every_type
        )

    async def route(self, request: Any, _context: Any) -> Any:
        return _wire.QueryRouteResponse(status=self._ok, message_queues=[self.queue(request.topic)])

    async def assignment(self, request: Any, _context: Any) -> Any:
        one = stubs.definition.Assignment(message_queue=self.queue(request.topic))
        return _wire.QueryAssignmentResponse(status=self._ok, assignments=[one])

    async def send(self, request: Any, _context: Any) -> Any:
        answer = _wire.SendMessageResponse(status=self._ok)
        for message in request.messages:
            self.messages += 1
            self.bytes += len(message.body)
            answer.entries.add(status=self._ok, message_id=message.system_properties.message_id, offset=self.messages)
        return answer

    async def receive(self, request: Any, _context: Any) -> AsyncIterator[Any]:
        await asyncio.sleep(request.long_polling_timeout.ToMilliseconds() / 1000)
        nothing = stubs.definition.Status(code=stubs.MESSAGE_NOT_FOUND, message="no new message")
        yield _wire.ReceiveMessageResponse(status=nothing)

    async def telemetry(self, commands: AsyncIterator[Any], _context: Any) -> AsyncIterator[Any]:
        async for command in commands:
            if command.HasField("settings"):
                yield _wire.TelemetryCommand(status=self._ok, settings=command.settings)


def _serialized(message: Any) -> bytes:
    return bytes(message.SerializeToString())


async def serve(port: int) -> None:
    proxy = Proxy(port)
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", -1)])
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, proxy.handlers()),))
    server.add_insecure_port(f"{HOST}:{port}")
    await server.start()
    while True:
        print(json.dumps({"at": time.monotonic(), "messages": proxy.messages, "bytes": proxy.bytes}), flush=True)
        await asyncio.sleep(REPORT_SECONDS)


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
