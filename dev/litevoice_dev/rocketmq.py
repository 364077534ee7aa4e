"""A real RocketMQ on this machine: name server, brokers and proxies as child processes, for `make dev` and the tests.

Settings are the ones LiteTopic needs (see rocketmq_files/ and the documentation): RocksDB store, LMQ, proxy in cluster
mode. Everything listens on 127.0.0.1 and lives in one folder.

    python -m litevoice_dev.rocketmq version   print which version runs: ROCKETMQ, else the default
    python -m litevoice_dev.rocketmq jars      resolve the jars, print their folder
    python -m litevoice_dev.rocketmq run DIR   run until Ctrl-C, on the ports 9876, 10911 and 8081
"""

from __future__ import annotations

import argparse
import asyncio
import atexit
import contextlib
import json
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from litevoice_broker.admin import Admin
from litevoice_broker.config import AdminAccess
from litevoice_broker.errors import BrokerError
from litevoice_broker.remoting import RemotingClient
from litevoice_dev import class_archive, processes
from litevoice_dev.ports import HOST, free_port, listens
from litevoice_dev.rocketmq_jars import FILES, lib_folder, say, version

_Result = TypeVar("_Result")
START_TIMEOUT_SECONDS = 120.0
_PROXY_STARTS = 5
_UPDATE_BROKER_CONFIG = 25
_JAVA = [
    "java",
    "--add-exports=java.base/jdk.internal.ref=ALL-UNNAMED",
    "--add-exports=java.base/jdk.internal.misc=ALL-UNNAMED",
    "--add-opens=java.base/java.nio=ALL-UNNAMED",
    "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",  # starts faster and leaves the cores to the tests
    "-XX:-UsePerfData",
]


class StartError(RuntimeError):
    """A part that died before it was up; the message holds the end of its log."""


class Part:
    """One of the processes. `start`, `stop` and `kill` block until it is up or gone (call them in a thread)."""

    def __init__(
        self, owner: LocalRocketMQ, name: str, main: str, arguments: Sequence[str], memory: Sequence[str], port: int
    ) -> None:
        self.name = name
        self.port = port
        self.log = owner.folder / "logs" / f"{name}.log"
        self._owner = owner
        self._main = main
        self._arguments = arguments
        self._memory = memory
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Raises RuntimeError when it was never started."""
        if self._process is None:
            raise RuntimeError(f"RocketMQ {self.name} was never started")
        return self._process.pid

    def start(self) -> None:
        """Raises StartError when the process dies, RuntimeError when it does not listen in time."""
        if self.running:
            return
        home = self._owner.folder / "home" / self.name
        temporary = home / "tmp"
        shutil.rmtree(temporary, ignore_errors=True)  # a killed broker leaves its unpacked RocksDB library there
        temporary.mkdir(parents=True)
        command = [
            *_JAVA,
            *class_archive.options(self._owner.lib, self._main),
            *self._memory,
            f"-Duser.home={home}",
            f"-Djava.io.tmpdir={temporary}",
            "-Drocketmq.broker.diskSpaceWarningLevelRatio=0.97",
            *(f"-D{name}={value}" for name, value in self._owner.all_java_properties.items()),
            "-cp",
            f"{self._owner.lib}/*",
            self._main,
            *self._arguments,
        ]
        self._process = processes.spawn(command, log=self.log, env={"ROCKETMQ_HOME": str(self._owner.folder)})
        self.wait_until(lambda: listens(self.port), f"listens on port {self.port}")

    def make_archive(self) -> None:
        if self._process is not None:
            class_archive.make(self._owner.lib, self._main, self._process.pid)

    def stop(self) -> None:
        if self._process is not None:
            processes.stop(self._process)

    def kill(self) -> None:
        """kill -9."""
        if self._process is not None:
            processes.kill(self._process)

    def freeze(self) -> None:
        """SIGSTOP: the process hangs, its connections stay open. `thaw` ends it."""
        if self._process is not None:
            self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)

    def wait_until(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while not condition():
            if not self.running:
                raise StartError(f"RocketMQ {self.name} ended before it {what}:\n{processes.last_lines(self.log)}")
            if time.monotonic() > deadline:
                raise RuntimeError(
                    f"RocketMQ {self.name} never {what} ({START_TIMEOUT_SECONDS:.0f} s):\n"
                    f"{processes.last_lines(self.log)}"
                )
            time.sleep(0.1)


class Broker(Part):
    """Counts as started when the name server lists it: a proxy that starts earlier dies.

    RocketMQ 5.5.0 registers at its start only when its link to the name server is there within some milliseconds, and
    10 s later otherwise. The first start is told to register, by a setting that is sent again unchanged; restarts take
    what they take anywhere.
    """

    def start(self) -> None:
        first = self._process is None
        super().start()

        def registered() -> bool:
            if self.name in self._owner.registered_brokers():
                return True
            if first:
                outside_any_running_loop(self.register)
            return False

        self.wait_until(registered, "registered at the name server")

    async def register(self) -> None:
        """Tells it to register at the name server now; no error when it does not answer."""
        with contextlib.suppress(BrokerError):
            await self.change("brokerPermission", "6")

    async def change(self, setting: str, value: str) -> None:
        """A setting of the running broker. Raises BrokerError when it does not take it."""
        client = RemotingClient(self.address, access=self._owner.access, timeout_seconds=2.0)
        try:
            await client.call(_UPDATE_BROKER_CONFIG, body=f"{setting}={value}".encode())
        finally:
            await client.close()


class Proxy(Part):
    """Started again when it ends at its start, as Kubernetes would do it.

    RocketMQ gives the name server and the broker 3 s each for an answer about a topic of the proxy's own and ends
    without it: on a busy machine that is too short. A name server that hung may also have lost the brokers, for 30 s.
    """

    def start(self) -> None:
        for _ in range(_PROXY_STARTS - 1):
            try:
                return super().start()
            except StartError:
                self._owner.progress(f"RocketMQ {self.name} ended before it was up: starting it again")
                deadline = time.monotonic() + START_TIMEOUT_SECONDS
                while not self._owner.registered_brokers() and time.monotonic() < deadline:
                    time.sleep(0.5)
        return super().start()


@dataclass(frozen=True, slots=True)
class Ports:
    """0 takes a free port. The broker also uses the ports 2 below and 1 above its own."""

    name_server: int = 0
    broker: int = 0
    proxy: int = 0
    proxy_remoting: int = 0


DEV_PORTS = Ports(name_server=9876, broker=10911, proxy=8081, proxy_remoting=8082)


@dataclass
class LocalRocketMQ:
    """One RocketMQ cluster. Not thread-safe; every method blocks, so async tests call them through asyncio.to_thread.

    Attributes:
        folder: configuration, logs and store; kept over `stop` and `start` unless `fresh`.
        brokers: number of masters (`broker-a`, `broker-b` …); `ports` holds for the first one.
        broker_settings: added to every broker's configuration (broker.conf).
        proxy_settings: added to every proxy's configuration (rmq-proxy.json).
        tls_key, tls_certificate: PEM files; all parts then speak TLS and plain text on the same port.
        java_properties: system properties of all parts.
        access: how name server and brokers let us in, when they demand TLS or signatures.
    """

    folder: Path
    ports: Ports = Ports()
    brokers: int = 1
    fresh: bool = False
    broker_settings: Mapping[str, str] = field(default_factory=dict)
    proxy_settings: Mapping[str, Any] = field(default_factory=dict)
    tls_key: Path | None = None
    tls_certificate: Path | None = None
    java_properties: Mapping[str, str] = field(default_factory=dict)
    access: AdminAccess = field(default_factory=AdminAccess)
    progress: Callable[[str], None] = say

    def __post_init__(self) -> None:
        self.folder = self.folder.resolve()
        if self.fresh:
            shutil.rmtree(self.folder, ignore_errors=True)
        for name in ("conf", "logs", "home", "store"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        self.lib = lib_folder(self.progress)
        self.name_server_part = self._make_name_server()
        self.broker_parts = [self._make_broker(index) for index in range(self.brokers)]
        self.proxy_parts: list[Proxy] = []
        self.add_proxy(ports=(self.ports.proxy, self.ports.proxy_remoting))
        atexit.register(self.kill)

    @property
    def endpoints(self) -> str:
        """The proxies, ``host:port[;host:port…]``."""
        return ";".join(part.address for part in self.proxy_parts)

    @property
    def name_server(self) -> str:
        return self.name_server_part.address

    @property
    def all_java_properties(self) -> dict[str, str]:
        """`java_properties`, and the TLS server of name server and brokers when there is a certificate.

        Without one, each of their servers would make a key of its own at its start: seconds of CPU.
        """
        properties = {"tls.server.mode": "disabled"}
        if self.tls_key and self.tls_certificate:
            properties = {
                "tls.server.mode": "permissive",
                "tls.test.mode.enable": "false",
                "tls.server.keyPath": str(self.tls_key),
                "tls.server.certPath": str(self.tls_certificate),
            }
        return properties | dict(self.java_properties)

    @property
    def broker(self) -> Broker:
        return self.broker_parts[0]

    @property
    def proxy(self) -> Proxy:
        return self.proxy_parts[0]

    def start(self) -> None:
        """Brings up what is not running, in the order that RocketMQ needs; about 8 to 30 s."""
        started = time.monotonic()
        self.progress(f"starting RocketMQ {version()} (name server, broker, proxy)")
        parts = (self.name_server_part, *self.broker_parts, *self.proxy_parts)
        for part in parts:
            part.start()
        for part in parts:
            part.make_archive()
        self.progress(f"RocketMQ is up in {time.monotonic() - started:.1f} s: proxy {self.endpoints}")

    def stop(self) -> None:
        """Orderly, newest first; the store is kept. A proxy keeps nothing, and takes 14 s to end by itself."""
        for proxy in self.proxy_parts:
            proxy.kill()
        for part in (*reversed(self.broker_parts), self.name_server_part):
            part.stop()
        atexit.unregister(self.kill)

    def kill(self) -> None:
        for part in (*self.proxy_parts, *self.broker_parts, self.name_server_part):
            part.kill()

    def add_proxy(self, *, ports: tuple[int, int] = (0, 0), settings: Mapping[str, Any] | None = None) -> Proxy:
        """One more proxy in front of the same brokers; not started yet."""
        grpc_port, remoting_port = ports[0] or free_port(), ports[1] or free_port()
        name = f"proxy-{len(self.proxy_parts)}"
        configuration: dict[str, Any] = {
            "rocketMQClusterName": "DefaultCluster",
            "proxyName": name,
            "proxyMode": "cluster",
            "namesrvAddr": self.name_server,
            "localServeAddr": HOST,
            "grpcServerPort": grpc_port,
            "remotingListenPort": remoting_port,
            **json.loads((FILES / "rmq-proxy.json").read_text()),
        }
        if self.tls_key and self.tls_certificate:
            configuration |= {
                "tlsTestModeEnable": False,
                "tlsKeyPath": str(self.tls_key),
                "tlsCertPath": str(self.tls_certificate),
            }
        path = self.folder / "conf" / f"{name}.json"
        path.write_text(json.dumps(configuration | dict(self.proxy_settings) | dict(settings or {}), indent=1))
        part = Proxy(
            self,
            name,
            "org.apache.rocketmq.proxy.ProxyStartup",
            ["-pm", "cluster", "-n", self.name_server, "-pc", str(path)],
            ["-Xms128m", "-Xmx320m", "-XX:MaxDirectMemorySize=256m"],
            grpc_port,
        )
        self.proxy_parts.append(part)
        return part

    def registered_brokers(self) -> list[str]:
        """Names of the masters that the name server lists."""

        async def ask() -> list[str]:
            admin = Admin(self.name_server, access=self.access, timeout_seconds=2.0)
            try:
                return list(await admin.cluster.masters())
            except BrokerError:
                return []
            finally:
                await admin.close()

        return outside_any_running_loop(ask)

    def _make_name_server(self) -> Part:
        port = self.ports.name_server or free_port()
        path = self.folder / "conf" / "namesrv.conf"
        path.write_text(
            f"listenPort={port}\nbindAddress={HOST}\nkvConfigPath={self.folder}/store/namesrv-kv.json\n"
            f"configStorePath={self.folder}/store/namesrv.properties\n"
        )
        return Part(
            self,
            "name-server",
            "org.apache.rocketmq.namesrv.NamesrvStartup",
            ["-c", str(path)],
            ["-Xms64m", "-Xmx96m"],
            port,
        )

    def _make_broker(self, index: int) -> Broker:
        port = (self.ports.broker if index == 0 else 0) or free_port(also=(-2, 1))
        name = f"broker-{chr(ord('a') + index)}"
        store = self.folder / "store" / name
        path = self.folder / "conf" / f"{name}.conf"
        path.write_text(
            (FILES / "broker.conf").read_text()
            + f"brokerName={name}\nbrokerId=0\nnamesrvAddr={self.name_server}\nbrokerIP1={HOST}\nlistenPort={port}\n"
            + f"storePathRootDir={store}\nstorePathCommitLog={store}/commitlog\n"
            + "".join(f"{key}={value}\n" for key, value in self.broker_settings.items())
        )
        return Broker(
            self,
            name,
            "org.apache.rocketmq.broker.BrokerStartup",
            ["-n", self.name_server, "-c", str(path)],
            ["-Xms256m", "-Xmx448m", "-XX:MaxDirectMemorySize=384m"],
            port,
        )


def outside_any_running_loop(work: Callable[[], Coroutine[Any, Any, _Result]]) -> _Result:
    """What `work` returns; the caller may itself be called by a running event loop."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(lambda: asyncio.run(work())).result()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m litevoice_dev.rocketmq", description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("version", help="print which version runs: the one that ROCKETMQ names, else the default")
    commands.add_parser("jars", help="resolve the jars and print the folder that holds them")
    run = commands.add_parser("run", help="run in the foreground until Ctrl-C or SIGTERM")
    run.add_argument("folder", type=Path, help="configuration, logs and store; kept")
    run.add_argument("--free-ports", action="store_true", help="any free ports instead of 9876, 10911 and 8081")
    run.add_argument("--fresh", action="store_true", help="empty the folder first")
    options = parser.parse_args(arguments)
    try:
        wanted = version()
    except ValueError as error:
        parser.error(str(error))
    if options.command in ("version", "jars"):
        print(wanted if options.command == "version" else lib_folder())
        return 0
    cluster = LocalRocketMQ(options.folder, ports=Ports() if options.free_ports else DEV_PORTS, fresh=options.fresh)
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    try:
        cluster.start()
        print(json.dumps({"endpoints": cluster.endpoints, "name_server": cluster.name_server}), flush=True)
        ended.wait()
    finally:
        cluster.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
