"""How results look: plain text that reads without colour."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from litevoice_dev.tally import Tally
from litevoice_operator.api.backlog_alert import Culprit

IN_FLIGHT = (
    "lost in flight: {count} audio packets ({milliseconds} ms) were between a caller and the broker when its gateway "
    "was killed.\n  That caller does without acknowledgements; who asks for them sends these packets again "
    "(docs/clients.md)."
)
_PACKET_MILLISECONDS = 20


def show(text: str) -> None:
    """A line of results, on standard output at once."""
    print(text, flush=True)


def heading(text: str) -> None:
    show(f"\n━━ {text}")


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines with aligned columns: texts to the left, numbers to the right. The first row holds the names."""
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    numeric = [all(row[index].isdigit() for row in rows[1:]) for index in range(len(rows[0]))]
    return [
        "  ".join(
            text.rjust(width) if right else text.ljust(width)
            for text, width, right in zip(row, widths, numeric, strict=True)
        ).rstrip()
        for row in rows
    ]


def tally_table(tallies: Sequence[Tally]) -> list[str]:
    """One line each, with a mark; the column of what was lost in flight only where there is any."""
    cut = any(tally.in_flight for tally in tallies)
    rows = [["", "", "sent", "arrived", "lost", *(["lost in flight"] if cut else []), "doubled", "reordered"]]
    for tally in tallies:
        counts = [tally.expected, tally.arrived, len(tally.lost), *([len(tally.in_flight)] if cut else [])]
        counts += [len(tally.duplicated), len(tally.reordered)]
        rows.append(["✔" if tally.clean else "✘", tally.what, *map(str, counts)])
    return columns(rows)


def backlog_table(top: Sequence[Culprit]) -> list[str]:
    """What a BacklogAlert lists: who waits for what, where. The node only where there are nodes."""
    nodes = any(culprit.node for culprit in top)
    rows = [["session", "backlog", "oldest", "gateway", *(["node"] if nodes else []), "client"]]
    for culprit in top:
        rows.append(
            [
                culprit.session or f"(partition {culprit.partition})",
                str(culprit.backlog),
                f"{culprit.age_seconds} s",
                culprit.pod,
                *([culprit.node] if nodes else []),
                culprit.client,
            ]
        )
    return columns(rows)


def verdict(tallies: Sequence[Tally], problems: Iterable[str] = ()) -> bool:
    """Shows both; whether all is well."""
    problems = list(problems)
    for line in tally_table(tallies):
        show(f"  {line}")
    for tally in tallies:
        if count := len(tally.in_flight):
            show("  " + IN_FLIGHT.format(count=count, milliseconds=count * _PACKET_MILLISECONDS))
    for problem in problems:
        show(f"  ✘ {problem}")
    return all(tally.clean for tally in tallies) and not problems
