"""examples/ask.py, which the README shows: asks by voice, and comes back when its gateway is killed."""

from __future__ import annotations

import asyncio
import os
import sys
import wave
from pathlib import Path

from litevoice_dev.speech import RATE, speak, write_wav
from litevoice_dev.stack import LocalStack

SCRIPT = Path(__file__).resolve().parents[2] / "examples" / "ask.py"
QUESTION = "please count to ten"
ANSWER = "One, two, three, four, five, six, seven, eight, nine, ten."


async def test_the_example_says_why_it_is_refused(stack: LocalStack, tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(SCRIPT), "--url", stack.gateways[0].url, "--key", "wrong", "hello"),
        cwd=tmp_path,
        stderr=asyncio.subprocess.PIPE,
    )
    _, complaints = await process.communicate()
    assert process.returncode == 1
    assert complaints.decode().startswith("refused: 401 {")


async def test_the_example_asks_by_voice_and_survives_its_gateway(stack: LocalStack, tmp_path: Path) -> None:
    write_wav(tmp_path / "question.wav", await speak(QUESTION))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(SCRIPT), "--url", stack.gateways[0].url, "--wav", "question.wav"),
        env={**os.environ, "LITEVOICE_API_KEY": stack.api_key},
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(90):
            understood = await process.stdout.readline()
            gateway = stack.gateways[0]
            gateway.kill()
            await stack.replace_gateway(gateway).wait_ready()
            rest, complaints = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, complaints.decode()
    assert understood.decode() == f"you said: {QUESTION}\n"
    assert "coming back to s2_" in complaints.decode()
    assert ANSWER in rest.decode()
    with wave.open(str(tmp_path / "answer.wav")) as answer:
        assert answer.getnframes() / RATE > 3
