"""A session moves: to another gateway, to the same one, after kill -9, and off a drained pod under load."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import functools
import json
import signal
import struct
from typing import Any

import httpx
import pytest
from openai import AsyncOpenAI, DefaultAsyncHttpxClient
from websockets.exceptions import ConnectionClosed, InvalidStatus

from litevoice_contracts import events
from litevoice_contracts.conversation import Item, Snapshot
from litevoice_contracts.envelopes import MessageId
from litevoice_contracts.packets import Audio, EpochEnd
from litevoice_dev.ports import HOST, free_port
from tests.integration.gateway.process import (
    ALICE,
    Gateway,
    Gateways,
    PlayedWorker,
    Wire,
    close_code,
    delta_numbers,
    expect_error,
    numbered_audio,
    opened,
    play_log,
    receive,
)
from tests.waiting import PATIENCE_SECONDS, until

pytestmark = pytest.mark.timeout(420)


def log_lines(gateway: Gateway) -> list[dict[str, Any]]:
    return [json.loads(line) for line in gateway.log.read_text().splitlines() if line.startswith("{")]


async def test_another_gateway_takes_over_after_the_last_event(gateways: Gateways, played_worker: PlayedWorker) -> None:
    first, second = await gateways.start(), await gateways.start()
    async with first.connect() as socket:
        session = await opened(socket)
        await socket.send(numbered_audio(1))
        await played_worker.say(
            session,
            events.ItemCreated(Item("u1", "user", "hi")),
            snapshot=Snapshot(items=[Item("u1", "user", "hi")], turn=1),
        )
        await played_worker.say(session, events.ResponseStarted("r1", "i1"))
        await play_log(played_worker, session, 20)
        seen: list[dict[str, Any]] = []
        while len(delta_numbers(seen)) < 10:
            seen.append(await receive(socket))
        query = f"session_id={session}&last_event_id={seen[-1]['event_id']}"
        async with second.connect(query=query) as other:
            assert await opened(other) == session
            rest: list[dict[str, Any]] = []
            while delta_numbers(rest)[-1:] != [19]:
                rest.append(await receive(other))
            assert delta_numbers(rest) == list(range(10, 20))
            assert await close_code(socket) == 4001
            await other.send(numbered_audio(2))
            await until(lambda: played_worker.audio_numbers(session) == [1, 2])
            ends = [type(packet) for packet in played_worker.packets(session)]
            assert ends == [Audio, EpochEnd, Audio]
            one, two = {envelope.epoch for envelope in played_worker.of(session)}
            newest = played_worker.of(session)[-1]
            assert newest.epoch == max(one, two)
            assert newest.seq == 0
            assert newest.snapshot is None, "only a worker that asks has it: the log is read to its end by then"
            await played_worker.say(session, events.TurnReplay("unknown_session"))
            await until(lambda: [envelope.attempt for envelope in played_worker.of(session)][-2:] == [1, 1])
            replay, own = played_worker.of(session)[-2:]
            assert [type(packet) for packet in replay.packets] == [Audio, EpochEnd], "what the other gateway has left"
            assert (replay.epoch, own.epoch) == (min(one, two), newest.epoch)
            assert replay.snapshot is not None
            assert [item.text for item in replay.snapshot.items] == ["hi"]
            await play_log(played_worker, session, 5, start=20, attempt=1)
            rest = [await receive(other) for _ in range(5)]
            assert delta_numbers(rest) == list(range(20, 25))
    assert await second.metric("litevoice_gateway_takeovers_total") == 1
    assert await first.metric("litevoice_gateway_evictions_total") == 1


async def test_a_message_that_was_sent_again_reaches_the_client_once(
    gateways: Gateways, played_worker: PlayedWorker
) -> None:
    """The broker keeps both under positions of their own: so it does for the live owner and for the next one."""
    first, second = await gateways.start(), await gateways.start()
    async with first.connect() as socket:
        session = await opened(socket)
        await played_worker.say(session, events.ResponseStarted("r1", "i1"), number=MessageId(7, 1))
        for number in (2, 3, 3, 4, 2, 5):
            sound = events.AudioDelta("r1", "i1", struct.pack("<I", number))
            await played_worker.say(session, sound, number=MessageId(7, number))
        seen: list[dict[str, Any]] = []
        while delta_numbers(seen)[-1:] != [5]:
            seen.append(await receive(socket))
        assert delta_numbers(seen) == [2, 3, 4, 5]
        assert await first.metric("litevoice_gateway_dropped_total", what="repeated") == 2
        early = next(message for message in seen if delta_numbers([message]) == [2])
        query = f"session_id={session}&last_event_id={early['event_id']}"
        async with second.connect(query=query) as other:
            assert await opened(other) == session
            assert delta_numbers([await receive(other) for _ in range(3)]) == [3, 4, 5]
            await played_worker.say(session, sound, number=MessageId(7, 5))
            last = events.AudioDelta("r1", "i1", struct.pack("<I", 6))
            await played_worker.say(session, last, number=MessageId(7, 6))
            assert delta_numbers([await receive(other)]) == [6]


async def test_an_attempt_whose_client_has_stopped_waiting_takes_nothing_over(
    gateways: Gateways, played_worker: PlayedWorker
) -> None:
    """It waited on the way: proxies go on connecting, while a node is cut off, for clients that have gone elsewhere."""
    first, second = await gateways.start(), await gateways.start()
    async with first.connect() as socket:
        session = await opened(socket)
        for gateway in (first, second):
            await leave_attempt(gateway, session)
            await until(functools.partial(gateway.metric, "litevoice_gateway_connections_total", outcome="gone"))
        await play_log(played_worker, session, 3)
        assert delta_numbers([await receive(socket) for _ in range(3)]) == [0, 1, 2], "who is there keeps its session"
    assert await first.metric("litevoice_gateway_evictions_total") == 0
    assert await second.metric("litevoice_gateway_takeovers_total") == 0


async def test_after_it_was_cut_off_a_gateway_asks_whether_anybody_is_there(
    gateways: Gateways, played_worker: PlayedWorker
) -> None:
    """What stands between tells only a moment later that the client has gone."""
    proxy = free_port()
    async with Wire(gateways.endpoints, proxy) as wire:
        cut, other = await gateways.start(endpoints=f"{HOST}:{proxy}"), await gateways.start()
        wire.cut()
        await until(functools.partial(is_unready, cut))
        wire.mend()
        await cut.wait_ready(PATIENCE_SECONDS)
        async with other.connect() as socket:
            session = await opened(socket)
            reader, writer = await asyncio.open_connection(HOST, cut.port)
            writer.write(attempt(session))
            assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
            assert await reader.readexactly(2) == b"\x89\x00", "a ping, which nobody answers"
            writer.close()
            gone = functools.partial(cut.metric, "litevoice_gateway_connections_total", outcome="gone")
            await until(gone)
            await play_log(played_worker, session, 1)
            assert delta_numbers([await receive(socket)]) == [0], "who is there keeps its session"
            async with cut.connect(query=f"model=test&session_id={session}") as here:
                assert await opened(here) == session, "who answers has it"
                assert await close_code(socket) == 4001
    assert await cut.metric("litevoice_gateway_takeovers_total") == 1


async def is_unready(gateway: Gateway) -> bool:
    return (await gateway.request("/readyz")).status_code != 200


def attempt(session: str) -> bytes:
    return (
        f"GET /v1/realtime?model=test&session_id={session} HTTP/1.1\r\nHost: gateway\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        f"Authorization: Bearer {ALICE}\r\n\r\n"
    ).encode()


async def leave_attempt(gateway: Gateway, session: str) -> None:
    """A request and its end come in the same moment: the gateway's process stands still meanwhile, for less than it
    would notice."""
    gateway.process.send_signal(signal.SIGSTOP)
    try:
        _, writer = await asyncio.open_connection(HOST, gateway.port)
        writer.write(attempt(session))
        writer.close()
        await writer.wait_closed()
    finally:
        gateway.process.send_signal(signal.SIGCONT)


async def test_after_kill_9_another_gateway_goes_on(gateways: Gateways, played_worker: PlayedWorker) -> None:
    first, second = await gateways.start(), await gateways.start()
    async with first.connect() as socket:
        session = await opened(socket)
        await socket.send(numbered_audio(1))
        await until(functools.partial(played_worker.has_audio, session, 1))
        await play_log(played_worker, session, 10)
        seen = [await receive(socket) for _ in range(6)]
        first.kill()
        await play_log(played_worker, session, 5, start=10)
        query = f"session_id={session}&last_event_id={seen[-1]['event_id']}"
        async with second.connect(query=query) as other:
            assert await opened(other) == session
            assert delta_numbers([await receive(other) for _ in range(9)]) == list(range(6, 15))
            await other.send(numbered_audio(2))
            await until(functools.partial(played_worker.has_audio, session, 2))
    assert played_worker.audio_numbers(session) == [1, 2]


async def test_a_gateway_cut_off_from_its_proxy_finds_out_what_was_taken_from_it(
    gateways: Gateways, played_worker: PlayedWorker
) -> None:
    """The notices were lost with the link; the sessions nobody took go on."""
    proxy = free_port()
    async with Wire(gateways.endpoints, proxy) as wire:
        first, second = await gateways.start(endpoints=f"{HOST}:{proxy}"), await gateways.start()
        async with first.connect() as kept, first.connect() as socket:
            left, session = await opened(kept), await opened(socket)
            for name, talking in ((left, kept), (session, socket)):
                await talking.send(numbered_audio(1))
                await until(functools.partial(played_worker.has_audio, name, 1))
            await play_log(played_worker, session, 3)
            seen = [await receive(socket) for _ in range(3)]
            wire.cut()
            query = f"session_id={session}&last_event_id={seen[-1]['event_id']}"
            async with second.connect(query=query) as other:
                assert await opened(other) == session
                wire.mend()
                assert await close_code(socket) == 4001
                await play_log(played_worker, session, 3, start=3)
                assert delta_numbers([await receive(other) for _ in range(3)]) == [3, 4, 5]
            await first.wait_ready(PATIENCE_SECONDS)
            await play_log(played_worker, left, 1)
            assert delta_numbers([await receive(kept)]) == [0]
    assert await first.metric("litevoice_gateway_evictions_total") == 1
    assert await second.metric("litevoice_gateway_evictions_total") == 0


async def test_the_same_gateway_takes_over_from_itself(gateways: Gateways, played_worker: PlayedWorker) -> None:
    gateway = await gateways.start()
    async with gateway.connect() as socket:
        session = await opened(socket)
        await socket.send(numbered_audio(1))
        await play_log(played_worker, session, 6)
        seen = [await receive(socket) for _ in range(3)]
        for round_number in range(3):
            query = f"session_id={session}&last_event_id={seen[2]['event_id']}"
            async with gateway.connect(query=query) as other:
                assert await opened(other) == session
                assert delta_numbers([await receive(other) for _ in range(3)]) == [3, 4, 5]
                if round_number == 0:
                    assert await close_code(socket) == 4001
                await other.send(numbered_audio(2 + round_number))
                await until(functools.partial(played_worker.has_audio, session, 2 + round_number))
    assert played_worker.audio_numbers(session) == [1, 2, 3, 4]
    assert (await gateway.request("/v1/status")).json()["sessions"] == 0


async def test_a_log_that_never_was_is_an_expired_session(gateways: Gateways) -> None:
    gateway = await gateways.start(restoreTimeoutSeconds=1)
    async with gateway.connect() as socket:
        session = await opened(socket)
    async with gateway.connect(query=f"session_id={session}&last_event_id=evt_40_38") as socket:
        await expect_error(socket, "session_expired")
        assert await close_code(socket) == 1008
    (closed,) = [line for line in log_lines(gateway) if line["message"] == "session closed"]
    assert (closed["session"], closed["code"], closed["reason"]) == (session, 1008, "session expired")


async def test_the_connection_goes_when_the_broker_has_everything(
    gateways: Gateways, played_worker: PlayedWorker
) -> None:
    """A client comes back elsewhere when its connection is gone: it says nothing there before."""
    proxy = free_port()
    async with Wire(gateways.endpoints, proxy) as wire:
        gateway = await gateways.start(endpoints=f"{HOST}:{proxy}", closeTimeoutSeconds=30)
        async with gateway.connect() as socket:
            session = await opened(socket)
            wire.hold()
            await socket.send(numbered_audio(1))
            closing = asyncio.create_task(socket.close())
            async with asyncio.timeout(PATIENCE_SECONDS):
                while (await gateway.request("/v1/status")).json()["sessions"]:
                    await asyncio.sleep(0.05)
            assert await gateway.metric("litevoice_gateway_packets_published_total") == 0
            assert not closing.done()
            wire.mend()
            await closing
            audio_and_end_of_epoch = 2
            assert await gateway.metric("litevoice_gateway_packets_published_total") == audio_and_end_of_epoch
    await until(functools.partial(played_worker.has_audio, session, 1))


# Drain


async def test_a_drain_under_load_loses_nothing(gateways: Gateways, played_worker: PlayedWorker) -> None:
    first, second = await gateways.start(), await gateways.start()
    current = first
    count = 12
    sent = [0] * count
    received: list[list[int]] = [[] for _ in range(count)]
    sessions = [""] * count
    reconnects = [0] * count
    stop = asyncio.Event()

    http = DefaultAsyncHttpxClient(verify=False)  # unused: without it each client reads all certificates for its own

    async def talk(number: int) -> None:
        client = AsyncOpenAI(
            api_key=ALICE,
            websocket_base_url=first.url,
            base_url="http://x/v1",
            http_client=http,
        )
        last = ""

        def reconnecting(_event: Any) -> Any:
            reconnects[number] += 1
            target = {"session_id": sessions[number], "last_event_id": last}
            client.websocket_base_url = f"ws://{HOST}:{current.port}/v1"
            return {"extra_query": target}

        async with client.realtime.connect(
            model="test",
            extra_query={"can_return": "true"},
            on_reconnecting=reconnecting,
            initial_delay=0.02,
            max_retries=50,
        ) as connection:

            async def listen() -> None:
                nonlocal last
                async for event in connection:
                    last = str(getattr(event, "event_id", last))
                    if event.type == "session.created":
                        sessions[number] = str(event.session.id)  # type: ignore[union-attr]
                    elif event.type == "response.output_audio.delta":
                        received[number].append(struct.unpack("<I", base64.b64decode(event.delta))[0])

            listening = asyncio.create_task(listen())
            while not stop.is_set():
                with contextlib.suppress(ConnectionClosed):  # not sent: the client has not noticed the Close yet
                    await connection.send_raw(numbered_audio(sent[number]))
                    sent[number] += 1
                await asyncio.sleep(0.02)
            await until(
                lambda: listening.done() or len(received[number]) >= deltas,
                lambda: f"{sessions[number]} after {last}; received: {received[number]}",
            )
            assert not listening.done(), listening.exception()
            listening.cancel()
        await client.close()

    deltas = 60
    talks = [asyncio.create_task(talk(number)) for number in range(count)]
    await until(lambda: all(sessions) or any(task.done() for task in talks), lambda: sessions)
    assert all(sessions), [task.exception() for task in talks if task.done()]
    current = second

    async def answers() -> None:
        for number in range(deltas):
            await asyncio.gather(
                *(
                    played_worker.say(name, events.AudioDelta("r1", "i1", struct.pack("<I", number)))
                    for name in sessions
                )
            )
            await asyncio.sleep(0.03)

    answering = asyncio.create_task(answers())
    await until(lambda: all(len(got) > 10 for got in received), lambda: received)
    first.terminate()
    assert await first.wait_gone(PATIENCE_SECONDS) == 0
    await until(lambda: all(reconnects))
    await answering
    stop.set()
    await asyncio.gather(*talks)
    for number in range(count):
        await until(functools.partial(played_worker.has_audio, sessions[number], sent[number]))
        assert played_worker.audio_numbers(sessions[number]) == list(range(sent[number]))
        assert received[number] == list(range(deltas))
    (over,) = [line["report"] for line in log_lines(first) if line["message"] == "drain finished"]
    assert (over["sessions"], over["moved"]) == (count, count)
    assert over.get("lost_packets", 0) == 0
    assert over.get("forced", 0) == 0


async def probes(gateway: Gateway) -> dict[str, tuple[int, str]]:
    """What load balancers are told on the clients' port, without a key."""
    async with httpx.AsyncClient() as client:
        answers = {path: await client.get(f"http://{HOST}:{gateway.port}{path}") for path in ("/", "/healthz")}
    return {path: (answer.status_code, answer.text) for path, answer in answers.items()}


async def test_who_asks_is_told_how_long_its_connection_lives(gateways: Gateways) -> None:
    """The one that comes back goes at once; the other one stays as long as it was told."""
    gateway = await gateways.start(drainPolicy="Auto", drainTimeoutSeconds=8, closeTimeoutSeconds=1)
    asks = "model=test&going_away=true"
    async with gateway.connect(query=f"{asks}&can_return=true") as moved, gateway.connect(query=asks) as stays:
        assert (await receive(moved))["session"]["litevoice"]["going_away"] is True
        await opened(stays)
        began = asyncio.get_running_loop().time()
        await gateway.request("/v1/drain", post=True)
        for socket, milliseconds, code in ((moved, 2000, 1012), (stays, 6500, 1012)):
            event = await receive(socket)
            assert event["type"] == "litevoice.going_away"
            assert milliseconds - 1000 < event["time_left_ms"] <= milliseconds
            with pytest.raises(ConnectionClosed):
                await receive(socket)
            assert socket.close_code == code
        assert asyncio.get_running_loop().time() - began > 5


async def test_a_draining_gateway_takes_nobody_reports_and_comes_back(gateways: Gateways) -> None:
    gateway = await gateways.start(drainPolicy="Complete", drainTimeoutSeconds=30)
    assert await probes(gateway) == {"/": (200, "ok\n"), "/healthz": (200, "ok\n")}
    async with gateway.connect() as socket:
        await opened(socket)
        assert (await gateway.request("/v1/drain")).json() == {}
        begun = await gateway.request("/v1/drain", post=True, body={"policy": "Complete"})
        assert begun.status_code == 202
        assert begun.json()["state"] == "draining"
        ready = await gateway.request("/readyz")
        assert (ready.status_code, ready.json()["reason"]) == (503, "draining")
        assert await probes(gateway) == {"/": (503, "not ready\n"), "/healthz": (503, "not ready\n")}
        with pytest.raises(InvalidStatus) as refusal:
            async with gateway.connect():
                pass
        assert refusal.value.response.status_code == 503
        assert refusal.value.response.headers["Retry-After"]
        await socket.close()
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (report := (await gateway.request("/v1/drain")).json())["state"] != "drained":
            await asyncio.sleep(0.05)
    assert (report["sessions"], report["completed"]) == (1, 1)
    back = await gateway.request("/v1/drain", method="DELETE")
    assert (back.status_code, back.json()) == (200, report)
    async with gateway.connect() as socket:
        await opened(socket)
        begun = await gateway.request("/v1/drain", post=True, body={"policy": "Complete", "rate_per_second": 1})
        assert (begun.json()["sessions"], begun.json().get("completed", 0)) == (1, 0), "a drain of its own"
        back = await gateway.request("/v1/drain", method="DELETE")
        assert (back.status_code, back.json()["state"]) == (200, "draining")
        assert (await gateway.request("/readyz")).status_code == 200
        assert (await gateway.request("/v1/drain")).json() == {}
        gateway.terminate()
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (await gateway.request("/v1/drain")).json() == {}:
                await asyncio.sleep(0.05)
        late = await gateway.request("/v1/drain", method="DELETE")
        assert (late.status_code, "was told to end" in late.text) == (409, True)
        await socket.close()
    assert await gateway.wait_gone(PATIENCE_SECONDS) == 0
