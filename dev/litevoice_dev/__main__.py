"""`make dev`: RocketMQ, two gateways and two workers on this machine, for people who write agents.

python -m litevoice_dev up       start everything, say how to talk to it, stay until Ctrl-C
python -m litevoice_dev down     stop what `up` started
python -m litevoice_dev talk     hold a short spoken conversation with it
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path

from litevoice_dev.rocketmq import DEV_PORTS, LocalRocketMQ
from litevoice_dev.rocketmq_jars import say
from litevoice_dev.speech import speak, write_wav
from litevoice_dev.stack import LocalStack
from litevoice_dev.voice_client import VoiceClient

GATEWAY_PORTS = (8080, 8083)
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


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("up", "down", "talk"))
    parser.add_argument("--folder", type=Path, default=default_folder(), help="where data, settings and logs go")
    chosen = parser.parse_args(arguments)
    chosen.folder.mkdir(parents=True, exist_ok=True)
    if chosen.command == "down":
        down(chosen.folder)
    else:
        asyncio.run(up(chosen.folder) if chosen.command == "up" else talk(chosen.folder))


if __name__ == "__main__":
    main()
