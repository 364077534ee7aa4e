"""Which LiteTopics have no owner, or not the right one: what brokers and gateways say of all of them → faults. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from litevoice_contracts.control import Holdings
from litevoice_contracts.names import ClientId
from litevoice_contracts.operator_api import Fault, Holding
from litevoice_operator.observe.backlogs import Load


@dataclass(frozen=True, slots=True)
class Facts:
    """One look at a VoiceGateway.

    Attributes:
        gateways: pods that exist.
        answers: what those that answered have.
        silent: pods that should have answered, and did not.
        waiting: session → replies that no gateway has taken.
        subscribers: session → clients that the broker lists. Who is missing was not asked about.
        seen: session → who served it when that was last seen.
    """

    gateways: Collection[str]
    answers: Mapping[str, Holdings]
    silent: Collection[str]
    waiting: Mapping[str, Load]
    subscribers: Mapping[str, Collection[str]]
    seen: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Finding:
    """As `operator_api.OrphanRow`."""

    session: str
    fault: Fault
    holding: Holding
    pod: str
    subscribers: tuple[str, ...]
    backlog: int
    age_seconds: int


def faults(facts: Facts) -> list[Finding]:
    """The oldest first."""
    holders, leaving = _by_session(facts)
    living = {client for answer in facts.answers.values() for client in answer.clients}
    doubted = {
        session
        for session, clients in facts.subscribers.items()
        if len(clients) != 1 or not _is_served(session, next(iter(clients)), holders, facts.answers)
    }
    doubted |= facts.waiting.keys() - holders.keys()
    doubted |= {session for session, pods in holders.items() if len(pods) > 1}
    found = (_judged(session, holders.get(session, []), leaving, living, facts) for session in doubted)
    return sorted(filter(None, found), key=lambda one: (-one.age_seconds, -one.backlog, one.session))


def confirmed(first: Iterable[Finding], second: Iterable[Finding]) -> list[Finding]:
    """What was so at both looks: sessions come, move and go in between."""
    before = {(finding.session, finding.fault) for finding in first}
    return [finding for finding in second if (finding.session, finding.fault) in before]


def pod_of(client: str) -> str:
    """The client itself when no part of litevoice is called so."""
    parsed = ClientId.parse(client)
    return parsed.pod if parsed else client


def _by_session(facts: Facts) -> tuple[dict[str, list[str]], set[str]]:
    """Who serves each session, and those that somebody has not given up yet."""
    holders: dict[str, list[str]] = {}
    for pod, answer in facts.answers.items():
        for session in answer.sessions:
            holders.setdefault(session, []).append(pod)
    return holders, {session for answer in facts.answers.values() for session in answer.leaving}


def _is_served(
    session: str, client: str, holders: Mapping[str, Collection[str]], answers: Mapping[str, Holdings]
) -> bool:
    """By the one client that the broker lists: so it is with nearly all."""
    pods = holders.get(session, ())
    return any(client in answers[pod].clients for pod in pods)


def _judged(
    session: str, pods: Collection[str], leaving: Collection[str], living: Collection[str], facts: Facts
) -> Finding | None:
    load, clients = facts.waiting.get(session), facts.subscribers.get(session)
    backlog = load.backlog if load else 0
    listed = tuple(dict.fromkeys(map(pod_of, clients or ())))
    absent = [pod for pod in listed if pod in facts.gateways and pod not in facts.answers]
    holding: Holding = "held" if pods else "unknown" if facts.silent or absent else "left"
    fault: Fault | None = None
    gone = [client for client in clients or () if client not in living and pod_of(client) not in absent]
    if len(pods) > 1 or sum(client in living for client in clients or ()) > 1:
        fault = "double-owner"
    elif gone:
        fault = "stale-subscription"
    elif pods:
        if listed and not set(listed) & set(pods):
            fault = "wrong-owner"
        elif clients is not None and not listed and backlog:
            fault = "lost-subscription"
    elif absent or (holding == "unknown" and backlog and not listed):
        fault = "owner-unknown"
    elif session in leaving:
        fault = None
    elif listed:
        fault = "wrong-owner"
    elif clients is not None and backlog:
        fault = "orphan"
    if fault is None:
        return None
    age = load.age_seconds if load else 0
    had_it = next(iter([*pods, *listed]), facts.seen.get(session, ""))
    return Finding(session, fault, holding, had_it, listed, backlog, age)
