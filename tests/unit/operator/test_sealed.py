"""What goes between operator and pods: nobody beside the wire reads it, nobody else is asked."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import ssl
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from litevoice_contracts.control import ADMIN_CERTIFICATE_FILE, ADMIN_KEY_FILE, DrainReport, WorkerStatus
from litevoice_contracts.errors import InvalidField
from litevoice_contracts.settings import BrokerSettings, GatewaySettings, MembersSettings, WorkerSettings
from litevoice_dev.ports import free_port
from litevoice_gateway.admin_server import AdminServer as GatewayAdmin
from litevoice_gateway.drain import Drain
from litevoice_gateway.hub import Hub
from litevoice_gateway.metrics import Metrics
from litevoice_gateway.settings import Keys as GatewayKeys
from litevoice_gateway.settings import SettingsError
from litevoice_gateway.settings import admin_tls as gateway_tls
from litevoice_operator.adapters.gateways import Gateways
from litevoice_operator.manifests.certificates import admin_certificate
from litevoice_operator.observe.pods import SEALED
from litevoice_worker.admin import AdminServer as WorkerAdmin
from litevoice_worker.settings import admin_tls as worker_tls

TOKEN, OTHERS = "t" * 64, "o" * 64
BROKER = BrokerSettings(
    endpoints="nobody:8081", name_server="nobody:9876", request_topic="up", reply_topic="down", partitions=8
)
HERE = "127.0.0.1"


def write(folder: Path, certificate: str, key: str) -> str:
    """Of the admin ports that want these tokens."""
    (folder / ADMIN_CERTIFICATE_FILE).write_bytes(admin_certificate(certificate).certificate)
    (folder / ADMIN_KEY_FILE).write_bytes(admin_certificate(key).key)
    return str(folder)


def gateway_settings(**more: Any) -> GatewaySettings:
    return GatewaySettings(broker=BROKER, api_keys_dir="/", keys_dir="/", admin_host=HERE, **more)


def worker_settings(folder: str) -> WorkerSettings:
    return WorkerSettings(broker=BROKER, members=MembersSettings(static=["w"]), admin_tls_dir=folder)


@asynccontextmanager
async def gateway(folder: Path, certificate: str = TOKEN) -> AsyncIterator[tuple[int, int]]:
    """Its ports without and with TLS."""
    plain, sealed = free_port(), free_port()
    where = {"admin_port": plain, "admin_tls_port": sealed, "admin_tls_dir": write(folder, certificate, certificate)}
    hub = Hub(gateway_settings(**where), GatewayKeys(b"k" * 32, TOKEN.encode()), Metrics(), "gateway-0", HERE)
    server = GatewayAdmin(hub, Drain(hub), TOKEN.encode(), "gateway-0")
    await server.start()
    yield plain, sealed
    await server.close()


class Tap:
    """Passes on what comes, and keeps it: who is beside the wire sees no less."""

    def __init__(self, target: int) -> None:
        self.asked, self.answered, self.connections = bytearray(), bytearray(), 0
        self._target = target

    @property
    def seen(self) -> bytes:
        return bytes(self.asked + self.answered)

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        there, on = await asyncio.open_connection(HERE, self._target)
        await asyncio.gather(_pass(reader, on, self.asked), _pass(there, writer, self.answered))


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kept: bytearray) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            kept += data
            writer.write(data)
    writer.close()


@asynccontextmanager
async def tapped(target: int) -> AsyncIterator[tuple[Tap, int]]:
    tap, port = Tap(target), free_port()
    server = await asyncio.start_server(tap, HERE, port)
    yield tap, port
    server.close()


async def test_neither_token_nor_answer_can_be_read_on_the_way(tmp_path: Path) -> None:
    async with gateway(tmp_path) as (plain, sealed):
        for address, port, legible in ((HERE, plain, True), (f"{SEALED}{HERE}", sealed, False)):
            async with tapped(port) as (tap, way), Gateways(way, way) as gateways:
                answers = await gateways.statuses({"gateway-0": address}, TOKEN)
                assert answers["gateway-0"].pod == "gateway-0"
                assert isinstance(await gateways.drain(address, TOKEN), DrainReport)
                assert isinstance(await gateways.take_drain_back(address, TOKEN), DrainReport)
                assert tap.connections == 1, "it is kept for the next question"
            assert len(tap.seen) > 500
            for secret in (TOKEN.encode(), b"gateway-0", b"/v1/status", b"Bearer"):
                assert (secret in tap.seen) is legible, secret


async def test_what_was_said_once_does_nothing_when_it_is_said_again(tmp_path: Path) -> None:
    async with gateway(tmp_path) as ports:
        for address, port, works in ((HERE, ports[0], True), (f"{SEALED}{HERE}", ports[1], False)):
            async with tapped(port) as (tap, way), Gateways(way, way) as gateways:
                assert await gateways.drain(address, TOKEN) is not None
                said = bytes(tap.asked)
                assert await gateways.take_drain_back(address, TOKEN) is not None
                reader, writer = await asyncio.open_connection(HERE, port)
                writer.write(said)
                writer.write_eof()
                await asyncio.wait_for(reader.read(), 10)
                writer.close()
                state = (await gateways.statuses({"gateway-0": address}, TOKEN))["gateway-0"].drain.state
                assert (state != "none") is works
                await gateways.take_drain_back(address, TOKEN)


async def test_a_connection_that_is_kept_takes_little_memory(tmp_path: Path) -> None:
    async with gateway(tmp_path) as (_, sealed), Gateways(sealed, sealed) as gateways:
        address = f"{SEALED}{HERE}"
        assert await gateways.statuses({"first": address}, TOKEN), "all that is made once is there"
        tracemalloc.start()
        pods = {f"gateway-{number}": address for number in range(8)}
        assert len(await gateways.statuses(pods, TOKEN)) == len(pods), "at the same time, on a connection each"
        held, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert held / len(pods) < 100 << 10, "both ends of it are in this process"


async def test_the_token_goes_to_no_port_with_another_certificate(tmp_path: Path) -> None:
    async with gateway(tmp_path, OTHERS) as (_, sealed), Gateways(sealed, sealed) as gateways:
        assert await gateways.statuses({"gateway-0": f"{SEALED}{HERE}"}, TOKEN) == {}


async def test_nor_to_one_that_does_not_speak_tls(tmp_path: Path) -> None:
    async with gateway(tmp_path) as (plain, _), tapped(plain) as (tap, way), Gateways(way, way) as gateways:
        assert await gateways.statuses({"gateway-0": f"{SEALED}{HERE}"}, TOKEN) == {}
        assert tap.connections == 1
        assert TOKEN.encode() not in tap.seen


async def test_workers_are_asked_the_same_way(tmp_path: Path) -> None:
    status = WorkerStatus("worker-0", True, "", 0, 10, [3])
    digest = hashlib.sha256(TOKEN.encode()).hexdigest()
    server = WorkerAdmin(CollectorRegistry(), lambda: "", digest, lambda: status, lambda _: None, lambda _: None)
    context = worker_tls(worker_settings(write(tmp_path, TOKEN, TOKEN)))
    assert context is not None
    sealed = free_port()
    await server.start(HERE, 0, (sealed, context))
    async with tapped(sealed) as (tap, way), Gateways(0, way) as gateways:
        assert await gateways.worker_statuses({"worker-0": f"{SEALED}{HERE}"}, TOKEN) == {"worker-0": status}
        assert await gateways.worker_statuses({"worker-0": f"{SEALED}{HERE}"}, OTHERS) == {}
    assert b"worker-0" not in tap.seen
    await server.close()


def test_the_certificate_is_the_same_after_a_restart_and_another_for_each_token() -> None:
    first = admin_certificate(TOKEN)
    admin_certificate.cache_clear()
    again = admin_certificate(TOKEN)
    assert (again.certificate, again.key, again.sha256) == (first.certificate, first.key, first.sha256)
    assert hashlib.sha256(ssl.PEM_cert_to_DER_cert(first.certificate.decode())).digest() == first.sha256
    other = admin_certificate(OTHERS)
    assert not {other.certificate, other.key, other.sha256} & {first.certificate, first.key, first.sha256}
    assert TOKEN not in repr(first)


@pytest.mark.parametrize("fault", ["no certificate", "no key", "another's key", "no PEM", "empty"])
def test_a_certificate_that_does_not_fit_is_said_by_field(fault: str, tmp_path: Path) -> None:
    folder = write(tmp_path, TOKEN, OTHERS if fault == "another's key" else TOKEN)
    if fault == "no certificate":
        (tmp_path / ADMIN_CERTIFICATE_FILE).unlink()
    elif fault == "no key":
        (tmp_path / ADMIN_KEY_FILE).unlink()
    elif fault == "no PEM":
        (tmp_path / ADMIN_KEY_FILE).write_bytes(b"\xff\x00")
    elif fault == "empty":
        (tmp_path / ADMIN_CERTIFICATE_FILE).write_bytes(b"")
    wanted = f"adminTlsDir: expected.*{ADMIN_CERTIFICATE_FILE} and {ADMIN_KEY_FILE}"
    with pytest.raises(SettingsError, match=wanted):
        gateway_tls(gateway_settings(admin_tls_dir=folder))
    with pytest.raises(InvalidField, match=wanted):
        worker_tls(worker_settings(folder))


def test_without_a_folder_there_is_no_such_port() -> None:
    assert gateway_tls(gateway_settings()) is None
    assert worker_tls(worker_settings("")) is None
