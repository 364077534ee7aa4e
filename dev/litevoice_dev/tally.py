"""Compares what was sent with what arrived, position by position. Pure; the figures of the demo and of the tests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from litevoice_contracts.positions import LAST_PART, EventId

MAX_IN_FLIGHT_PACKETS = 100
"""2 s of audio: more than a gateway collects, and a busy broker takes to confirm, before a connection is cut."""


@dataclass(frozen=True, slots=True)
class Tally:
    """Expected and arrived count distinct things; the others name them.

    Attributes:
        lost: what should have arrived and did not, but for `in_flight`.
        in_flight: what did not arrive because it was under way when a connection was cut (see `cut`).
    """

    what: str
    expected: int
    arrived: int
    lost: list[int] = field(default_factory=list)
    duplicated: list[int] = field(default_factory=list)
    reordered: list[int] = field(default_factory=list)
    in_flight: list[int] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Nothing is wrong. What was under way when a connection was cut is a limit of the protocol."""
        return self.expected > 0 and not (self.lost or self.duplicated or self.reordered)

    def __str__(self) -> str:
        return (
            f"{self.what}: {self.expected} sent, {self.arrived} arrived, {len(self.lost)} lost, "
            f"{len(self.in_flight)} lost in flight, {len(self.duplicated)} duplicated, {len(self.reordered)} reordered"
        )

    def cut(self, sent_before: int, sent_after: int) -> Tally:
        """The same, with what was in flight when a connection was cut told from what is lost.

        It is one run of numbers up to the last that went into that connection: packets go to the broker in order, so a
        hole with something behind it that arrived is another kind of loss.

        Args:
            sent_before: how many had been sent when the connection was cut.
            sent_after: how many when the caller noticed; the next one may have been on its way already.
        """
        run: list[int] = []
        for number in reversed(self.lost):
            follows = number == run[0] - 1 if run else sent_after - 1 <= number <= sent_after
            if follows and number >= sent_before - MAX_IN_FLIGHT_PACKETS:
                run.insert(0, number)
        return replace(self, lost=[number for number in self.lost if number not in run], in_flight=run)


def tally(what: str, expected: Iterable[int], arrived: Sequence[int]) -> Tally:
    """`expected`: the numbers that must arrive, once each and ascending; `arrived`: the numbers as they came."""
    wanted, counts = sorted(set(expected)), Counter(arrived)
    highest, reordered = -1, []
    for number in arrived:
        if number < highest and counts[number] == 1:
            reordered.append(number)
        highest = max(highest, number)
    return Tally(
        what=what,
        expected=len(wanted),
        arrived=len(counts),
        lost=[n for n in wanted if n not in counts],
        duplicated=sorted(n for n, count in counts.items() if count > 1),
        reordered=reordered,
    )


def tally_packets(sent: int, messages: Iterable[Mapping[str, Any]], session_id: str) -> Tally:
    """`messages`: lines of `audit requests`. A packet that comes again under its own (epoch, seq) is a replay on
    purpose, and one whose client's own number was there before is sent again on purpose: workers apply both once. The
    same audio under other numbers is a duplicate.

    The order that counts is the workers': a replay begins anew where its first packet was, so what a former gateway has
    left late comes before what followed it. Of a message behind a gap of its epoch workers take nothing. What a former
    gateway sends itself, behind its successor, is heard only if that is still held back, so its order says nothing;
    whether it was heard, answers tell.
    """
    seen: set[tuple[int, int]] = set()
    following: dict[int, int] = {}
    marks: list[int] = []
    order: dict[tuple[int, int], tuple[int, int]] = {}
    newest, heard, attempt, epoch = -1, -1, 0, -1
    for message in messages:
        if message.get("session") != session_id:
            continue
        snapshot = message.get("snapshot", True)
        expected = following.setdefault(message["epoch"], message["seq"])
        if message["seq"] > expected and not snapshot:
            continue
        following[message["epoch"]] = max(message["seq"] + len(message["marks"]), expected)
        if message["attempt"] > attempt and snapshot:
            attempt, epoch = message["attempt"], message["epoch"]
            order = {key: kept for key, kept in order.items() if key < (epoch, message["seq"])}
            heard = max((number for _, number in order.values()), default=-1)
        late = message["epoch"] < epoch
        if message["marks"]:
            epoch = max(epoch, message["epoch"])
        numbers = message.get("client_seqs") or [None] * len(message["marks"])
        for seq, (mark, number) in enumerate(zip(message["marks"], numbers, strict=True), message["seq"]):
            key = message["epoch"], seq
            if mark is not None and key not in seen and not _sent_before(number, newest):
                marks.append(mark)
            if mark is not None and not late and key not in order and not _sent_before(number, heard):
                order[key] = mark, number or -1
                heard = max(heard, number or -1)
            seen.add(key)
            newest = max(newest, number or -1)
    result = tally("audio packets, client → broker", range(sent), marks)
    return replace(result, reordered=tally("", (), [mark for mark, _ in order.values()]).reordered)


def _sent_before(number: int | None, newest: int) -> bool:
    """The client's own number says that the packet is sent again; None: it has none."""
    return number is not None and number <= newest


def tally_events(heard_ids: Iterable[str], log: Sequence[Mapping[str, Any]]) -> Tally:
    """`heard_ids`: event ids as the client got them; `log`: lines of `audit replies`, in order.

    Positions of the log that hold something for the client must come once each and in order, and the parts of each
    position without a hole. What a worker still said of a turn that was begun again is not for the client.
    """
    parts = [event for event in map(EventId.parse, heard_ids) if event.part != LAST_PART]
    keys = [event.position * LAST_PART + event.part for event in parts]
    count = Counter(event.position for event in set(parts))
    overtaken = _overtaken(log)
    expected = [
        line["position"] * LAST_PART + part
        for line in log
        if line["visible"] and line["position"] not in overtaken
        for part in range(max(1, count[line["position"]]))
    ]
    return tally("events, broker → client", expected, keys)


def _overtaken(log: Sequence[Mapping[str, Any]]) -> set[int]:
    """Positions of an attempt that a question, earlier in the log, has ended: who reads the log drops them."""
    attempt, overtaken = 0, set()
    for line in log:
        if line["attempt"] < attempt:
            overtaken.add(line["position"])
        elif not line["repeated"] and not {"Displaced", "EpochRejected", "Handover"} & set(line["types"]):
            attempt = line["attempt"] + ("TurnReplay" in line["types"])
    return overtaken
