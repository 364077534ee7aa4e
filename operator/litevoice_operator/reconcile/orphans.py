"""Looks for LiteTopics without an owner, or with the wrong one: a walk over the lags, a call for each gateway and for
each of its clients, and then one for each LiteTopic that is in doubt."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from litevoice_broker.errors import BrokerError
from litevoice_contracts.control import Holdings
from litevoice_contracts.names import Names, is_gateway_id
from litevoice_operator.adapters.broker import Broker
from litevoice_operator.adapters.gateways import Gateways
from litevoice_operator.decide.orphans import Facts, Finding, confirmed, faults
from litevoice_operator.observe.backlogs import Load
from litevoice_operator.observe.pods import Pod, addresses, should_answer
from litevoice_operator.reconcile.backlogs import ASKED_WALK_FACTOR
from litevoice_operator.reconcile.shared import GatewayView

CONFIRM_SECONDS = 2.0
"""What is wrong is looked at again after so long: most takeovers and reconnects are over by then."""
BROKER_SECONDS = 5.0
MAX_ASKED = 1000
"""So many LiteTopics are asked about one by one: those that were in doubt, then those that nobody who lives is listed
for, the oldest first,"""
ASKED_AT_ONCE = 64
"""and so many at once: of clients that are gone the broker then says the rest."""


@dataclass(frozen=True, slots=True)
class Looked:
    """`findings` in a VoiceGateway; `silent`: pods that should have answered; `unseen`: what is not known, and why."""

    findings: list[Finding]
    silent: list[str]
    unseen: str = ""


async def look(view: GatewayView, names: Names, pods: list[Pod], gateways: Gateways, token: str) -> Looked:
    """Twice, if anything is wrong. `pods`: its gateways."""
    first = await _look_once(view, names, pods, gateways, token, ())
    if not first.findings:
        return first
    await asyncio.sleep(CONFIRM_SECONDS)
    doubted = [finding.session for finding in first.findings]
    second = await _look_once(view, names, pods, gateways, token, doubted)
    return Looked(confirmed(first.findings, second.findings), second.silent, second.unseen)


async def _look_once(
    view: GatewayView, names: Names, pods: list[Pod], gateways: Gateways, token: str, doubted: Sequence[str]
) -> Looked:
    """The broker is asked for lags before the gateways are: what they have not taken by then waits."""
    answers: dict[str, Holdings] = {}
    try:
        async with asyncio.timeout(BROKER_SECONDS):
            sample = await view.backlogs.look(names, "Replies", ASKED_WALK_FACTOR)
            answers = await gateways.holdings(addresses(pods), token)
            waiting = {load.session: load for load in sample.loads}
            subscribers, unasked = await _subscribers(view.backlogs.broker, names, waiting, answers, doubted)
    except (BrokerError, TimeoutError) as error:
        return Looked([], _silent(pods, answers), str(error) or f"no answer within {BROKER_SECONDS:.0f} s")
    silent = _silent(pods, answers)
    seen = {session: known.pod for session in waiting if (known := view.backlogs.seen.get(session))}
    facts = Facts(frozenset(pod.name for pod in pods), answers, silent, waiting, subscribers, seen)
    findings = await asyncio.to_thread(faults, facts)
    for pod, answer in answers.items():
        view.backlogs.saw(pod, dict.fromkeys(answer.sessions, ""))
    more = f"{unasked} more LiteTopics wait that no gateway is listed for: these are the oldest" if unasked else ""
    return Looked(findings, silent, more)


async def _subscribers(
    broker: Broker,
    names: Names,
    waiting: Mapping[str, Load],
    answers: Mapping[str, Holdings],
    doubted: Sequence[str],
) -> tuple[dict[str, list[str]], int]:
    """Session → clients that the broker lists, and of how many sessions that is not known. What it lists by client is
    not all: an evicted one, or one that has claimed a LiteTopic again, may miss or be too many for a moment. `doubted`
    are asked about one by one."""
    found: dict[str, list[str]] = {}

    async def take(clients: list[tuple[int, str]]) -> None:
        for client, listed in (await broker.subscribed(names, clients)).items():
            for session in listed:
                if not is_gateway_id(session) and client not in (already := found.setdefault(session, [])):
                    already.append(client)

    known = [(number, client) for answer in answers.values() for number, client in enumerate(answer.clients)]
    await take(known)
    oldest = sorted(waiting.values(), key=lambda load: (-load.age_seconds, -load.backlog, load.session))
    doubts, asked = list(doubted[:MAX_ASKED]), 0
    while asked < MAX_ASKED:
        batch = doubts or [load.session for load in oldest if load.session not in found]
        batch, doubts = batch[:ASKED_AT_ONCE], doubts[ASKED_AT_ONCE:]
        if not batch:
            break
        asked += len(batch)
        answered = await broker.subscribers(names, batch)
        found |= answered
        new = {(names.broker_of(session), client) for session, clients in answered.items() for client in clients}
        await take(sorted(new.difference(known)))
        known += new
        found |= answered  # of these, more is known than a client's list
    return found, sum(load.session not in found for load in oldest)


def _silent(pods: list[Pod], answers: Mapping[str, Holdings]) -> list[str]:
    return sorted(pod.name for pod in pods if pod.name not in answers and should_answer(pod))
