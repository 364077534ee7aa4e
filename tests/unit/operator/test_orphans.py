"""What brokers and gateways say of all LiteTopics → those without an owner, or with the wrong one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from random import Random
from typing import Any, cast

import pytest

import litevoice_broker.cluster
from litevoice_broker.config import AdminAccess
from litevoice_broker.remoting import Answer
from litevoice_contracts.control import Holdings
from litevoice_contracts.names import ClientId, Names
from litevoice_operator.adapters.broker import Broker, Installed
from litevoice_operator.decide.orphans import Facts, Finding, confirmed, faults, pod_of
from litevoice_operator.observe.backlogs import Load
from litevoice_operator.observe.pods import Pod
from litevoice_operator.reconcile import backlogs as backlogs_module
from litevoice_operator.reconcile import orphans as shell
from litevoice_operator.reconcile.backlogs import Backlogs
from litevoice_operator.reconcile.pod_cache import PodCache
from tests.simulation.loop import VirtualLoop
from tests.simulation.model.broker import ModelBroker
from tests.simulation.model.network import Network
from tests.simulation.model.remoting import ModelRemoting, ModelRemotingClient
from tests.simulation.seeded import seeded


def client(pod: str, nonce: str = "0000") -> str:
    return str(ClientId(pod, "10.0.0.1", "gateway", nonce))


A, B, GONE, FORMER_A = client("gateway-a"), client("gateway-b"), client("gateway-x"), client("gateway-a", "ffff")


def facts(
    *,
    a: Holdings | None = None,
    b: Holdings | None = None,
    waiting: dict[str, tuple[int, int]] | None = None,
    listed: dict[str, list[str]] | None = None,
    silent: tuple[str, ...] = (),
) -> Facts:
    """Two gateways; without holdings they answer that they have nothing, unless they are `silent`."""
    answers = {"gateway-a": a or Holdings([A], [], []), "gateway-b": b or Holdings([B], [], [])}
    return Facts(
        gateways={"gateway-a", "gateway-b"},
        answers={pod: answer for pod, answer in answers.items() if pod not in silent},
        silent=silent,
        waiting={name: Load(name, backlog, age) for name, (backlog, age) in (waiting or {}).items()},
        subscribers=listed or {},
    )


SERVES = Holdings([A], ["s_1"], [])


@pytest.mark.parametrize(
    ("seen", "fault", "holding", "pod"),
    [
        pytest.param(facts(a=SERVES, listed={"s_1": [A]}), None, "", "", id="as it should be"),
        pytest.param(facts(a=SERVES, listed={"s_1": [A]}, waiting={"s_1": (9, 30)}), None, "", "", id="slow reader"),
        pytest.param(facts(a=SERVES), None, "", "", id="served, and the broker was not asked"),
        pytest.param(facts(listed={"s_1": []}), None, "", "", id="it has left, and nothing waits"),
        pytest.param(
            facts(waiting={"s_1": (9, 30)}, listed={"s_1": []}), "orphan", "left", "", id="nobody has it"
        ),
        pytest.param(facts(waiting={"s_1": (9, 30)}), None, "", "", id="nobody has it, but the broker was not asked"),
        pytest.param(
            facts(waiting={"s_1": (9, 30)}, listed={"s_1": []}, silent=("gateway-b",)),
            "owner-unknown", "unknown", "", id="nobody answered is not: it has left",
        ),
        pytest.param(facts(listed={"s_1": []}, silent=("gateway-b",)), None, "", "", id="silent, but nothing waits"),
        pytest.param(
            facts(listed={"s_1": [B]}, silent=("gateway-b",)), "owner-unknown", "unknown", "gateway-b",
            id="its owner hangs",
        ),
        pytest.param(
            facts(listed={"s_1": [GONE]}, waiting={"s_1": (9, 30)}), "stale-subscription", "left", "gateway-x",
            id="its owner was killed",
        ),
        pytest.param(
            facts(listed={"s_1": [FORMER_A]}), "stale-subscription", "left", "gateway-a", id="its owner was restarted"
        ),
        pytest.param(
            facts(listed={"s_1": ["somebody"]}), "stale-subscription", "left", "somebody", id="not even a gateway"
        ),
        pytest.param(
            facts(a=SERVES, listed={"s_1": [A, GONE]}), "stale-subscription", "held", "gateway-a",
            id="somebody who is gone is listed beside its owner",
        ),
        pytest.param(facts(listed={"s_1": [B]}), "wrong-owner", "left", "gateway-b", id="its owner does not know it"),
        pytest.param(
            facts(b=Holdings([B], [], ["s_1"]), listed={"s_1": [B]}, waiting={"s_1": (2, 1)}), None, "", "",
            id="what comes for one that has left is still taken",
        ),
        pytest.param(
            facts(a=SERVES, listed={"s_1": [B]}), "wrong-owner", "held", "gateway-a", id="another one is listed"
        ),
        pytest.param(
            facts(a=SERVES, listed={"s_1": []}, waiting={"s_1": (2, 9)}), "lost-subscription", "held", "gateway-a",
            id="nobody is listed, and replies wait",
        ),
        pytest.param(facts(a=SERVES, listed={"s_1": []}), None, "", "", id="nobody is listed, and nothing waits"),
        pytest.param(
            facts(a=SERVES, listed={"s_1": [A, B]}), "double-owner", "held", "gateway-a", id="two are listed"
        ),
        pytest.param(
            facts(a=SERVES, b=Holdings([B], ["s_1"], []), listed={"s_1": [B]}), "double-owner", "held", "gateway-a",
            id="two serve it",
        ),
    ],
)  # fmt: skip
def test_faults(seen: Facts, fault: str | None, holding: str, pod: str) -> None:
    found = [(one.session, one.fault, one.holding, one.pod) for one in faults(seen)]
    assert found == ([("s_1", fault, holding, pod)] if fault else [])


def test_the_oldest_come_first_with_what_waits_in_them() -> None:
    seen = facts(
        waiting={"s_new": (90, 3), "s_old": (1, 600), "s_mid": (5, 60)}, listed={"s_new": [], "s_old": [], "s_mid": []}
    )
    assert [(one.session, one.backlog, one.age_seconds) for one in faults(seen)] == [
        ("s_old", 1, 600),
        ("s_mid", 5, 60),
        ("s_new", 90, 3),
    ]


def test_who_served_it_when_it_was_last_seen_had_it_last() -> None:
    seen = replace(facts(waiting={"s_1": (9, 30)}, listed={"s_1": []}), seen={"s_1": "gateway-x"})
    assert [(one.fault, one.pod, one.subscribers) for one in faults(seen)] == [("orphan", "gateway-x", ())]


def test_who_served_sessions_is_remembered_of_the_latest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backlogs_module, "MAX_SEEN", 3)
    nothing, pods, key = cast(Any, None), PodCache(), ("voice", "demo")
    pods.replace(
        key,
        [Pod("voice", "gateway-a", "1", "demo", "gateway", "node-a", "10.0.0.1", True, False, 0.0, False, "", None)],
    )
    backlogs = Backlogs(key, nothing, nothing, pods, "")
    backlogs.saw("gateway-a", {"s_1": "10.1.0.1:1", "s_2": "10.1.0.2:1", "s_3": "10.1.0.3:1"})
    backlogs.saw("gateway-b", {"s_4": "10.1.0.4:1", "s_1": ""})
    here, there = ("gateway-a", "node-a"), ("gateway-b", "")
    assert backlogs.seen == {"s_3": (*here, "10.1.0.3:1"), "s_4": (*there, "10.1.0.4:1"), "s_1": (*there, "")}
    backlogs.saw("gateway-a", {"s_3": ""})
    assert backlogs.seen["s_3"] == (*here, "10.1.0.3:1"), "who only lists ids does not say that it is another client"


def test_only_what_was_so_twice_is_told_and_as_it_was_the_second_time() -> None:
    def one(session: str, fault: Any, backlog: int) -> Finding:
        return Finding(session, fault, "left", "", (), backlog, 1)

    first = [one("s_1", "orphan", 3), one("s_2", "orphan", 3), one("s_3", "wrong-owner", 0)]
    second = [one("s_1", "orphan", 4), one("s_3", "orphan", 1), one("s_4", "orphan", 1)]
    assert confirmed(first, second) == [one("s_1", "orphan", 4)]


def test_a_pod_is_read_from_its_clients_name() -> None:
    assert (pod_of(A), pod_of("somebody")) == ("gateway-a", "somebody")


class Party:
    """The operator's connection to a model broker, in virtual time. `asked`: which admin codes, one by one."""

    names = Names("up", "down", 2)

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.loop = VirtualLoop()
        network = Network(self.loop, Random(1))
        self.broker = ModelBroker(self.loop, Random(2), self.names)
        self.lite = self.broker.lite[self.names.reply_topic]
        remoting = ModelRemoting(network, [self.broker])
        self.asked: list[int] = []
        call = ModelRemotingClient.call

        async def count(at: ModelRemotingClient, code: int, *asked: Any) -> Answer:
            self.asked.append(code)
            return await call(at, code, *asked)

        patch.setattr(ModelRemotingClient, "call", count)
        patch.setattr(litevoice_broker.cluster, "RemotingClient", lambda address, **_: remoting.client(address))

    def run(self, work: Callable[[Broker], Awaitable[Any]]) -> Any:
        async def connected() -> Any:
            broker = Broker(Installed("name-server:9876", AdminAccess()))
            await broker.use("name-server:9876", admin_tls=False)
            return await work(broker)

        with seeded(1, self.loop):
            try:
                return self.loop.run_until_complete(self.loop.create_task(connected()))
            finally:
                self.loop.abandon()


def test_of_thousands_that_wait_the_broker_is_asked_by_client(monkeypatch: pytest.MonkeyPatch) -> None:
    party = Party(monkeypatch)
    served, left = [f"s_{number}" for number in range(1000)], [f"s_gone_{number}" for number in range(1000)]
    party.lite.subscribe(A, served, None)
    party.lite.subscribe(GONE, left, None)
    party.lite.send("s_orphan", b"waits")
    waiting = {name: Load(name, 1, 1) for name in (*served, *left, "s_orphan")}

    def ask(broker: Broker) -> Awaitable[Any]:
        return shell._subscribers(broker, party.names, waiting, {"gateway-a": Holdings([A], served, [])}, [])

    found, unknown = party.run(ask)
    assert unknown == 0
    assert found == {name: [A] if name in served else [GONE] if name in left else [] for name in waiting}
    assert party.asked.count(200077) == 2
    assert party.asked.count(200076) <= 2 * shell.ASKED_AT_ONCE


def test_how_many_are_asked_about_one_by_one_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    party = Party(monkeypatch)
    monkeypatch.setattr(shell, "MAX_ASKED", 128)
    waiting = {f"s_{number}": Load(f"s_{number}", 1, number) for number in range(200)}
    found, unknown = party.run(lambda broker: shell._subscribers(broker, party.names, waiting, {}, ["s_0"]))
    assert (len(found), unknown) == (party.asked.count(200076), 200 - len(found))
    assert 128 <= len(found) < 128 + shell.ASKED_AT_ONCE
    assert {"s_0", "s_199", "s_100"} <= found.keys()
    assert "s_1" not in found


def test_what_is_in_doubt_is_asked_about_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that has claimed a LiteTopic again is missing in what the broker lists by client."""
    party = Party(monkeypatch)
    party.lite.subscribe(GONE, ["s_1"], None)
    party.lite.subscribe(A, ["s_1"], None)
    party.lite.subscribe(A, ["s_1"], 0)
    answers = {"gateway-a": Holdings([A], ["s_1"], [])}

    async def ask(broker: Broker) -> list[Any]:
        return [await shell._subscribers(broker, party.names, {}, answers, doubted) for doubted in ([], ["s_1"])]

    assert party.run(ask) == [({}, 0), ({"s_1": [A]}, 0)]
