"""A RocketMQ that lets nobody in without TLS and a signature; and, because its settings are its own, LiteTopic expiry
and the flush of the timer wheel."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from litevoice_broker.admin import Admin
from litevoice_broker.config import AdminAccess, BrokerConfig
from litevoice_broker.errors import BrokerError, BrokerUnavailable, NotPermitted
from litevoice_broker.lag import LiteTopicInfo
from litevoice_broker.lite.channel import Delivery, LiteChannel
from litevoice_broker.producer import Producer
from litevoice_contracts.envelopes import DownEnvelope
from litevoice_contracts.events import AudioDelta
from litevoice_contracts.names import ClientId, Names, new_session_id
from litevoice_dev.ports import HOST
from litevoice_dev.rocketmq import LocalRocketMQ
from litevoice_dev.rocketmq_jars import version
from litevoice_dev.speech import speak
from litevoice_dev.stack import LocalStack
from litevoice_dev.voice_client import VoiceClient
from litevoice_operator.api.voice_gateway import RocketMQ
from tests.integration.apiserver import ApiServer, wait_until
from tests.integration.gateway.process import Gateways, close_code, delta_numbers, expect_error, opened, receive
from tests.integration.operator.process import Namespace, OperatorProcess, voice_gateway
from tests.integration.sending import send_fifo, send_lite
from tests.integration.shared_rocketmq import SharedRocketMQ, make_certificate
from tests.waiting import until

pytestmark = pytest.mark.timeout(1800)  # the API server's program may have to be built first

PROVIDER = "org.apache.rocketmq.auth.authentication.provider"
ACCESS_KEY, SECRET_KEY = "litevoice", "a-secret-for-tests"
SIGNED: dict[str, Any] = {"access_key": ACCESS_KEY, "secret_key": SECRET_KEY}
STRANGERS = [{"access_key": "", "secret_key": ""}, {"secret_key": "wrong"}, {"access_key": "nobody"}]
EXPIRED_SECONDS = 75.0
"""After a last message, when LiteTopics live for one minute."""
STRANGER_IDS = ["none", "wrong secret", "unknown user"]


@pytest.fixture(scope="module")
def test_certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="module")
def access(test_certificate: tuple[Path, Path]) -> AdminAccess:
    """Of the only user."""
    return AdminAccess(True, str(test_certificate[1]), ACCESS_KEY, SECRET_KEY)


def inside(access: AdminAccess) -> dict[str, Any]:
    """The same for proxies, as fields of BrokerConfig."""
    return {"tls": True, "ca_file": access.ca_file, **SIGNED}


@pytest.fixture(scope="module")
def rocketmq(
    tmp_path_factory: pytest.TempPathFactory, test_certificate: tuple[Path, Path], access: AdminAccess
) -> Iterator[LocalRocketMQ]:
    folder = tmp_path_factory.mktemp("guarded")
    everybody = {
        "authenticationEnabled": "true",
        "authenticationProvider": f"{PROVIDER}.DefaultAuthenticationProvider",
        "innerClientAuthenticationCredentials": json.dumps({"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}),
    }
    cluster = LocalRocketMQ(
        folder,
        tls_key=test_certificate[0],
        tls_certificate=test_certificate[1],
        java_properties={"tls.server.mode": "enforcing", "tls.enable": "true"},
        access=access,
        broker_settings={
            **everybody,
            "authenticationMetadataProvider": f"{PROVIDER}.LocalAuthenticationMetadataProvider",
            "authConfigPath": str(folder / "store" / "auth"),
            "initAuthenticationUser": json.dumps({"username": ACCESS_KEY, "password": SECRET_KEY}),
            "minLiteTTl": "1000",
            "liteTtlCheckInterval": "1000",
            "timerFlushIntervalMs": "1000",  # RocketMQ's default instead of ours
        },
        proxy_settings={
            **everybody,
            "authenticationMetadataProvider": "org.apache.rocketmq.proxy.auth.ProxyAuthenticationMetadataProvider",
            "enableAclRpcHookForClusterMode": True,
        },
    )
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.kill()


@pytest.fixture
async def admin(rocketmq: LocalRocketMQ, access: AdminAccess) -> AsyncIterator[Admin]:
    admin = Admin(rocketmq.name_server, access=access)
    yield admin
    await admin.close()


@pytest.fixture
def broker_section(tmp_path: Path, access: AdminAccess) -> dict[str, Any]:
    """The settings with which gateways and workers get in."""
    folder = tmp_path / "credentials"
    folder.mkdir()
    (folder / "accessKey").write_text(ACCESS_KEY)
    (folder / "secretKey").write_text(SECRET_KEY)
    return {"adminTls": True, "tls": True, "caFile": access.ca_file, "credentialsDir": str(folder)}


# Expiry: begun first, looked at last


@dataclass(frozen=True, slots=True)
class Mortal:
    """LiteTopics that were written to before the first test. `soon`: names of a VoiceGateway whose sessions live for
    one minute."""

    soon: Names
    longest: str
    too_long: str
    signing_key: str
    session: str


@pytest.fixture(scope="module", autouse=True)
def mortal(rocketmq: LocalRocketMQ, access: AdminAccess) -> Mortal:
    base, key = f"t{secrets.token_hex(4)}", secrets.token_hex(32)
    session = new_session_id(key.encode(), "alice", 1)
    made = Mortal(Names(f"{base}-requests", f"{base}-replies", 1), f"{base}-longest", f"{base}-too-long", key, session)

    async def begin() -> None:
        admin = Admin(rocketmq.name_server, access=access)
        await admin.ensure_names(made.soon, expiration_minutes=1)
        longest = _longest_expiration_minutes()
        await admin.ensure_lite_topic(made.longest, expiration_minutes=longest)
        await admin.ensure_lite_topic(made.too_long, expiration_minutes=longest + 1)
        await admin.close()
        async with producer(rocketmq, access, made) as down:
            await say(down, made, session, 0, 1, 2)
            for parent in (made.longest, made.too_long):
                await send_lite(down, parent, session, b"x")

    asyncio.run(begin())
    return made


def _longest_expiration_minutes() -> int:
    """What a VoiceGateway may ask for."""
    field = RocketMQ.model_json_schema(by_alias=False)["properties"]["expiration_minutes"]
    return int(field["maximum"])


@contextlib.asynccontextmanager
async def producer(rocketmq: LocalRocketMQ, access: AdminAccess, mortal: Mortal) -> AsyncIterator[Producer]:
    config = BrokerConfig(rocketmq.endpoints, ClientId.new("test", HOST, "down"), **inside(access))
    made = Producer(config, [mortal.soon.reply_topic, mortal.longest, mortal.too_long])
    await made.start()
    await made.wait_ready(60)
    yield made
    await made.close()


async def say(producer: Producer, mortal: Mortal, session: str, *numbers: int) -> None:
    for number in numbers:
        body = DownEnvelope(1, 1, [AudioDelta("r1", "i1", number.to_bytes(4, "little"))]).encode()
        await send_lite(producer, mortal.soon.reply_topic, session, body)


# Who is let in


async def test_signed_requests_over_tls_are_let_in(kit: Any, admin: Admin, names: Names, access: AdminAccess) -> None:
    """Everything that gateways, workers and the operator ask; the fixtures have made names already."""
    assert await admin.names_exist(names) == []
    seen: list[Delivery] = []
    evicted: list[str] = []
    channel = await kit.channel(seen.append, evicted.append, config=kit.config("owner", **inside(access)), admin=admin)
    producer = await kit.producer(config=kit.config("producer", **inside(access)))
    await channel.take_over("s-signed", 0)
    await send_lite(producer, names.reply_topic, "s-signed", b"signed")
    await send_fifo(producer, names.partition_topic(0), "g", {}, b"signed, too")
    await until(lambda: [delivery.body for delivery in seen] == [b"signed"])
    info = await admin.lite_topic(names.reply_topic, "s-signed", names.gateway_group)
    assert info is not None
    assert [client.split("@")[0] for client in info.subscribers] == ["owner"]
    async with asyncio.timeout(60):
        while (await admin.lite_lag(names.gateway_group, 10)).total:
            await asyncio.sleep(0.05)
    assert [lag.topic for lag in await admin.partition_lag(names)] == list(names.partition_topics)
    assert await admin.offsets(names.partition_topic(0), names.worker_group) == (1, 0)
    assert await admin.reset_offset_to_committed(names.partition_topic(0), names.worker_group) == 0


@pytest.mark.parametrize("changes", STRANGERS, ids=STRANGER_IDS)
async def test_proxies_tell_strangers_why_not(kit: Any, access: AdminAccess, changes: dict[str, str]) -> None:
    producer = Producer(kit.config("producer", **{**inside(access), **changes}), kit.names.partition_topics)
    kit.closed_later(producer)
    await producer.start()
    await until(lambda: "UNAUTHORIZED" in producer.unready_reason)
    assert not producer.ready
    assert SECRET_KEY not in producer.unready_reason


@pytest.mark.parametrize("changes", STRANGERS, ids=STRANGER_IDS)
async def test_brokers_tell_strangers_why_not(
    rocketmq: LocalRocketMQ, names: Names, access: AdminAccess, changes: dict[str, str]
) -> None:
    keys = {**SIGNED, **changes}
    admin = Admin(rocketmq.name_server, access=AdminAccess(True, access.ca_file, **keys))
    expected = "rejects the credentials of" if keys["access_key"] else "requires signed requests"
    with pytest.raises(NotPermitted, match=f"credentials_dir: {rocketmq.broker.address} {expected}") as caught:
        await admin.partition_lag(names)
    assert SECRET_KEY not in str(caught.value)
    with pytest.raises(NotPermitted):
        await admin.delete_names(names)
    await admin.close()


async def test_plain_text_is_refused_and_the_setting_named(rocketmq: LocalRocketMQ) -> None:
    admin = Admin(rocketmq.name_server, access=AdminAccess(**SIGNED))
    with pytest.raises(BrokerUnavailable, match=r"it may require TLS \(admin_tls\)"):
        await admin.cluster.masters()
    await admin.close()


async def test_an_unknown_authority_is_refused(rocketmq: LocalRocketMQ) -> None:
    admin = Admin(rocketmq.name_server, access=AdminAccess(tls=True, **SIGNED))
    with pytest.raises(BrokerError, match=r"admin_tls: the certificate of .* does not match ca_file"):
        await admin.cluster.masters()
    await admin.close()


# What changes without a restart


def rotate(folder: Path, secret_key: str) -> None:
    """As a kubelet changes a mounted Secret: `..data`, into which all files are links, names another folder."""
    version = folder / f"..{secrets.token_hex(4)}"
    version.mkdir(parents=True)
    (version / "accessKey").write_text(ACCESS_KEY)
    (version / "secretKey").write_text(secret_key)
    for name in ("accessKey", "secretKey"):
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(f"..data/{name}")
    (folder / "..new").symlink_to(version.name)
    (folder / "..new").rename(folder / "..data")


async def test_credentials_change_without_a_restart(
    kit: Any, rocketmq: LocalRocketMQ, names: Names, access: AdminAccess, tmp_path: Path
) -> None:
    folder = tmp_path / "mounted"
    rotate(folder, "wrong")
    keys = {"access_key": ACCESS_KEY, "secret_key": "wrong", "credentials_dir": str(folder)}
    config = kit.config("producer", **{**inside(access), **keys})
    producer = Producer(config, names.partition_topics)
    kit.closed_later(producer)
    await producer.start()
    admin = Admin(rocketmq.name_server, access=AdminAccess(True, access.ca_file, **keys))
    await until(lambda: "UNAUTHORIZED" in producer.unready_reason)
    with pytest.raises(NotPermitted):
        await admin.partition_lag(names)
    rotate(folder, SECRET_KEY)
    await producer.wait_ready(30)
    topic = names.partition_topic(0)
    await send_fifo(producer, topic, "g", {}, b"signed")
    assert [lag.lag for lag in await admin.partition_lag(names)] == [1, 0]

    rotate(folder, "wrong")
    await until(lambda: config.keys[1] == "wrong")
    held = asyncio.create_task(send_fifo(producer, topic, "g", {}, b"not lost"))
    await until(lambda: "UNAUTHORIZED" in producer.unready_reason)
    assert not held.done()
    rotate(folder, SECRET_KEY)
    await held
    await admin.close()


async def test_authorities_change_without_a_restart(
    kit: Any, rocketmq: LocalRocketMQ, names: Names, access: AdminAccess, tmp_path: Path
) -> None:
    other, ca = tmp_path / "other", tmp_path / "ca.pem"
    other.mkdir()
    ca.write_bytes(make_certificate(other)[1].read_bytes())
    producer = Producer(kit.config("producer", **{**inside(access), "ca_file": str(ca)}), names.partition_topics)
    kit.closed_later(producer)
    await producer.start()
    admin = Admin(rocketmq.name_server, access=AdminAccess(True, str(ca), **SIGNED))
    await until(lambda: "endpoints: cannot reach proxy" in producer.unready_reason)
    with pytest.raises(BrokerError, match=r"admin_tls: the certificate of .* does not match ca_file"):
        await admin.cluster.masters()
    ca.write_bytes(Path(access.ca_file).read_bytes())
    await producer.wait_ready(30)
    assert await admin.cluster.masters()
    await admin.close()


# The programs


async def test_a_conversation(
    rocketmq: LocalRocketMQ, names: Names, broker_section: dict[str, Any], tmp_path: Path
) -> None:
    """Gateway and worker by their settings files."""
    stack = LocalStack(
        tmp_path / "stack",
        rocketmq.endpoints,
        rocketmq.name_server,
        names=names,
        worker_names=("worker-0",),
        broker=broker_section,
    )
    try:
        await stack.start(gateways=1)
        async with VoiceClient(stack.gateways[0].url, stack.api_key) as call:
            answer = await call.ask(await speak("what is the capital of France"))
            assert "paris" in answer.text.lower()
        for member in (*stack.gateways, *stack.workers):
            log = member.log.read_text()
            assert "not reset" not in log, "the worker's admin calls"
            assert SECRET_KEY not in log
    finally:
        stack.kill()


def test_the_operator(
    operator_server: ApiServer,
    rocketmq: LocalRocketMQ,
    access: AdminAccess,
    broker_section: dict[str, Any],
    tmp_path: Path,
) -> None:
    """It says what is wrong with its credentials, works with good ones once they are there, and gives them to nobody
    else."""
    environment = {
        "ROCKETMQ_ADMIN_TLS": "true",
        "ROCKETMQ_CA_FILE": access.ca_file,
        "ROCKETMQ_CREDENTIALS_DIR": broker_section["credentialsDir"],
    }
    secret_key = Path(broker_section["credentialsDir"]) / "secretKey"
    secret_key.write_text("wrong")
    operator = OperatorProcess(operator_server, rocketmq, tmp_path / "operator", **environment)
    namespace = Namespace.new(operator_server)
    path = f"{namespace.gateways}/demo"
    try:
        operator.start()
        operator_server.create(namespace.gateways, voice_gateway("demo", rocketmq={"partitions": 1}))
        condition = namespace.wait_condition(path, "Ready", "False", "BrokerRefused")
        assert "rejects the credentials of litevoice" in condition["message"]
        assert "rocketmq.credentialsSecret" in condition["message"]
        secret_key.write_text(SECRET_KEY)  # without a restart
        namespace.wait_condition(path, "Ready", "False", "GatewaysNotReady")
        settings = json.loads((namespace.get("v1", "configmaps", "demo-gateway") or {})["data"]["settings.json"])
        assert settings["broker"]["adminTls"] is True, "as the operator was installed"

        foreign = f"127.0.0.1:{rocketmq.name_server_part.port};{rocketmq.name_server}"
        spec = {"partitions": 1, "endpoints": rocketmq.endpoints, "nameServer": foreign}
        operator_server.create(namespace.gateways, voice_gateway("foreign", rocketmq=spec))
        condition = namespace.wait_condition(f"{namespace.gateways}/foreign", "Ready", "False", "BrokerRefused")
        assert "requires signed requests" in condition["message"]

        operator_server.request("DELETE", path)
        wait_until(lambda: operator_server.get(path) is None, "the VoiceGateway to be gone")
        assert SECRET_KEY not in operator.log.read_text()
    finally:
        operator.kill()


# The broker's own settings


async def test_an_idle_broker_flushes_its_unused_timer_wheel_seldom(
    shared_rocketmq: SharedRocketMQ, rocketmq: LocalRocketMQ
) -> None:
    """Each flush writes this file, too. The guarded broker has RocketMQ's default, the other one our setting."""

    def flushed(folder: Path | str) -> int:
        return (Path(folder) / "store" / rocketmq.broker.name / "config" / "timercheck").stat().st_mtime_ns

    started = time.monotonic()
    by_default, by_us = {flushed(rocketmq.folder)}, {flushed(shared_rocketmq.folder)}
    async with asyncio.timeout(120):
        while len(by_default) <= 5:
            await asyncio.sleep(0.1)
            by_default.add(flushed(rocketmq.folder))
            by_us.add(flushed(shared_rocketmq.folder))
    allowed = 1 + (time.monotonic() - started) / 60
    assert len(by_us) - 1 <= allowed


def _length(info: LiteTopicInfo | None) -> int:
    return info.max_offset if info is not None else 0


async def test_an_expired_session_is_gone_and_told_apart(
    rocketmq: LocalRocketMQ,
    access: AdminAccess,
    admin: Admin,
    mortal: Mortal,
    broker_section: dict[str, Any],
    tmp_path: Path,
) -> None:
    """Also the longest expiry that a VoiceGateway may ask for: of one minute more, 5.5.0 computes a past time. A
    session that lives in silence is kept alive by its gateway; one that nobody keeps alive is told to be over."""
    alive = new_session_id(mortal.signing_key.encode(), "alice", 1)
    failed: list[str] = []
    parent, group = mortal.soon.reply_topic, mortal.soon.gateway_group
    gateways = Gateways(tmp_path, rocketmq.endpoints, rocketmq.name_server, mortal.soon, broker_section)
    (tmp_path / "keys" / "session-signing-key").write_text(mortal.signing_key)
    async with producer(rocketmq, access, mortal) as down:
        gateway = await gateways.start(restoreTimeoutSeconds=5, keepAliveSeconds=20)
        left = new_session_id(mortal.signing_key.encode(), "alice", 1)
        owner = LiteChannel(
            BrokerConfig(rocketmq.endpoints, ClientId.new("test", HOST, "owner"), **inside(access)),
            parent,
            group,
            on_delivery=lambda delivery: None,
            on_evicted=lambda name: None,
            on_failed=failed.append,
            admin=admin,
            expires_seconds=30.0,
        )
        try:
            await owner.start()
            await owner.wait_ready(60)
            await owner.subscribe([left])
            quiet_socket = await gateway.connect()
            quiet = await opened(quiet_socket)
            for session in (left, quiet):
                await say(down, mortal, session, 0, 1)
            assert delta_numbers([await receive(quiet_socket), await receive(quiet_socket)]) == [0, 1]
            await until(lambda: owner.position(left) == 2)
            silent_since = time.monotonic()
            numbers = 0
            async with asyncio.timeout(200):
                while (
                    time.monotonic() - silent_since < EXPIRED_SECONDS
                    or await admin.lite_topic(parent, mortal.session, group) is not None
                    or _length(await admin.lite_topic(parent, left, group))
                ):
                    await say(down, mortal, alive, numbers)
                    numbers += 1
                    await asyncio.sleep(1)
            for session in (left, quiet):
                await say(down, mortal, session, 2)
            said = time.monotonic()
            assert delta_numbers([await receive(quiet_socket)]) == [2]
            print(f"after {said - silent_since:.0f} s of silence heard in {time.monotonic() - said:.3f} s")
            await until(lambda: failed == [left])
            assert owner.position(left) is None
            await quiet_socket.close()
            async with gateway.connect(query=f"session_id={mortal.session}&last_event_id=evt_1_x") as socket:
                await expect_error(socket, "session_expired")
                assert await close_code(socket) == 1008
            await say(down, mortal, alive, numbers, numbers + 1)
            last = f"evt_{numbers - 1}_x"
            async with gateway.connect(query=f"session_id={alive}&last_event_id={last}") as socket:
                assert await opened(socket) == alive
                assert delta_numbers([await receive(socket), await receive(socket)]) == [numbers, numbers + 1]
        finally:
            await owner.close()
            gateways.stop()
    overflows = version() == "5.5.0"
    assert (await admin.lite_topic(mortal.too_long, mortal.session, group) is None) == overflows
    assert await admin.lite_topic(mortal.longest, mortal.session, group) is not None
