"""The command as people call it, against the operator's API over HTTP; see test_admin_api for what stands behind it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from litevoice_cli import tables
from litevoice_cli.__main__ import _found, _parser, main, printable
from litevoice_cli.reach import refusal
from litevoice_contracts.operator_api import ActAnswer, OrphanPage, OrphanRow, SessionPage, SilentRow
from litevoice_dev.ports import free_port
from litevoice_operator.adapters.cluster import User
from litevoice_operator.admin_api import AdminApi, Guard
from litevoice_operator.decide.verdict import verdict
from litevoice_operator.reconcile.acts import Acts
from litevoice_operator.reconcile.console import Console
from litevoice_operator.reconcile.shared import Shared
from litevoice_operator.server import Door, serve
from tests.unit.operator.test_admin_api import asked, soon
from tests.unit.operator.test_verdict import CASES, made

__all__ = ["soon"]
Command = Callable[..., "asyncio.Future[int]"]
EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "backlogalert-replies.yaml"


class Accounts:
    """Stands for the API server: two tokens, one namespace, and only `boss` may change anything."""

    def __init__(self) -> None:
        self.tokens = {"good": "viewer", "boss": "manager"}

    async def reviewed(self, token: str, audience: str) -> User | None:
        name = self.tokens.get(token, "")
        return User(name, ()) if name and audience == "litevoice" else None

    async def may(self, user: User, namespace: str, verb: str, resource: str, subresource: str) -> bool:
        about = (namespace, resource, subresource) == ("voice", "voicegateways", "sessions")
        return about and (verb == "get" or (user.name, verb) == ("manager", "update"))


@dataclass
class Served:
    """The operator's port. `now`: of its guard."""

    url: str
    api: AdminApi
    console: Console
    accounts: Accounts
    shared: Shared
    now: float = 0.0


@asynccontextmanager
async def served() -> AsyncIterator[Served]:
    async with asked() as inquiries:
        accounts, door, port = Accounts(), Door(), free_port()
        console = Console(inquiries._shared, inquiries, "operator-0")
        guard = Guard(accounts, lambda: here.now)
        api = AdminApi(guard, inquiries, Acts(inquiries._shared), console)
        here = Served(f"http://127.0.0.1:{port}", api, console, accounts, inquiries._shared)
        door.inside = api.handle
        runner = await serve(port, str, door)
        try:
            yield here
        finally:
            await api.close()
            await runner.cleanup()


@pytest.fixture
async def litevoice() -> AsyncIterator[Command]:
    async with served() as here:
        url = here.url

        def command(*arguments: str, token: str = "good") -> asyncio.Future[int]:
            return asyncio.ensure_future(asyncio.to_thread(main, [*arguments, "--url", url, "--token", token]))

        yield command


async def test_from_a_callers_address_to_the_cause(litevoice: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert await litevoice("find", "--client", "10.1.0.1", "-n", "voice") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:4] == ["SESSION", "GATEWAY", "POD", "CLIENT"]
    assert lines[1].split()[:4] == ["s_1", "voice/demo", "gateway-0", "10.1.0.1:4711"]
    assert lines[2] == "did not answer: voice/gateway-1; their sessions are missing here"
    assert await litevoice("why", lines[1].split()[0], "-n", "voice") == 0
    said = capsys.readouterr().out
    assert "gateway-0 on node-of-gateway-0, ready" in said
    assert "10.1.0.1:4711 (tenant)" in said
    assert await litevoice("why", "s_1", "-n", "voice", "-o", "json") == 0
    assert json.loads(capsys.readouterr().out)["session"]["client"] == "10.1.0.1:4711"


async def test_a_caller_who_got_no_session_is_found_too(litevoice: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert await litevoice("find", "--client", "10.1.0.8", "-n", "voice") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "no session matches"
    assert lines[1].startswith("refused 0.")
    assert lines[1].endswith(
        "10.1.0.8:4711 (tenant) by gateway-0 on node-of-gateway-0: full: this gateway takes no new sessions: sessions"
    )
    assert await litevoice("sessions", "-n", "voice") == 0
    assert "refused" not in capsys.readouterr().out, "nobody asked for one caller"


def test_sessions_of_a_pod_that_is_silent_are_shown_as_they_were_seen_last() -> None:
    row = SilentRow("voice", "demo", "s_9", "gateway-1", "node-b", "10.1.0.9:1")
    page = SessionPage(0, [], silent=["voice/gateway-1"], at_silent=[row])
    assert tables.sessions(page).splitlines()[-2:] == [
        "did not answer: voice/gateway-1; their sessions are missing here",
        "last seen there: s_9 of 10.1.0.9:1, at gateway-1 on node-b",
    ]
    assert _found(page)
    assert not _found(SessionPage(0, [], silent=["voice/gateway-1"]))


async def test_pages(litevoice: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert await litevoice("top", "--by", "age", "--limit", "2", "-n", "voice") == 0
    assert "2 of 3; next page: --offset 2" in capsys.readouterr().out
    assert await litevoice("top", "--by", "age", "--limit", "2", "--offset", "2", "-n", "voice") == 0
    assert capsys.readouterr().out.splitlines()[1].startswith("s_0 ")


async def test_what_cannot_be_answered_says_why(litevoice: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert await litevoice("sessions", "-n", "voice", token="bad") == 1
    assert "not for the audience litevoice (HTTP 401)" in capsys.readouterr().err
    assert await litevoice("sessions") == 1
    assert "may not get voicegateways/sessions.litevoice.dev in all namespaces" in capsys.readouterr().err
    assert await litevoice("find", "--client", "10.9.9.9", "-n", "voice") == 3
    assert await litevoice("sessions", "-n", "voice", "--limit", "900", "--offset", "900") == 1
    assert "offset: expected at most 1000 together with limit" in capsys.readouterr().err


async def test_acts_need_more_than_seeing_and_say_what_they_would_do(
    litevoice: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await litevoice("move", "s_1", "-n", "voice") == 1
    assert "viewer may not update voicegateways/sessions.litevoice.dev in namespace voice (HTTP 403)" in (
        capsys.readouterr().err
    )
    assert await litevoice("drain", "gateway-0", "--dry-run", "--force", "-n", "voice", token="boss") == 0
    said = "Nothing was done. Without --dry-run: gateway-0 takes no new sessions, and those that it has (3) leave it.\n"
    assert capsys.readouterr().out == said
    assert await litevoice("drain", "gateway-0", "-n", "voice", token="boss") == 1
    assert "no other gateway takes sessions: raise spec.replicas of demo first, or add --force (HTTP 409)" in (
        capsys.readouterr().err
    )
    assert await litevoice("drain", "gateway-0", "--cancel", "-n", "voice", token="boss") == 0
    assert capsys.readouterr().out == "gateway-0 does not drain.\n"
    assert await litevoice("heal", "s_1", "--dry-run", "-n", "voice", "-o", "json", token="boss") == 0
    assert json.loads(capsys.readouterr().out)["pod"] == "gateway-0"
    assert await litevoice("move", "s_1", "-n", "voice", token="boss") == 1
    assert "or who is told of it" in capsys.readouterr().err, "it cannot be recorded, so nothing is done"
    assert await litevoice("drain", "gateway-7", "-n", "voice", token="boss") == 1
    assert "there is no gateway pod gateway-7 in voice" in capsys.readouterr().err


def test_what_was_done_is_shown_with_what_to_look_at() -> None:
    answer = ActAnswer("move", "voice", "demo", "gateway-0", "s_1", True, "s_1 leaves gateway-0", ["litevoice why s_1"])
    assert tables.act(answer) == "s_1 leaves gateway-0.\n\nWhat to do:\n  litevoice why s_1"


async def test_gateways_that_may_be_draining_are_named(litevoice: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert await litevoice("drains", "-n", "voice") == 0
    assert capsys.readouterr().out.splitlines() == [
        "no gateway that answers is draining, and none has ended since the operator looks",
        "did not answer: voice/gateway-1; whether they drain is not known",
    ]


async def test_orphans_without_a_broker_say_why(litevoice: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert await litevoice("orphans", "-n", "voice") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "nothing is known"
    assert lines[-1].startswith("not known: voice/demo: ")


def test_orphans_are_shown_with_who_had_them() -> None:
    row = OrphanRow("voice", "demo", "s_1", "stale-subscription", "left", "gateway-x", "", ["gateway-x"], 12, 340.0)
    said = tables.orphans(OrphanPage(3, [row], next=1, silent=["voice/gateway-1"], unseen=["voice/eu: no answer"]))
    assert said.splitlines() == [
        "SESSION  GATEWAY     FAULT               SERVED  POD        NODE  CLIENT  AT THE BROKER  BACKLOG  OLDEST",
        "s_1      voice/demo  stale-subscription  left    gateway-x  -     -       gateway-x      12       6m",
        "1 of 3; next page: --offset 1",
        "did not answer: voice/gateway-1",
        "not known: voice/eu: no answer",
    ]
    known = msgspec.structs.replace(row, node="node-a", client="10.1.0.9:1")
    assert "gateway-x  node-a  10.1.0.9:1  gateway-x" in tables.orphans(OrphanPage(1, [known]))
    assert tables.orphans(OrphanPage(0, [])) == "every LiteTopic in which something waits has its owner"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["find"], "expected --client, --principal or --since"),
        (["find", "--since", "soon"], "expected a time like 30s, 5m, 2h or 1d, got 'soon'"),
        (["find", "--since", "9999999d"], "--since: expected at most 3650d, got '9999999d'"),
        (
            ["find", "--client", "shop.example.com"],
            "--client: expected an address like 10.1.0.9, 10.1.0.9:4711, fd00::9",
        ),
        (["find", "--client", "[fd00::9]:"], "expected an address like"),
        (["sessions", "--limit", "0"], "--limit: expected 1 to 1000, got '0'"),
        (["sessions", "--offset", "\u00b2"], "--offset: expected 0 to 1000"),
        (["console", "--port", "0"], "--port: expected a port, 1 to 65535, got '0'"),
        (["why", "no/id"], "expected a session id"),
        (["drain", "No_Pod"], "expected the name of a gateway pod, got 'No_Pod'"),
        (["heal", "no/id"], "expected a session id"),
        (["top", "--by", "size"], "invalid choice: 'size'"),
        (["sessions", "--limit", "2000"], "expected 1 to 1000, got '2000'"),
    ],
)
def test_options_that_do_not_fit_are_named(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--url", "operator:9090", "--token", "t"], "--url: expected http://HOST:PORT, got 'operator:9090'"),
        (["--url", "http://[::1", "--token", "t"], "--url: expected http://HOST:PORT, got 'http://[::1'"),
        (["--url", "http://a:99999", "--token", "t"], "--url: expected http://HOST:PORT, got 'http://a:99999'"),
        (["--url", "http://127.0.0.1:9", "--token", "t\nu"], "--token or LITEVOICE_TOKEN: expected one line of ASCII"),
        (["--url", "http://127.0.0.1:9"], "--token or LITEVOICE_TOKEN: expected a token"),
        (["--url", "http://127.0.0.1:9", "--token", "t"], "--url: nobody answers at http://127.0.0.1:9"),
    ],
)
def test_who_cannot_be_asked_is_named(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", *arguments]) == 1
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("10.1.0.9", "10.1.0.9"),
        ("10.1.0.9:4711", "10.1.0.9:4711"),
        ("FD00:0::9", "fd00::9"),
        ("[fd00::9]", "fd00::9"),
        ("[FD00:0:0::9]:4711", "[fd00::9]:4711"),
    ],
)
def test_an_address_is_asked_for_as_gateways_write_it(given: str, wanted: str) -> None:
    assert _parser().parse_args(["find", "--client", given]).client == wanted


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"SSH-2.0-OpenSSH\r\n", "does not speak HTTP, or TLS, as the URL says"),
        (b"HTTP/1.0 200 OK\r\n\r\n<html>", "what answers is not the operator"),
        (b"HTTP/1.0 404 Not Found\r\n\r\n404: Not Found", "an operator older than this command, or none at all"),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 9\r\n\r\n{}", "does not speak HTTP"),
        (b"HTTP/1.0 200 OK\r\n\r\n{}", "the operator is of another version"),
        (
            b"HTTP/1.0 302 Found\r\nLocation: http://127.0.0.1:9/\r\n\r\n",
            "leads elsewhere, and a token does not go along",
        ),
    ],
)
async def test_what_is_not_the_operator_is_named(
    answer: bytes, said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def other(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(other, "127.0.0.1", 0)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    assert await asyncio.to_thread(main, ["doctor", "--url", url, "--token", " t\n"]) == 1
    server.close()
    assert said in capsys.readouterr().err


def test_what_others_have_named_does_nothing_to_a_terminal() -> None:
    assert printable({"a": ["s\x1b[2Jx", 1], "b": "one\ntwo\u202e"}) == {"a": ["s\ufffd[2Jx", 1], "b": "one two\ufffd"}


def test_who_stops_it_sees_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("litevoice_cli.__main__._run", stopped)
    assert main([]) == 130


def test_who_reads_no_further_sees_no_traceback() -> None:
    command = [sys.executable, "-m", "litevoice_cli", "completion", "zsh"]
    reader, writer = os.pipe()
    os.close(reader)
    ended = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (141, b"")


def test_an_alert_is_tried_without_an_operator(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    samples = tmp_path / "samples.yaml"
    samples.write_text("[{at: 0, sessions: {s_a: {messages: 6}}}, {at: 5, messages: 6, expect: Firing warning}]")
    assert main(["alert", "test", str(EXAMPLE), str(samples)]) == 0
    assert [line.split()[2] for line in capsys.readouterr().out.splitlines()] == ["Pending", "Firing"]
    assert main(["alert", "test", str(EXAMPLE), str(samples), "-o", "json"]) == 0
    first, second = json.loads(capsys.readouterr().out)
    assert (first["state"], first["severity"], first["told"], first["expect"]) == ("Pending", "warning", "", None)
    assert (second["state"], second["told"], second["asExpected"]) == ("Firing", "Firing", True)
    assert (first["value"]["sessions"], second["value"]["messages"]) == (1, 6)
    assert main(["alert", "test", str(EXAMPLE), str(tmp_path / "none.yaml")]) == 2
    assert "none.yaml" in capsys.readouterr().err


def test_without_the_operators_code_an_alert_is_not_tried(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("litevoice_cli.__main__.TRIAL", "litevoice_nobody.alert_trial")
    assert main(["alert", "test", "a", "b"]) == 1
    assert "litevoice: alert test: expected the operator's code" in capsys.readouterr().err


def test_a_kubeconfig_that_does_not_exist(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "none"))
    assert main(["doctor"]) == 1
    assert "--context: the kubeconfig cannot be used" in capsys.readouterr().err


def test_refusals_of_the_api_server_and_of_others_are_read() -> None:
    assert refusal(403, b'{"kind":"Status","message":"forbidden"}') == "forbidden (HTTP 403)"
    assert refusal(502, b"<html>") == "<html> (HTTP 502)"
    away = refusal(503, b'{"kind":"Status","message":"no endpoints available for service x"}')
    assert away.startswith("no endpoints available for service x: the operator does not run")


def test_who_had_a_session_that_nobody_holds_is_shown() -> None:
    report = made({}, {}, {"held": False, "last_pod": "gateway-9", "last_node": "node-c", "last_client": "10.1.0.9:1"})
    assert re.search(r"^  last at +gateway-9 on node-c, of 10\.1\.0\.9:1$", tables.why(report), flags=re.MULTILINE)
    assert "last at" not in tables.why(made({}, {}, {"held": False}))


@pytest.mark.parametrize(("cause", "words", "session", "worker", "different"), CASES)
def test_every_cause_is_shown_with_its_words_first(
    cause: str, words: str, session: dict[str, Any], worker: dict[str, Any], different: dict[str, Any]
) -> None:
    report = made(session, worker, different)
    found = verdict(report)
    lines = tables.why(msgspec.structs.replace(report, verdict=found)).splitlines()
    assert lines[0] == f"{cause.upper()}: {found.says}"
    assert words in lines[0]
    assert any("s_1" in line for line in lines[1:3])
