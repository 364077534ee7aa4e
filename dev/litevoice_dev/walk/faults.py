"""The faults of the walk: each is planted, asked about once a caller would complain, and over again."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

from litevoice_broker.admin import Admin
from litevoice_broker.config import BrokerConfig
from litevoice_broker.lite.channel import LiteChannel
from litevoice_contracts.names import ClientId
from litevoice_contracts.operator_api import Cause
from litevoice_dev.ports import HOST
from litevoice_dev.scenarios.slow_reader import QUESTION as LONG_QUESTION
from litevoice_dev.scenarios.slow_reader import narrow_socket
from litevoice_dev.speech import speak
from litevoice_dev.stack import Member
from litevoice_dev.walk.asking import Caller, Found, asked, asked_of_one_sent_away, calling, litevoice, sent_away
from litevoice_dev.walk.place import FAILING, STAGES, WRONG_KEY, WalkPlace

QUESTION = "what is the capital of France"
SLOW_AFTER, STUCK_AFTER, QUIET_AFTER = 6.0, 17.0, 12.0
"""Seconds after which a caller complains: of a model that is slow, of one that is stuck, of anything else."""
SOON_AFTER = 2.0
"""A gateway that was cut off finds out within some seconds more what it has lost, and ends it."""
AHEAD_SECONDS = 90.0

Plant = Callable[[WalkPlace], Awaitable[Found]]
Strike = Callable[[Caller], Awaitable[None]]
Mend = Callable[[], Awaitable[None]]


# --- of single callers: nobody else notices them


def model(speed: str, short: str) -> Plant:
    async def plant(here: WalkPlace) -> Found:
        cause: Cause = "slow-model" if speed == "slow" else "stuck-model"
        async with calling(here, here.stack.gateways[0], model=f"{speed}-{short}") as caller:
            await caller.call.microphone.say(await speak(QUESTION))
            await asyncio.sleep(SLOW_AFTER if speed == "slow" else STUCK_AFTER)
            return await asked(here, caller, cause, words=(f"({short})", "/v1 (m)"))

    return plant


def failing(pipeline: str, *words: str) -> Plant:
    async def plant(here: WalkPlace) -> Found:
        async with calling(here, here.stack.gateways[0], model=pipeline) as caller:
            answer = await caller.call.ask(await speak(QUESTION))
            if answer.status != "failed":
                raise RuntimeError(f"the answer is to have failed, it is {answer.status}")
            await asyncio.sleep(QUIET_AFTER)
            return await asked(here, caller, "failing-model", words=words)

    return plant


async def silent(here: WalkPlace) -> Found:
    async with calling(here, here.stack.gateways[0], mute=True) as caller:
        await asyncio.sleep(QUIET_AFTER)
        return await asked(here, caller, "caller-silent")


async def well(here: WalkPlace) -> Found:
    async with calling(here, here.stack.gateways[0]) as caller:
        await caller.call.ask(await speak(QUESTION))
        await asyncio.sleep(QUIET_AFTER)
        return await asked(here, caller, "healthy")


async def slow_reader(here: WalkPlace) -> Found:
    gateway = here.stack.gateways[0]
    options = {"sock": narrow_socket(gateway.url), "max_queue": 2, "ping_interval": None}
    async with calling(here, gateway, websocket_options=options) as caller:
        await begun_to_answer(caller)
        caller.call.stop_reading()
        await asyncio.sleep(QUIET_AFTER)
        return await asked(here, caller, "slow-reader")


# --- of parts that others share


async def full_pod(here: WalkPlace) -> Found:
    small = here.stack.gateways[3]
    async with calling(here, small, mute=True):
        return await asked_of_one_sent_away(here, await sent_away(here, small), small, "full", ("sessions",))


async def broker_quota(here: WalkPlace) -> Found:
    """The broker takes no subscription beyond those that there are."""
    broker, gateway, setting = here.rocketmq.broker, here.stack.gateways[0], "maxLiteSubscriptionCount"
    (before,) = (await here.settings()).values()
    await broker.change(setting, "1")
    try:
        client = await sent_away(here, gateway)
        return await asked_of_one_sent_away(here, client, gateway, "broker-quota", ("QUOTA",))
    finally:
        await broker.change(setting, before[setting])


async def frozen_worker(here: WalkPlace) -> Found:
    freeze, thaw = standstill(here.stack.workers)
    return await in_mid_answer(here, here.stack.gateways[0], "dead-worker", freeze, thaw, speaks=True)


async def frozen_gateway(here: WalkPlace) -> Found:
    gateway = here.stack.gateways[0]
    freeze, thaw = standstill([gateway])
    return await in_mid_answer(here, gateway, "frozen-gateway", freeze, thaw, seen=True)


async def workers_cut_off(here: WalkPlace) -> Found:
    async def cut(_: Caller) -> None:
        await here.workers_link.cut("black-hole")

    gateway, mend = here.stack.gateways[0], here.workers_link.mend
    return await in_mid_answer(here, gateway, "lagging-partition", cut, mend, speaks=True)


async def wrong_owner(here: WalkPlace) -> Found:
    """Gateway 2 is cut off, and what it has is taken over in the name of gateway 1."""
    async with usurper(here, here.stack.gateways[1].name) as channel:

        async def usurp(caller: Caller) -> None:
            await here.link.cut("black-hole")
            await channel.take_over(caller.session_id, 0)

        linked, mend = here.stack.gateways[2], here.link.mend
        return await in_mid_answer(here, linked, "wrong-owner", usurp, mend, after=SOON_AFTER)


async def cut_link(here: WalkPlace) -> Found:
    async def cut(_: Caller) -> None:
        await here.link.cut("black-hole")

    return await in_mid_answer(here, here.stack.gateways[2], "link-cut", cut, here.link.mend)


async def killed_gateway(here: WalkPlace) -> Found:
    """Its client leaves, and nobody comes back."""
    gateway = here.stack.gateways[1]
    async with calling(here, gateway, acknowledged=False) as caller:
        await begun_to_answer(caller)
        await looked(here)
        gateway.kill()
        here.forget_pod(gateway.name)
    await asyncio.sleep(3)
    return await asked(here, caller, "orphan", gone=True)


async def killed_workers(here: WalkPlace) -> Found:
    async def kill(_: Caller) -> None:
        for worker in here.stack.workers:
            worker.kill()

    return await in_mid_answer(here, here.stack.gateways[0], "dead-worker", kill, nothing, speaks=True)


async def clock_off(here: WalkPlace) -> Found:
    """The workers are replaced by some whose clocks are ahead of everybody's."""
    stack = here.stack
    async with calling(here, stack.gateways[0]) as caller:
        stack.clocks_ahead = {worker.name: AHEAD_SECONDS for worker in stack.workers}
        for worker in list(stack.workers):
            worker.kill()
            stack.replace_worker(worker)
        await asyncio.gather(*(worker.wait_ready() for worker in stack.workers))
        await caller.call.ask(await speak(QUESTION))
        return await asked(here, caller, "clock-off", words=("s ahead of",))


async def nothing() -> None: ...


async def looked(here: WalkPlace) -> None:
    """As a console does, or an alert for turns, all the time."""
    await litevoice(here, "sessions")


def standstill(members: Sequence[Member]) -> tuple[Strike, Mend]:
    async def freeze(_: Caller) -> None:
        for member in members:
            member.freeze()

    async def thaw() -> None:
        for member in members:
            member.thaw()

    return freeze, thaw


@contextlib.asynccontextmanager
async def usurper(here: WalkPlace, pod: str) -> AsyncIterator[LiteChannel]:
    """Takes LiteTopics over in the name of another pod, and what is in them."""
    names, admin = here.stack.names, Admin(here.rocketmq.name_server)
    config = BrokerConfig(here.rocketmq.endpoints, ClientId.new(pod, HOST, "gateway"))
    options: dict[str, Any] = {"on_delivery": lambda _: None, "on_evicted": lambda _: None, "admin": admin}
    channel = LiteChannel(config, names.reply_topic, names.gateway_group, **options)
    try:
        await channel.start()
        await channel.wait_ready(60)
        yield channel
    finally:
        await channel.close()
        await admin.close()


async def begun_to_answer(caller: Caller) -> None:
    """At length."""
    await caller.call.microphone.say(await speak(LONG_QUESTION))
    await caller.call.wait_for(lambda: any("audio.delta" in h.type for h in caller.call.heard), 60, "audio")


async def in_mid_answer(
    here: WalkPlace,
    gateway: Member,
    cause: Cause,
    strike: Strike,
    mend: Mend,
    *,
    speaks: bool = False,
    seen: bool = False,
    after: float = QUIET_AFTER,
) -> Found:
    """A caller who is answered at length when `strike` happens, or who `speaks` after it. `seen`: somebody has looked
    before. Asked after `after` seconds; it is over when the gateway is ready again."""
    async with calling(here, gateway) as caller:
        if not speaks:
            await begun_to_answer(caller)
        if seen:
            await looked(here)
        try:
            await strike(caller)
            if speaks:
                await caller.call.microphone.say(await speak(QUESTION))
            await asyncio.sleep(after)
            return await asked(here, caller, cause)
        finally:
            await mend()
            await gateway.wait_ready()


SIDE_BY_SIDE: dict[str, Plant] = {
    **{f"{speed} model: {short}": model(speed, short) for short in STAGES.values() for speed in ("slow", "stuck")},
    "wrong key: respond": failing(WRONG_KEY, "(respond)", "/locked/v1 (m)", "status 401"),
    "failing model: tts": failing(FAILING, "(tts)", "/0/v1 (m)", "status 503"),
    "muted device": silent,
    "slow reader": slow_reader,
    "none": well,
}
ONE_BY_ONE: dict[str, Plant] = {
    "full pod": full_pod,
    "broker quota": broker_quota,
    "frozen worker": frozen_worker,
    "frozen gateway": frozen_gateway,
    "workers cut off": workers_cut_off,
    "wrong owner": wrong_owner,
    "cut link": cut_link,
    "killed gateway": killed_gateway,
    "killed workers": killed_workers,
    "clock off": clock_off,
}
"""In this order: who was killed does not come back."""
