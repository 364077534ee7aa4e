"""Judges what was recorded: each packet and event of a call beside the broker's log and an undisturbed call. Pure."""

from __future__ import annotations

import bisect
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from litevoice_dev.chaos.records import OUR_PARTS, Answer, Asked, Call, Cut, Happened, Owners, Use
from litevoice_dev.tally import Tally, tally_events, tally_packets

OWNERS_SECONDS = 5.0
"""A takeover is seen from both sides for a moment: two owners are two for longer than this."""
_HIDDEN_SECONDS = 10.0
"""A connection may be dead for that long before the caller notices: it asks with pings."""
QUESTION_SECONDS = 10.0
"""A question takes no longer to be said."""
MORE_MEMORY, MORE_MEMORY_MEBIBYTES = 1.3, 40.0
MORE_DESCRIPTORS = 24
"""Per part: caches fill, and connections are kept for a while."""

Line = Mapping[str, Any]
"""What an audit says of one message (see audit.py)."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What must not be. `what`: ``lost``, ``doubled``, ``reordered``, ``answer``, ``events``, ``missing``,
    ``computed twice``, ``second owner``, ``told``, ``growth``."""

    what: str
    where: str
    detail: str

    def __str__(self) -> str:
        return f"{self.what}: {self.where}: {self.detail}"


@dataclass(slots=True)
class Judged:
    """One call, or all of them added up.

    Attributes:
        in_flight: audio packets of callers without acknowledgements that were lost between them and the broker when a
            connection was cut.
        answers: how many were compared with the control's; `spoiled`: left out, as audio of the question was in flight.
        resent: client events that were sent again, unconfirmed, after a lost connection.
        with_both: questions that were told as failed, and whose gateway and worker were struck at a time: what the one
            has left, and what the other had, is gone (docs/limits.md).
    """

    packets: int = 0
    events: int = 0
    in_flight: int = 0
    answers: int = 0
    spoiled: int = 0
    resent: int = 0
    with_both: int = 0
    findings: list[Finding] = field(default_factory=list)

    def add(self, other: Judged) -> None:
        self.packets += other.packets
        self.events += other.events
        self.in_flight += other.in_flight
        self.answers += other.answers
        self.spoiled += other.spoiled
        self.resent += other.resent
        self.with_both += other.with_both
        self.findings += other.findings


def judge_call(
    call: Call, control: Call, requests: Sequence[Line], log: Sequence[Line], faults: Sequence[Happened] = ()
) -> Judged:
    """One call against everything.

    Args:
        control: an undisturbed call by the same script.
        requests: what went up, in order, at least of this session (lines of ``audit requests``).
        log: everything that the session's LiteTopic holds (lines of ``audit replies``).
        faults: excuse losses in flight from the moment when a fault began, not from when the caller noticed.
    """
    judged = Judged(resent=sum(asked.resent for asked in call.asked))
    packets = tally_packets(call.sent, requests, call.session_id)
    in_flight = set() if call.acknowledged else lost_in_flight(packets.lost, call, faults)
    judged.packets, judged.in_flight = packets.expected, len(in_flight)
    left = [number for number in packets.lost if number not in in_flight]
    heard = [seen.event_id for seen in call.seen]
    last = max((position for position in map(_position, heard) if position is not None), default=-1)
    events = tally_events(heard, [line for line in log if line["position"] <= last])
    judged.events = events.expected
    where = f"caller {call.caller}, session {call.session_id}"
    judged.findings += _of_tally(packets, left, where) + _of_tally(events, events.lost, where)
    judged.findings += [Finding("told", where, problem) for problem in call.problems]
    judged.findings += computed_twice(log, where) + two_workers(log, where)
    excused = False
    for number, asked in enumerate(call.asked):
        spoiled = any(asked.first_mark <= mark <= asked.last_mark for mark in in_flight)
        judged.spoiled += spoiled
        given_up = bool(call.gave_up) and asked.done_at is None
        excused |= spoiled and given_up
        if not spoiled and not given_up and len(control.asked) > number:
            judged.answers += 1
            if _told_as_failed(call, number) and _both_were_struck(asked, faults):
                judged.with_both += 1
            else:
                judged.findings += _compare(call, control, number, asked, where)
    if call.gave_up and not excused:
        judged.findings.append(Finding("missing", where, call.gave_up))
    return judged


def lost_in_flight(lost: Sequence[int], call: Call, faults: Sequence[Happened]) -> set[int]:
    """Of the packets that did not arrive, those that went into a connection which ended without a goodbye, after a
    fault began: one run up to the last that it took. The protocol has no acknowledgement for them."""
    found: set[int] = set()
    for cut in call.cuts:
        if cut.planned:
            continue
        earliest = bisect.bisect_left(call.sent_at, _unsafe_since(cut, faults))
        run: list[int] = []
        for number in reversed(lost):
            follows = number == run[0] - 1 if run else cut.sent - 1 <= number <= cut.sent
            if follows and number >= earliest - 1:
                run.insert(0, number)
        found.update(run)
    return found


def _unsafe_since(cut: Cut, faults: Sequence[Happened]) -> float:
    """From when on what was sent into the connection may have been swallowed."""
    began = [fault.began for fault in faults if fault.began <= cut.at <= fault.back_at + _HIDDEN_SECONDS]
    return min(began, default=cut.at) - 2.0  # what a gateway collects and a busy broker takes to confirm


def _position(event_id: str) -> int | None:
    middle = event_id.split("_")[1:2]
    return int(middle[0]) if middle and middle[0].isdigit() else None


def _of_tally(tally: Tally, lost: Sequence[int], where: str) -> list[Finding]:
    return [
        Finding(what, where, f"{tally.what}: {len(numbers)}: {_some(numbers)}")
        for what, numbers in (("lost", lost), ("doubled", tally.duplicated), ("reordered", tally.reordered))
        if numbers
    ]


def _some(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers[:8])) + (" …" if len(numbers) > 8 else "")


def computed_twice(log: Sequence[Line], where: str) -> list[Finding]:
    """Turns whose log holds the end of an answer twice: a finished turn was run again, and a model call paid twice."""
    ends: Counter[int] = Counter()
    attempts: defaultdict[int, set[int]] = defaultdict(set)
    for line in log:
        times = 0 if line["repeated"] else line["types"].count("ResponseFinished")
        if times:
            ends[line["turn"]] += times
            attempts[line["turn"]].add(line["attempt"])
    return [
        Finding("computed twice", where, f"turn {turn} ended {times} times, in attempts {sorted(attempts[turn])}")
        for turn, times in sorted(ends.items())
        if times > 1
    ]


def two_workers(log: Sequence[Line], where: str) -> list[Finding]:
    """Turns that two workers published at once: an attempt of two, or one that went on after the next had begun.

    A worker has one message of a session on its way, so one may come late; what it then says is for nobody. Between two
    answers, what is said belongs to the last turn: whoever has the session by then says it, after a handover or a cut.
    But who has left it says nothing more, unless it is handed over again.
    """
    senders: dict[tuple[int, int], int] = {}
    left: set[tuple[tuple[int, int], int]] = set()
    under_way: set[tuple[int, int]] = set()
    newest: dict[int, int] = {}
    late: Counter[tuple[int, int]] = Counter()
    shared: set[tuple[int, int]] = set()
    for line in log:
        if "Handover" in line["types"]:
            senders = {attempt: sender for attempt, sender in senders.items() if attempt in under_way}
            left.clear()
        if not line["visible"]:
            continue
        attempt = (line["turn"], line["attempt"])
        if "ResponseStarted" in line["types"]:
            under_way.add(attempt)
        if "ResponseFinished" in line["types"]:
            under_way.discard(attempt)
        if line["attempt"] < newest.setdefault(line["turn"], line["attempt"]):
            late[attempt] += 1
        newest[line["turn"]] = max(newest[line["turn"]], line["attempt"])
        if (sender := senders.setdefault(attempt, line["sender"])) != line["sender"]:
            if attempt in under_way or (attempt, line["sender"]) in left:
                shared.add(attempt)
            left.add((attempt, sender))
            senders[attempt] = line["sender"]
    return [
        Finding("second owner", where, f"turn {turn}, attempt {attempt}: said by two workers")
        for turn, attempt in sorted(shared)
    ] + [
        Finding("second owner", where, f"turn {turn}, attempt {attempt}: {count} messages after the next one had begun")
        for (turn, attempt), count in sorted(late.items())
        if count > 1
    ]


def _compare(call: Call, control: Call, number: int, asked: Asked, where: str) -> list[Finding]:
    """The answer to one question beside the control's: text, status and audio, to the byte."""
    answers, wanted = call.answer_to(number), control.answer_to(number)
    whole = [answer for answer in answers if answer.status]
    if not whole:
        return [Finding("missing", where, f"no answer to question {number}")]
    if len(whole) > 1 and not asked.resent:
        return [Finding("doubled", where, f"{len(whole)} answers to question {number}")]
    if not wanted or _content(whole[0]) != _content(wanted[0]):
        control_text = wanted[0].text if wanted else ""
        return [
            Finding("answer", where, f"question {number}: {whole[0].status} {whole[0].text!r}, not {control_text!r}")
        ]
    usual = control.asked[number].heard
    if asked.heard != usual and not asked.resent:
        return [Finding("events", where, f"question {number}: {', '.join(asked.heard)}; not {', '.join(usual)}")]
    return []


def _told_as_failed(call: Call, number: int) -> bool:
    return [answer.status for answer in call.answer_to(number) if answer.status] == ["failed"]


def _both_were_struck(asked: Asked, faults: Sequence[Happened]) -> bool:
    """A gateway and a worker, while the question was said or its answer was due."""
    until = asked.asked_at if asked.done_at is None else asked.done_at
    struck = {
        fault.kind.partition("-")[0]
        for fault in faults
        if fault.began <= until and fault.back_at >= asked.asked_at - QUESTION_SECONDS and fault.kind != "gateway-drain"
    }
    return {"gateway", "worker"} <= struck


def _content(answer: Answer) -> tuple[str, str, str]:
    return answer.status, answer.text, answer.audio


def second_owners(samples: Sequence[Owners], partitions: int) -> list[Finding]:
    """Sessions that two gateways hold, and partitions beyond their number that workers own, for OWNERS_SECONDS."""
    found: list[Finding] = []
    since: dict[str, float] = {}
    told: set[str] = set()
    for sample in samples:
        holders: defaultdict[str, list[str]] = defaultdict(list)
        for gateway, sessions in sample.gateways.items():
            for session in sessions:
                holders[session].append(gateway)
        now = {f"session {session}": sorted(names) for session, names in holders.items() if len(names) > 1}
        if sum(sample.workers.values()) > partitions:
            now["partitions"] = [f"{name} {owned}" for name, owned in sorted(sample.workers.items())]
        since = {what: since.get(what, sample.at) for what in now}
        for what, began in since.items():
            if sample.at - began >= OWNERS_SECONDS and what not in told:
                told.add(what)
                found.append(Finding("second owner", what, f"{' and '.join(now[what])} for {sample.at - began:.0f} s"))
    return found


def split(homes: Mapping[str, Mapping[str, int]]) -> list[Finding]:
    """LiteTopics that have messages on several brokers: each counts positions of its own, so messages of one of them
    are taken for repetitions. `homes`: session → broker → messages."""
    return [
        Finding("lost", f"session {session}", f"its log stands on several brokers, messages: {dict(brokers)}")
        for session, brokers in homes.items()
        if len(brokers) > 1
    ]


def growth(before: Use, after: Use, *, subscriptions: int) -> list[Finding]:
    """What has grown for good. `subscriptions`: how many there may be now that all calls are over."""
    found = [
        Finding("growth", part, f"{before.memory[part]:.0f} MiB before, {now:.0f} MiB after")
        for part, now in after.memory.items()
        if part in OUR_PARTS and now > before.memory[part] * MORE_MEMORY + MORE_MEMORY_MEBIBYTES
    ]
    found += [
        Finding("growth", part, f"{before.descriptors[part]} file descriptors before, {now} after")
        for part, now in after.descriptors.items()
        if part in before.descriptors and now > before.descriptors[part] + MORE_DESCRIPTORS
    ]
    if after.subscriptions < 0:
        found.append(Finding("growth", "subscriptions", "a broker does not answer"))
    if after.subscriptions > subscriptions:
        found.append(
            Finding("growth", "subscriptions", f"{after.subscriptions}, at most {subscriptions} have a reason")
        )
    return found


def total(judged: Iterable[Judged]) -> Judged:
    everything = Judged()
    for one in judged:
        everything.add(one)
    return everything
