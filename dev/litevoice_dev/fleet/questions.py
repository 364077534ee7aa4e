"""Asks gateways for their status from a place that reaches their pods and has nothing but bash: a cluster's node."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import msgspec

from litevoice_contracts.control import GatewayStatus

_ASK = r"""
read -r token
ask() {
  local host=${2%/*} request answer
  request="GET /v1/status HTTP/1.0\r\nHost: $host\r\nAuthorization: Bearer $token\r\n\r\n"
  answer=$(timeout 1 bash -c 'exec 3<>"/dev/tcp/$1" && printf %b "$2" >&3 && cat <&3' _ "$2" "$request" \
    2>/dev/null | tail -n 1)
  printf '%s %s\n' "$1" "$answer"
}
while read -r line; do
  for pair in $line; do ask "${pair%%=*}" "${pair#*=}" & done
  wait
  echo .
done
"""
"""For each line `NAME=IP/PORT …` a line `NAME ANSWER` for each pod, then a dot."""


class Questions:
    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self._process = process
        self._port = port

    @classmethod
    async def begin(cls, place: Sequence[str], token: str, port: int) -> Questions:
        """`place`: what runs a command there, `docker exec -i NODE` for example; `token`, `port`: the admin API's."""
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *place, "bash", "-c", _ASK, stdin=pipe, stdout=pipe, limit=1 << 20
        )
        questions = cls(process, port)
        questions._say(token)
        return questions

    async def ask(self, addresses: Mapping[str, str]) -> dict[str, GatewayStatus]:
        """Pod → its status, of those that answer within a second. Raises EOFError when the place does not work."""
        self._say(" ".join(f"{name}={ip}/{self._port}" for name, ip in addresses.items()))
        assert self._process.stdout is not None
        answers = {}
        while (line := await self._process.stdout.readline()) != b".\n":
            if not line:
                raise EOFError("who asks gateways for their status has ended")
            name, _, answer = line.strip().partition(b" ")
            try:
                answers[name.decode()] = msgspec.json.decode(answer, type=GatewayStatus)
            except (msgspec.MsgspecError, UnicodeDecodeError):
                continue
        return answers

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n".encode())

    async def end(self) -> None:
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()
