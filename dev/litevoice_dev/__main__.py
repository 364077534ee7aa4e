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

from litevoice_broker.errors import BrokerError
from litevoice_dev import progress, try_it
from litevoice_dev.chaos import command as chaos
from litevoice_dev.rocketmq import DEV_PORTS, LocalRocketMQ
from litevoice_dev.rocketmq_jars import say
from litevoice_dev.stack import LocalStack

GATEWAY_PORTS = (8080, 8083)
KILLS = """Kills gateways (kill -9) while callers speak, and checks by what the recognizer was given that nothing is
missing, doubled or out of order. Takes about four seconds a kill. Exit code 0: nothing is."""
QUESTIONS = ("what is the capital of France", "how many days are in a week", "what did I ask first")


def default_folder() -> Path:
    base = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    return Path(os.environ.get("LITEVOICE_CACHE") or base / "litevoice") / "dev"


async def up(folder: Path) -> None:
    pid_file = folder / "pid"
    if running(pid_file):
        raise SystemExit(f"it runs already (process {pid_file.read_text()}); `make dev-down` stops it")
    pid_file.write_text(str(os.getpid()))
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    rocketmq = LocalRocketMQ(folder / "rocketmq", ports=DEV_PORTS)
    stack: LocalStack | None = None
    try:
        await asyncio.to_thread(rocketmq.start)
        stack = LocalStack(
            folder / "stack", rocketmq.endpoints, rocketmq.name_server, gateway_ports=GATEWAY_PORTS, progress=say
        )
        await stack.start(gateways=len(GATEWAY_PORTS))
        (folder / "stack.json").write_text(
            json.dumps({"urls": [g.url for g in stack.gateways], "api_key": stack.api_key})
        )
        (folder / "stack.json").chmod(0o600)
        print(
            f"""
litevoice is up.
  gateways   {"  ".join(g.url + "/realtime" for g in stack.gateways)}
  API key    {stack.api_key}
  client     AsyncOpenAI(api_key=…, websocket_base_url="{stack.gateways[0].url}").realtime.connect(model="litevoice")
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


async def talk(folder: Path) -> None:
    from litevoice_dev.speech import speak, write_wav
    from litevoice_dev.voice_client import VoiceClient

    try:
        stack = json.loads((folder / "stack.json").read_text())
    except FileNotFoundError:
        raise SystemExit("nothing runs; start it with `make dev`") from None
    async with VoiceClient(stack["urls"][0], stack["api_key"]) as call:
        say(f"session {call.session_id}")
        for number, question in enumerate(QUESTIONS, start=1):
            answer = await call.ask(await speak(question))
            path = folder / f"answer-{number}.wav"
            write_wav(path, bytes(answer.audio))
            print(f"  asked     {question}\n  heard     {answer.question}\n  answered  {answer.text}")
            print(f"  first audio after {answer.latency_seconds * 1000:.0f} ms; {path}\n")


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
        ("chaos", "calls while everything fails, checked packet by packet", chaos.__doc__),
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
        if name == "chaos":
            chaos.add_arguments(command)
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
    if chosen.command == "kills":
        return 0 if asyncio.run(kill(chosen)) else 1
    if chosen.command == "try":
        try:
            return asyncio.run(attempt(chosen.folder, broker))
        except (KeyboardInterrupt, asyncio.CancelledError) as stopped:
            progress.say("stopped; nothing is left running")
            return 128 + (signal.SIGINT if isinstance(stopped, KeyboardInterrupt) else signal.SIGTERM)
    asyncio.run(up(chosen.folder) if chosen.command == "up" else talk(chosen.folder))
    return 0


if __name__ == "__main__":
    sys.exit(main())
