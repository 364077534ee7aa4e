"""The server of `litevoice console`, before the operator's own port."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest
from aiohttp import web

from litevoice_cli.__main__ import main
from litevoice_cli.console import MAX_AT_ONCE, Console
from litevoice_cli.reach import ByKubeconfig, ByUrl
from litevoice_dev.ports import free_port
from tests.unit.cli.test_command import served
from tests.unit.operator.test_admin_api import soon

__all__ = ["soon"]


@pytest.fixture
async def console() -> AsyncIterator[Console]:
    async with served() as here:
        server = Console(ByUrl(here.url, "good"), 0)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        await here.api.close()
        await asyncio.to_thread(server.shutdown)
        server.server_close()
        thread.join()


@pytest.fixture
async def browser() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def key_of(browser: aiohttp.ClientSession, console: Console) -> str:
    url = urlsplit(console.address({"namespace": "voice"}))
    assert url.query == "namespace=voice"
    async with browser.post(f"http://{url.netloc}/key", data=url.fragment.removeprefix("code=")) as answer:
        assert answer.status == 200
        return await answer.text()


async def test_the_address_is_good_once_and_its_key_shows_what_the_token_may(
    console: Console, browser: aiohttp.ClientSession
) -> None:
    base = f"http://{console.names[0]}"
    code = console.code
    key = await key_of(browser, console)
    assert key not in (code, "good"), "the browser gets no token of the operator's"
    async with browser.post(f"{base}/key", data=code) as answer:
        assert answer.status == 403
    async with browser.post(f"{base}/key", data=b"") as answer:
        assert answer.status == 403, "a code that was used is not an empty one"
    async with browser.get(f"{base}/console") as answer:
        assert (answer.status, answer.content_type) == (200, "text/html")
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    async with browser.get(f"{base}/v1/console?namespace=voice", headers={"Litevoice-Token": key}) as answer:
        assert (answer.status, answer.content_type) == (200, "text/event-stream")
        assert (await answer.content.readany()).startswith(b'event: state\ndata: {"operator":"operator-0"')
    async with browser.get(f"{base}/v1/sessions/s_1?namespace=voice", headers={"Litevoice-Token": key}) as answer:
        assert (await answer.json())["session"]["client"] == "10.1.0.1:4711"
    async with browser.get(f"{base}/v1/console?namespace=other", headers={"Litevoice-Token": key}) as answer:
        assert answer.status == 403, "as the operator says"


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/v1/console", {}, 401),
        ("/v1/console", {"Litevoice-Token": "good"}, 401),
        ("/v1/sessions/s_1", {"Cookie": "key=1"}, 401),
        ("/v1/sessions", {}, 404),
        ("/metrics", {}, 404),
        ("/console/../v1/console", {}, 401),
        ("/console", {"Host": "evil.example:80"}, 403),
        ("/console", {"Origin": "http://evil.example"}, 403),
    ],
)
async def test_others_get_nothing(
    console: Console, browser: aiohttp.ClientSession, path: str, headers: dict[str, str], status: int
) -> None:
    async with browser.get(f"http://{console.names[0]}{path}", headers=headers) as answer:
        assert answer.status == status


async def test_nothing_is_changed_through_it(console: Console, browser: aiohttp.ClientSession) -> None:
    key = await key_of(browser, console)
    for method in ("POST", "DELETE"):
        url = f"http://{console.names[0]}/v1/drains/gateway-0"
        async with browser.request(method, url, headers={"Litevoice-Token": key}) as answer:
            assert answer.status in (404, 501)


async def test_so_many_requests_at_once(console: Console, browser: aiohttp.ClientSession) -> None:
    for _ in range(MAX_AT_ONCE):
        assert console.slots.acquire(blocking=False)
    async with browser.get(f"http://{console.names[0]}/console") as answer:
        assert answer.status == 429
    console.slots.release(MAX_AT_ONCE)


async def test_an_operator_that_is_gone_is_named(browser: aiohttp.ClientSession) -> None:
    with Console(ByUrl(f"http://127.0.0.1:{free_port()}", "good"), 0) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        async with browser.get(f"http://{server.names[0]}/console") as answer:
            assert answer.status == 502
            assert "nobody answers at" in (await answer.json())["error"]["message"]
        await asyncio.to_thread(server.shutdown)


class ApiServer:
    """Plays one: makes tokens, and hands through to an operator that stands by and to the one that acts."""

    def __init__(self) -> None:
        self.tokens = 0
        self.seen: list[tuple[str, str]] = []
        self.go_on = asyncio.Event()

    async def token(self, request: web.Request) -> web.Response:
        assert (await request.json())["spec"] == {"audiences": ["litevoice"], "expirationSeconds": 600}
        self.tokens += 1
        return web.json_response({"status": {"token": f"token-{self.tokens}"}}, status=201)

    async def proxy(self, request: web.Request) -> web.StreamResponse:
        self.seen.append((request.match_info["target"], request.headers["Litevoice-Token"]))
        if request.match_info["kind"] == "services":
            return web.json_response({"error": {"message": "not me", "acting": "op-1"}}, status=503)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"first\n\n")
        await self.go_on.wait()
        await response.write(b"second\n\n")
        return response


async def test_through_the_api_server_piece_by_piece_with_a_token_that_is_renewed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    played, app, port = ApiServer(), web.Application(), free_port()
    proxied = "/api/v1/namespaces/lv/{kind}/{target}/proxy/v1/console"
    app.add_routes([web.post("/api/v1/namespaces/lv/serviceaccounts/op-viewer/token", played.token)])
    app.add_routes([web.get(proxied, played.proxy)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    config = tmp_path / "config"
    config.write_text(
        "apiVersion: v1\nkind: Config\ncurrent-context: here\nusers: [{name: me, user: {token: t}}]\n"
        f"clusters: [{{name: here, cluster: {{server: 'http://127.0.0.1:{port}'}}}}]\n"
        "contexts: [{name: here, context: {cluster: here, user: me}}]\n"
    )
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(config))
    reach = await asyncio.to_thread(ByKubeconfig, "", "lv", "op", "viewer")
    stream = await asyncio.to_thread(reach.stream, "/v1/console", {"namespace": "voice"})
    assert (stream.status, stream.headers["content-type"]) == (200, "text/event-stream")
    assert await asyncio.to_thread(next, stream.chunks) == b"first\n\n", "while more is to come"
    played.go_on.set()
    assert await asyncio.to_thread(list, stream.chunks) == [b"second\n\n"]
    assert played.seen == [("http:op-metrics:9090", "token-1"), ("http:op-1:9090", "token-1")]
    monkeypatch.setattr("litevoice_cli.reach.RENEW_SECONDS", -1.0)
    await asyncio.to_thread(lambda: list(reach.stream("/v1/console", {}).chunks))
    assert played.seen[-1] == ("http:op-1:9090", "token-2")
    await runner.cleanup()


def test_a_port_that_cannot_be_had_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with Console(ByUrl("http://127.0.0.1:9", "good"), 0) as taken:
        arguments = ["console", "--url", "http://127.0.0.1:9", "--token", "t", "--port", str(taken.server_port)]
        assert main(arguments) == 1
    assert "--port: " in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["console", "--port", "0"])
    assert "expected a port, 1 to 65535, got '0'" in capsys.readouterr().err
