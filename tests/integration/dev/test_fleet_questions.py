"""The watch of `make fleet` asks with bash alone: a real gateway answers it, and who does not is left out."""

from __future__ import annotations

from pathlib import Path

from litevoice_contracts.names import Names
from litevoice_dev.fleet.questions import Questions
from litevoice_dev.ports import HOST, free_port
from tests.integration.gateway.process import ADMIN, Gateways


async def test_a_gateway_is_asked_from_a_node(tmp_path: Path) -> None:
    nowhere = f"{HOST}:{free_port()}"  # it answers for itself also while its broker is away
    gateways = Gateways(tmp_path, nowhere, nowhere, Names("nowhere", "nowhere-replies", 1))
    gateway = await gateways.start(ready=False)
    questions = await Questions.begin((), ADMIN, gateway.admin_port)
    refused = await Questions.begin((), "another-token", gateway.admin_port)
    try:
        await gateway.wait_status(lambda _: True)
        for _ in range(2):
            answers = await questions.ask({"there": HOST, "nobody": "127.9.9.9"})
            assert list(answers) == ["there"]
            assert (answers["there"].ready, answers["there"].sessions) == (False, 0)
        assert await questions.ask({}) == {}
        assert await refused.ask({"there": HOST}) == {}
    finally:
        for one in (questions, refused):
            await one.end()
        gateway.kill()
