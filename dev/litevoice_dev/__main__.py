"""RocketMQ, two gateways and two workers on this machine: for a first look, and for people who write agents."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml
from pydantic import ValidationError

from litevoice_broker.errors import BrokerError
from litevoice_contracts.errors import InvalidField, problems
from litevoice_contracts.settings import PipelineSettings, WorkerPipelines
from litevoice_dev import progress, tls, try_it
from litevoice_dev.chaos import command as chaos
from litevoice_dev.clients import command as clients
from litevoice_dev.rocketmq import DEV_PORTS, LocalRocketMQ
from litevoice_dev.rocketmq_jars import say
from litevoice_dev.stack import LocalStack
from litevoice_dev.walk import run as walk
from litevoice_worker.apart import apart
from litevoice_worker.apart.watch import Deaths
from litevoice_worker.plugins import make_pipelines

GATEWAY_PORTS = (8080, 8083)
KILLS = """Kills gateways (kill -9) while callers speak, and checks by what the recognizer was given that nothing is
missing, doubled or out of order. Takes about four seconds a kill. Exit code 0: nothing is."""
QUESTIONS = ("what is the capital of France", "how many days are in a week", "what did I ask first")


def default_folder() -> Path:
    base = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    return Path(os.environ.get("LITEVOICE_CACHE") or base / "litevoice") / "dev"


def own_pipelines(path: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings of gateways and workers for the `spec.pipelines` in a file, YAML or JSON; {} for ""."""
    if not path:
        return {}, {}
    try:
        found = WorkerPipelines.model_validate({"pipelines": yaml.safe_load(Path(path).read_text())})
    except (OSError, yaml.YAMLError) as error:
        raise SystemExit(f"LITEVOICE_PIPELINES: expected a YAML or JSON file: {error}") from error
    except ValidationError as error:
        lines = "\n".join(f"  {field}: {message}" for field, message in problems(error, "file"))
        raise SystemExit(f"LITEVOICE_PIPELINES: {path}:\n{lines}") from error
    names = [pipeline.name for pipeline in found.pipelines]
    semantic = [pipeline.name for pipeline in found.pipelines if pipeline.turn_detector]
    voices = {pipeline.name: sorted(pipeline.voices) for pipeline in found.pipelines if pipeline.voices is not None}
    return {"models": names, "semantic_models": semantic, "voices": voices}, {"pipelines": found.pipelines}


async def try_plugins(path: str, pipelines: Sequence[PipelineSettings]) -> None:
    """Starts what the file names, as each worker will, before RocketMQ is started for it, which takes half a minute."""
    try:
        made = await make_pipelines(pipelines, apart("warning", Deaths()))
    except InvalidField as error:
        raise SystemExit(f"LITEVOICE_PIPELINES: {path}:\n  {error}") from error
    await made.close()


async def up(folder: Path) -> None:
    path = os.environ.get("LITEVOICE_PIPELINES", "")
    gateway, worker = own_pipelines(path)
    pid_file = folder / "pid"
    if running(pid_file):
        raise SystemExit(f"it runs already (process {pid_file.read_text()}); `make dev-down` stops it")
    if worker:
        await try_plugins(path, worker["pipelines"])
    pid_file.write_text(str(os.getpid()))
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    rocketmq = LocalRocketMQ(folder / "rocketmq", ports=DEV_PORTS)
    stack: LocalStack | None = None
    model = gateway["models"][0] if gateway else "litevoice"
    try:
        await asyncio.to_thread(rocketmq.start)
        stack = LocalStack(
            folder / "stack",
            rocketmq.endpoints,
            rocketmq.name_server,
            gateway=gateway,
            worker=worker,
            gateway_ports=GATEWAY_PORTS,
            progress=say,
        )
        await stack.start(gateways=len(GATEWAY_PORTS))
        (folder / "stack.json").write_text(
            json.dumps({"urls": [g.url for g in stack.gateways], "api_key": stack.api_key, "model": model})
        )
        (folder / "stack.json").chmod(0o600)
        print(
            f"""
litevoice is up.
  gateways   {"  ".join(g.url + "/realtime" for g in stack.gateways)}
  API key    {stack.api_key}
  client     AsyncOpenAI(api_key=…, websocket_base_url="{stack.gateways[0].url}").realtime.connect(model="{model}")
  talk       .venv/bin/python -m litevoice_dev talk
  sessions   curl -H "Authorization: Bearer {stack.admin_token}" {stack.gateways[0].admin_url}/v1/sessions
  metrics    curl {stack.gateways[0].admin_url}/metrics
  logs       {stack.folder}/*.log
Ctrl-C stops it.""",
            flush=True,
        )
        await stop.wait()
        say("stopping")
    finally:
        if stack is not None:
            await asyncio.to_thread(stack.stop)
        await asyncio.to_thread(rocketmq.stop)
        pid_file.unlink(missing_ok=True)


def running(pid_file: Path) -> bool:
    """Whether the process in the file lives and is ours."""
    with contextlib.suppress(OSError, ValueError):
        command = Path(f"/proc/{int(pid_file.read_text())}/cmdline").read_bytes()
        return b"litevoice_dev" in command
    return False


def down(folder: Path) -> None:
    pid_file = folder / "pid"
    if not running(pid_file):
        say("nothing runs")
        return
    pid = int(pid_file.read_text())
    os.kill(pid, signal.SIGTERM)
    say(f"stopping process {pid}")
    while Path(f"/proc/{pid}").exists():
        time.sleep(0.1)


def started(folder: Path) -> dict[str, Any]:
    """What `up` has written of what it started."""
    try:
        stack: dict[str, Any] = json.loads((folder / "stack.json").read_text())
    except FileNotFoundError:
        raise SystemExit("nothing runs; start it with `make dev`") from None
    return stack


async def front(folder: Path) -> None:
    url = urlsplit(started(folder)["urls"][0])
    certificate = tls.certificate(folder / "tls")
    server = await tls.serve(certificate, tls.PORT, (str(url.hostname), int(url.port or 80)))
    print(f"wss://localhost:{tls.PORT}{url.path}/realtime; certificate: {certificate}\nCtrl-C stops it.", flush=True)
    await server.serve_forever()


async def talk(folder: Path, questions: Sequence[str]) -> int:
    """The exit code: 1 when an answer failed."""
    from litevoice_dev.speech import speak, write_wav
    from litevoice_dev.voice_client import VoiceClient

    stack, good = started(folder), True
    async with VoiceClient(stack["urls"][0], stack["api_key"], model=stack["model"]) as call:
        say(f"session {call.session_id}")
        for number, question in enumerate(questions, start=1):
            answer = await call.ask(await speak(question))
            path = folder / f"answer-{number}.wav"
            write_wav(path, bytes(answer.audio))
            print(f"  asked     {question}\n  heard     {answer.question}\n  answered  {answer.text}")
            if answer.status != "completed":
                good = False
                print(f"  {answer.status}    {answer.reason}; the workers' logs say more: {folder}/stack/worker-*.log")
            if answer.audio:
                print(f"  first audio after {answer.latency_seconds * 1000:.0f} ms; {path}")
            print()
    return 0 if good else 1


async def attempt(folder: Path, broker: try_it.RunningBroker | None) -> int:
    """`try`; the exit code."""
    work = asyncio.current_task()
    assert work is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, work.cancel)
    pid_file, own = folder / "try.pid", folder / "try"
    if running(pid_file):
        raise SystemExit(f"it runs already (process {pid_file.read_text()})")
    pid_file.write_text(str(os.getpid()))
    try:
        good = await try_it.try_it(own, broker)
    except (BrokerError, LookupError, RuntimeError, TimeoutError) as error:
        progress.say(f"stopped: {str(error) or type(error).__name__}")
        good = False
    finally:
        pid_file.unlink(missing_ok=True)
    progress.say("every check held, nothing is left running" if good else f"something is wrong, see above; logs: {own}")
    return 0 if good else 1


async def kill(chosen: argparse.Namespace) -> bool:
    from litevoice_dev import kills

    return await kills.run(
        chosen.folder / "kills",
        kills=chosen.kills,
        sessions=chosen.sessions,
        seed=chosen.seed,
        acknowledged=not chosen.unacknowledged,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m litevoice_dev", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, text, description in (
        ("try", "see the idea in one minute: a call survives kill -9 of its gateway", try_it.__doc__),
        ("up", "start everything, say how to talk to it, stay until Ctrl-C", None),
        ("down", "stop what `up` started", None),
        ("talk", "hold a short spoken conversation with it", None),
        ("tls", "TLS in front of it, for clients that insist on wss:", tls.__doc__),
        ("chaos", "calls while everything fails, checked packet by packet", chaos.__doc__),
        ("walk", "plant faults, and ask `litevoice` for session, pod, node, client and cause", walk.__doc__),
        ("clients", "a conversation with each of six unchanged client libraries", clients.__doc__),
        ("kills", "kill gateways while callers speak, and check that nothing they said is lost or doubled", KILLS),
    ):
        command = commands.add_parser(
            name, help=text, description=description or text, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        command.add_argument(
            "--folder", type=Path, default=default_folder(), help="for data, settings and logs (default: %(default)s)"
        )
        if name == "kills":
            command.add_argument("--kills", type=int, default=20, help="how often (default: %(default)s)")
            command.add_argument("--sessions", type=int, default=10, help="callers (default: %(default)s)")
            command.add_argument("--seed", type=int, default=1, help="decides the moments (default: %(default)s)")
            command.add_argument(
                "--unacknowledged", action="store_true", help="without acknowledgements, to see what is lost then"
            )
        if name == "try":
            command.add_argument("--endpoints", help="proxies of a RocketMQ that runs already: host:port[;host:port…]")
            command.add_argument("--name-server", help="its name servers, likewise")
        if name == "talk":
            command.add_argument("questions", nargs="*", default=QUESTIONS, help="what to ask (default: %(default)s)")
        if name == "chaos":
            chaos.add_arguments(command)
        if name == "walk":
            walk.add_arguments(command)
        if name == "clients":
            clients.add_arguments(command)
    chosen = parser.parse_args(arguments)
    broker = None
    if chosen.command == "try" and (chosen.endpoints or chosen.name_server):
        if not (chosen.endpoints and chosen.name_server):
            parser.error("try: --endpoints and --name-server belong together")
        broker = try_it.RunningBroker(chosen.endpoints, chosen.name_server)
    chosen.folder.mkdir(parents=True, exist_ok=True)
    if chosen.command == "down":
        down(chosen.folder)
        return 0
    if chosen.command == "chaos":
        return chaos.chaos(chosen)
    if chosen.command == "walk":
        return walk.walk(chosen)
    if chosen.command == "clients":
        return clients.clients(chosen)
    if chosen.command == "kills":
        return 0 if asyncio.run(kill(chosen)) else 1
    if chosen.command == "try":
        try:
            return asyncio.run(attempt(chosen.folder, broker))
        except (KeyboardInterrupt, asyncio.CancelledError) as stopped:
            progress.say("stopped; nothing is left running")
            return 128 + (signal.SIGINT if isinstance(stopped, KeyboardInterrupt) else signal.SIGTERM)
    if chosen.command == "tls":
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(front(chosen.folder))
        return 0
    try:
        if chosen.command == "talk":
            return asyncio.run(talk(chosen.folder, chosen.questions))
        asyncio.run(up(chosen.folder))
    except (BrokerError, RuntimeError, TimeoutError) as error:
        say(f"stopped: {str(error) or type(error).__name__}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
