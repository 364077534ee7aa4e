"""`litevoice-gateway sessions`, as an SRE runs it inside the pod."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from tests.integration.gateway.process import Gateways


async def listing(config: Path, *arguments: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "litevoice_gateway", "--config", str(config), "sessions", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode()


async def test_sessions_are_listed_with_their_clients(gateways: Gateways, tmp_path: Path) -> None:
    gateway = await gateways.start()
    config = tmp_path / "gateway-0.json"
    assert await listing(config) == (0, await headings(config))
    async with gateway.connect() as socket:
        created = json.loads(await socket.recv())
        host, port = socket.local_address[:2]
        session_id = created["session"]["id"]
        code, text = await listing(config)
        assert code == 0
        assert session_id in text.splitlines()[1]
        assert f"{host}:{port}" in text
        assert "alice" in text
        assert session_id in (await listing(config, session_id))[1]
        assert session_id not in (await listing(config, "s_unknown"))[1]


async def headings(config: Path) -> str:
    code, text = await listing(config, "s_unknown")
    assert code == 0
    assert text.startswith("SESSION")
    return text


async def test_no_gateway_is_said_plainly(gateways: Gateways, tmp_path: Path) -> None:
    gateway = await gateways.start()
    gateway.kill()
    code, text = await listing(tmp_path / "gateway-0.json")
    assert code == 1
    assert f"no gateway answers on port {gateway.admin_port}" in text
