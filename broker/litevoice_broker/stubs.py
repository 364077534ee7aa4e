"""The official client's protobuf stubs, typed as far as this package needs, and imported without the client itself.

`import rocketmq` runs the whole official client, which makes ~/logs and a log file at import: that fails on a read-only
root file system. Only its generated modules are imported here, under a stand-in for the parent package that is taken
away again, so that a later `import rocketmq` still works. Nothing else in litevoice imports rocketmq.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import types
from collections.abc import Iterable
from typing import Any

import grpc.aio


def _import_generated() -> tuple[Any, Any, Any]:
    stand_in = None
    if "rocketmq" not in sys.modules:
        spec = importlib.util.find_spec("rocketmq")
        if spec is None or spec.submodule_search_locations is None:
            raise ImportError("rocketmq-python-client is not installed")
        stand_in = types.ModuleType("rocketmq")
        stand_in.__path__ = list(spec.submodule_search_locations)
        sys.modules["rocketmq"] = stand_in
    try:
        return (
            importlib.import_module("rocketmq.grpc_protocol.definition_pb2"),
            importlib.import_module("rocketmq.grpc_protocol.service_pb2"),
            importlib.import_module("rocketmq.grpc_protocol.service_pb2_grpc"),
        )
    finally:
        if stand_in is not None:
            del sys.modules["rocketmq"]


definition: Any
service: Any
definition, service, _service_grpc = _import_generated()

CODE: Any = definition.Code
OK: int = definition.OK
MULTIPLE_RESULTS: int = definition.MULTIPLE_RESULTS
MESSAGE_NOT_FOUND: int = definition.MESSAGE_NOT_FOUND
TOO_MANY_REQUESTS: int = definition.TOO_MANY_REQUESTS
TYPE_CONFLICT: int = definition.MESSAGE_PROPERTY_CONFLICT_WITH_TYPE

PRODUCER: int = definition.PRODUCER
PUSH_CONSUMER: int = definition.PUSH_CONSUMER
LITE_PUSH_CONSUMER: int = definition.LITE_PUSH_CONSUMER

FIFO: int = definition.FIFO
LITE: int = definition.LITE

PARTIAL_ADD: int = definition.PARTIAL_ADD
PARTIAL_REMOVE: int = definition.PARTIAL_REMOVE
COMPLETE_ADD: int = definition.COMPLETE_ADD


END_OF_STREAM: Any = grpc.aio.EOF  # type: ignore[attr-defined]  # missing in the type stubs


def messaging_service(channel: Any) -> Any:
    """The gRPC methods: QueryRoute, QueryAssignment, Heartbeat, SendMessage, ReceiveMessage, AckMessage …"""
    return _service_grpc.MessagingServiceStub(channel)


def code_name(code: int) -> str:
    """``TOO_MANY_REQUESTS`` for 42900; the number itself when the stubs do not know it."""
    try:
        return str(CODE.Name(code))
    except ValueError:
        return str(code)


def resource(name: str) -> Any:
    return definition.Resource(name=name)


def endpoints(addresses: Iterable[tuple[str, int]]) -> Any:
    """`addresses`: host, port. Several hosts must be IP addresses of one kind: RocketMQ allows one domain name only."""
    listed = [definition.Address(host=host, port=port) for host, port in addresses]
    scheme = definition.DOMAIN_NAME
    if all(address.host.replace(".", "").isdigit() for address in listed):
        scheme = definition.IPv4
    elif all(":" in address.host for address in listed):
        scheme = definition.IPv6
    return definition.Endpoints(scheme=scheme, addresses=listed)
