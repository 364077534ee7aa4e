"""Gateways and workers as plain processes beside a RocketMQ: what `make dev` and the integration tests run."""

from __future__ import annotations

import asyncio
import secrets
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from litevoice_broker.admin import Admin
from litevoice_contracts.control import METRICS_PATH, READY_PATH, SESSIONS_PATH, STATUS_PATH
from litevoice_contracts.names import Names
from litevoice_contracts.settings import BrokerSettings, GatewaySettings, MembersSettings, WorkerSettings
from litevoice_dev import processes
from litevoice_dev.ports import free_port
from litevoice_dev.rocketmq_jars import say

HOST = "127.0.0.1"
READY_TIMEOUT_SECONDS = 60.0


def sample(text: str, name: str, **labels: str) -> float:
    """The value with exactly these labels in a Prometheus text exposition, 0 when it has none."""
    samples = (one for family in text_string_to_metric_families(text) for one in family.samples)
    return next((one.value for one in samples if (one.name, one.labels) == (name, labels)), 0.0)


@dataclass
class Member:
    """One gateway or worker process; `name` is its pod name."""

    name: str
    process: subprocess.Popen[bytes]
    admin_url: str
    log: Path
    admin_token: str
    url: str = ""
    """WebSocket base for clients, ``ws://host:port/v1``; "" for a worker."""

    def kill(self) -> None:
        """kill -9."""
        processes.kill(self.process)

    def terminate(self) -> None:
        """SIGTERM, as a kubelet sends it; returns at once."""
        self.process.send_signal(signal.SIGTERM)

    def freeze(self) -> None:
        """SIGSTOP: it hangs, its connections stay open. `thaw` ends it."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    async def wait_gone(self, timeout_seconds: float = 60) -> int:
        """Exit code of a terminated process. Raises TimeoutError."""
        async with asyncio.timeout(timeout_seconds):
            return await asyncio.to_thread(self.process.wait)

    async def wait_ready(self, timeout_seconds: float = READY_TIMEOUT_SECONDS) -> None:
        """Raises RuntimeError with the end of the log when the process dies or is not ready in time."""
        reason = "no answer"
        async with httpx.AsyncClient(timeout=2.0) as http:
            for _ in range(int(timeout_seconds / 0.1)):
                if self.process.poll() is not None:
                    raise RuntimeError(f"{self.name} ended at start:\n{processes.last_lines(self.log)}")
                try:
                    answer = await http.get(self.admin_url + READY_PATH)
                    if answer.status_code == 200:
                        return
                    reason = answer.text.strip()
                except httpx.HTTPError as error:
                    reason = str(error) or type(error).__name__
                await asyncio.sleep(0.1)
        raise RuntimeError(f"{self.name} is not ready: {reason}\n{processes.last_lines(self.log)}")

    async def ask(self, path: str) -> Any:
        """GET of the admin API; the decoded JSON. Raises httpx.HTTPStatusError."""
        async with httpx.AsyncClient(timeout=5.0, headers={"Authorization": f"Bearer {self.admin_token}"}) as http:
            answer = await http.get(self.admin_url + path)
        answer.raise_for_status()
        return answer.json()

    async def status(self) -> Any:
        return await self.ask(STATUS_PATH)

    async def wait_status(self, condition: Callable[[Any], bool]) -> Any:
        """The first status that fits. Raises RuntimeError with the last one when none does in time."""
        last: Any = "no answer"
        for _ in range(int(READY_TIMEOUT_SECONDS / 0.1)):
            try:
                last = await self.status()
                if condition(last):
                    return last
            except httpx.HTTPError as error:
                last = error
            await asyncio.sleep(0.1)
        raise RuntimeError(f"{self.name}: status never fitted, the last was {last}")

    async def metric(self, name: str, **labels: str) -> float:
        """See `sample`."""
        async with httpx.AsyncClient(timeout=5.0) as http:
            return sample((await http.get(self.admin_url + METRICS_PATH)).text, name, **labels)

    async def holds(self, session_id: str) -> bool:
        """Whether this gateway owns the session."""
        try:
            await self.ask(f"{SESSIONS_PATH}/{session_id}")
        except httpx.HTTPError:
            return False
        return True


@dataclass
class LocalStack:
    """Gateways and workers that share one VoiceGateway's names.

    Attributes:
        folder: settings, keys and logs.
        gateway, worker, broker: settings merged over the defaults (camelCase keys, as in the files).
        admin_token: of gateways; made when it is "".
        admin_hosts: name of a member → address of its admin port, which then is admin_port, as pods have it.
        ways: name of a member → endpoints that it alone reaches the proxies by; a replaced gateway keeps the old one's.
        clocks_ahead: name of a member → by how many seconds its clock is wrong, from its next start on.
    """

    folder: Path
    endpoints: str
    name_server: str
    names: Names = field(default_factory=lambda: Names("dev-requests", "dev-replies", 4))
    gateway: Mapping[str, Any] = field(default_factory=dict)
    worker: Mapping[str, Any] = field(default_factory=dict)
    broker: Mapping[str, Any] = field(default_factory=dict)
    worker_names: tuple[str, ...] = ("worker-0", "worker-1")
    gateway_ports: tuple[int, ...] = ()
    ways: Mapping[str, str] = field(default_factory=dict)
    clocks_ahead: Mapping[str, float] = field(default_factory=dict)
    admin_token: str = ""
    admin_hosts: Mapping[str, str] = field(default_factory=dict)
    admin_port: int = 0
    progress: Callable[[str], None] = say

    def __post_init__(self) -> None:
        self.folder = self.folder.resolve()
        self.api_key = secrets.token_urlsafe(24)
        self.admin_token = self.admin_token or secrets.token_urlsafe(24)
        self.gateways: list[Member] = []
        self.workers: list[Member] = []
        self._replaced = 0
        self._partitions_made: int | None = None
        for name, content in {
            "api-keys/developer": self.api_key,
            "keys/session-signing-key": secrets.token_hex(32),
            "keys/admin-token": self.admin_token,
        }.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
            path.chmod(0o600)

    @property
    def broker_settings(self) -> BrokerSettings:
        return BrokerSettings.model_validate(
            {
                "endpoints": self.endpoints,
                "nameServer": self.name_server,
                "requestTopic": self.names.request_topic,
                "replyTopic": self.names.reply_topic,
                "partitions": self.names.partitions,
                "brokers": self.names.brokers,
                **self.broker,
            }
        )

    async def ensure_names(self) -> None:
        """Topics and groups at the broker; `names` may have more partitions than the last time."""
        admin = Admin.from_settings(self.broker_settings)
        try:
            await admin.ensure_names(self.names, expiration_minutes=30, known_partitions=self._partitions_made)
            self._partitions_made = self.names.partitions
        finally:
            await admin.close()

    async def start(self, gateways: int = 2) -> None:
        """Topics, all workers and `gateways` gateways; returns when all are ready."""
        await self.ensure_names()
        self.launch(gateways)
        await self.wait_ready()

    def launch(self, gateways: int = 2) -> None:
        """All workers and `gateways` gateways; they wait for the broker, when it is not there yet."""
        self.progress(f"starting {len(self.worker_names)} workers and {gateways} gateways")
        for name in self.worker_names:
            self.start_worker(name)
        for _ in range(gateways):
            self.start_gateway()

    async def wait_ready(self) -> None:
        await asyncio.gather(*(member.wait_ready() for member in (*self.workers, *self.gateways)))

    def start_gateway(self) -> Member:
        """One more gateway; not ready yet."""
        index = len(self.gateways)
        port = self.gateway_ports[index] if index < len(self.gateway_ports) else free_port()
        self.gateways.append(self._gateway(f"gateway-{index}", port))
        return self.gateways[-1]

    def start_worker(self, name: str) -> Member:
        """The worker of that name (one of `worker_names`); not ready yet."""
        self.workers.append(self._worker(name))
        return self.workers[-1]

    def replace_gateway(self, gone: Member) -> Member:
        """Another gateway (a new pod name) where clients found `gone`, as behind a Service; not ready yet."""
        index = self.gateways.index(gone)
        port = int(gone.url.split(":")[2].split("/")[0])
        self._replaced += 1
        self.gateways[index] = self._gateway(f"gateway-{index}-next-{self._replaced}", port)
        return self.gateways[index]

    def replace_worker(self, gone: Member) -> Member:
        """The worker of the same name, anew; not ready yet."""
        index = self.workers.index(gone)
        self.workers[index] = self._worker(gone.name)
        return self.workers[index]

    async def owner(self, session_id: str) -> Member:
        """The gateway that holds the session. Raises LookupError."""
        for member in self.gateways:
            if member.process.poll() is None and await member.holds(session_id):
                return member
        raise LookupError(f"no gateway holds {session_id}")

    def stop(self) -> None:
        """Orderly: the gateways, then the workers, those of a kind at once."""
        for members in (self.gateways, self.workers):
            for member in members:
                if member.process.poll() is None:
                    member.terminate()
            for member in members:
                processes.stop(member.process)

    def kill(self) -> None:
        for member in (*self.gateways, *self.workers):
            processes.kill(member.process)

    def _broker_settings_of(self, name: str) -> BrokerSettings:
        way = next((way for member, way in self.ways.items() if f"{name}-".startswith(f"{member}-")), self.endpoints)
        return self.broker_settings.model_copy(update={"endpoints": way})

    def _admin(self, name: str) -> tuple[str, int]:
        host = self.admin_hosts.get(name)
        return (host, self.admin_port) if host else (HOST, free_port())

    def _gateway(self, name: str, port: int) -> Member:
        admin_host, admin_port = self._admin(name)
        settings = GatewaySettings.model_validate(
            {
                "broker": self._broker_settings_of(name),
                "listenHost": HOST,
                "listenPort": port,
                "adminHost": admin_host,
                "adminPort": admin_port,
                "apiKeysDir": str(self.folder / "api-keys"),
                "keysDir": str(self.folder / "keys"),
                **self.gateway,
            }
        )
        member = self._spawn(name, "litevoice_gateway", settings.model_dump_json(by_alias=True), admin_host, admin_port)
        member.url = f"ws://{HOST}:{port}/v1"
        return member

    def _worker(self, name: str) -> Member:
        admin_host, admin_port = self._admin(name)
        settings = WorkerSettings.model_validate(
            {
                "broker": self._broker_settings_of(name),
                "adminHost": admin_host,
                "adminPort": admin_port,
                "members": MembersSettings(static=list(self.worker_names)),
                **self.worker,
            }
        )
        return self._spawn(name, "litevoice_worker", settings.model_dump_json(by_alias=True), admin_host, admin_port)

    def _spawn(self, name: str, package: str, settings: str, admin_host: str, admin_port: int) -> Member:
        config, log = self.folder / f"{name}.json", self.folder / f"{name}.log"
        config.write_text(settings)
        admin_url = f"http://{admin_host}:{admin_port}"
        ahead = self.clocks_ahead.get(name)
        off = [] if ahead is None else ["litevoice_dev.off_clock", str(ahead)]
        process = processes.spawn(
            [sys.executable, "-m", *off, package],
            log=log,
            env={"LITEVOICE_CONFIG": str(config), "POD_NAME": name, "POD_IP": HOST},
            admin_url=admin_url,
            admin_token=self.admin_token,
        )
        return Member(name, process, admin_url, log, self.admin_token)
