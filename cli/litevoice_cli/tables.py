"""Answers of the operator as text for people. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from litevoice_contracts.operator_api import (
    ActAnswer,
    Diagnoses,
    DrainPage,
    OrphanPage,
    PartitionPage,
    SessionPage,
    SessionReport,
)

MARKS = {"ok": "ok", "warning": "WARNING", "error": "ERROR"}


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """One line per row under the columns' names."""
    lines = [columns, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(columns))]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def sessions(page: SessionPage) -> str:
    """The listed ones, how many more there are, and who did not answer."""
    columns = ("SESSION", "GATEWAY", "POD", "CLIENT", "PRINCIPAL", "AGE", "STAGE", "STALLED", "BACKLOG", "PARTITION")
    rows = [
        (
            row.session.session_id,
            f"{row.namespace}/{row.gateway}",
            row.pod,
            row.session.client,
            row.session.principal,
            seconds(row.session.age_seconds),
            row.session.stage if row.session.reading else "not reading",
            seconds(row.session.stalled_seconds) if row.session.stalled_seconds >= 1 else "-",
            str(row.session.pending_requests),
            str(row.session.partition),
        )
        for row in page.sessions
    ]
    text = table(columns, rows) if rows else "no session matches"
    refused = [
        f"refused {ago(row.refused.seconds, '')}: {row.refused.client} ({row.refused.principal}) by {row.pod} on "
        f"{row.node or '?'}: {row.refused.cause}: {row.refused.says}"
        for row in page.refused
    ]
    more = [f"{len(rows)} of {page.total}; next page: --offset {page.next}"] if page.next >= 0 else []
    silent = [f"did not answer: {', '.join(page.silent)}; their sessions are missing here"] if page.silent else []
    silent += [
        f"last seen there: {row.session_id} of {row.client}, at {row.pod} on {row.node or '?'}"
        for row in page.at_silent
    ]
    return "\n".join([text, *more, *refused, *silent])


def why(report: SessionReport) -> str:
    """The verdict first, then what it stands on, then what to do."""
    session, worker = report.session, report.worker_session
    facts = [("session", report.session_id), ("voicegateway", f"{report.namespace}/{report.gateway}")]
    facts += [("owner", _owner(report))]
    if report.last_pod:
        facts += [("last at", f"{report.last_pod} on {report.last_node or '?'}, of {report.last_client or '?'}")]
    if session is not None:
        facts += [
            ("client", f"{session.client} ({session.principal}), for {seconds(session.age_seconds)}"),
            ("stage", _stage(report)),
            ("last reply", ago(session.last_reply_seconds, "none yet")),
            ("last from client", ago(session.silent_seconds, "")),
            ("backlog", _backlog(report)),
        ]
    partition = f"{report.partition}, held by {', '.join(report.holders) or 'nobody'}"
    waits = f"; {report.partition_backlog} messages wait, the oldest {seconds(report.partition_age_seconds)}"
    facts += [("partition", partition + (waits if report.partition_backlog > 0 else ""))]
    if report.worker:
        answers = {True: "answers", False: "DOES NOT ANSWER", None: "not asked"}[report.worker_answers]
        facts += [("worker", f"{report.worker} on {report.worker_node or '?'}, {answers}")]
    if worker is not None:
        waiting = f", {worker.queued_packets} packets wait" if worker.queued_packets else ""
        facts += [
            ("worker's stage", f"{worker.stage} for {seconds(worker.stage_seconds)}, turn {worker.turn}{waiting}")
        ]
        if worker.endpoint:
            facts += [("model endpoint", f"{worker.endpoint}, request {worker.tries}")]
        if worker.failed_endpoint:
            facts += [("failed before", f"{worker.failed_endpoint}: {worker.failed_says}")]
        if (failure := worker.failure) is not None:
            to_blame = f"{failure.endpoint}: " if failure.endpoint else ""
            facts += [("last failure", f"{failure.stage}, {ago(failure.seconds, '')}: {to_blame}{failure.says}")]
    if session is not None:
        facts += [("history", f"turn {session.turn}, {session.replays} replays, next position {session.next_position}")]
    if report.broker_error:
        facts += [("broker", f"DOES NOT ANSWER: {report.broker_error}")]
    if report.silent:
        facts += [("silent gateways", ", ".join(report.silent))]
    width = max(len(name) for name, _ in facts)
    lines = [f"{report.verdict.cause.upper()}: {report.verdict.says}", ""]
    lines += [f"  {name.ljust(width)}  {text}" for name, text in facts]
    for title, texts in (("What to do", report.verdict.todo), ("Events", report.events)):
        lines += ["", f"{title}:", *(f"  {text}" for text in texts)] if texts else []
    return "\n".join(lines)


def partitions(page: PartitionPage) -> str:
    columns = ("GATEWAY", "PARTITION", "WORKER", "NODE", "BACKLOG", "OLDEST")
    rows = [
        (
            f"{row.namespace}/{row.gateway}",
            str(row.partition),
            ", ".join(row.workers) or "NOBODY",
            row.node,
            str(row.backlog),
            seconds(row.age_seconds) if row.backlog > 0 else "-",
        )
        for row in page.partitions
    ]
    text = table(columns, rows) if rows else "no partitions"
    more = [f"{len(rows)} of {page.total}; next page: --offset {page.next}"] if page.next >= 0 else []
    return "\n".join([text, *more, *(f"not known: {why}" for why in page.unseen)])


def drains(page: DrainPage) -> str:
    columns = ("GATEWAY", "POD", "STATE", "LEFT", "MOVED", "COMPLETED", "FORCED", "LOST", "TOOK", "FINISHED")
    rows = [
        (
            f"{row.namespace}/{row.gateway}",
            row.pod,
            row.state,
            str(row.sessions),
            str(row.moved),
            str(row.completed),
            str(row.forced),
            str(row.lost_packets),
            seconds(row.seconds),
            row.finished_at or "-",
        )
        for row in page.drains
    ]
    who = "no gateway that answers" if page.silent else "no gateway"
    text = table(columns, rows) if rows else f"{who} is draining, and none has ended since the operator looks"
    more = [f"{len(rows)} of {page.total}; next page: --offset {page.next}"] if page.next >= 0 else []
    silent = [f"did not answer: {', '.join(page.silent)}; whether they drain is not known"] if page.silent else []
    return "\n".join([text, *more, *silent])


def orphans(page: OrphanPage) -> str:
    columns = ("SESSION", "GATEWAY", "FAULT", "SERVED", "POD", "NODE", "CLIENT", "AT THE BROKER", "BACKLOG", "OLDEST")
    rows = [
        (
            row.session_id,
            f"{row.namespace}/{row.gateway}",
            row.fault,
            row.holding,
            row.pod or "-",
            row.node or "-",
            row.client or "-",
            ", ".join(row.subscribers) or "nobody",
            str(row.backlog),
            seconds(row.age_seconds) if row.backlog else "-",
        )
        for row in page.orphans
    ]
    well = "nothing is known" if page.unseen else "every LiteTopic in which something waits has its owner"
    text = table(columns, rows) if rows else well
    more = [f"{len(rows)} of {page.total}; next page: --offset {page.next}"] if page.next >= 0 else []
    silent = [f"did not answer: {', '.join(page.silent)}"] if page.silent else []
    return "\n".join([text, *more, *silent, *(f"not known: {why}" for why in page.unseen)])


def act(answer: ActAnswer) -> str:
    todo = ["", "What to do:", *(f"  {text}" for text in answer.todo)] if answer.todo else []
    return "\n".join([f"{answer.says}.", *todo])


def findings(found: Diagnoses) -> str:
    rows = [(MARKS[finding.level], finding.about, finding.says) for finding in found.findings]
    todo = [f"  {finding.about}: {finding.todo}" for finding in found.findings if finding.todo]
    return "\n".join([table(("", "WHAT", "FINDING"), rows), *(["", "What to do:", *todo] if todo else [])])


def seconds(value: float) -> str:
    """With two digits or so of meaning."""
    if value < 10:
        return f"{value:.1f}s"
    if value < 120:
        return f"{value:.0f}s"
    return f"{value / 60:.0f}m" if value < 7200 else f"{value / 3600:.0f}h"


def ago(value: float, never: str) -> str:
    return f"{seconds(value)} ago" if value >= 0 else never


def _owner(report: SessionReport) -> str:
    if report.session is None:
        listed = f", at the broker {report.subscriber} on {report.node or '?'}" if report.subscriber else ""
        return f"{report.owner}{listed}; {max(report.written, 0)} messages in its LiteTopic"
    state = "ending" if report.pod_ending else "ready" if report.pod_ready else "NOT READY"
    return f"{report.pod} on {report.node or '?'}, {state}"


def _stage(report: SessionReport) -> str:
    assert report.session is not None
    stalled = report.session.stalled_seconds
    return report.session.stage + (f", no progress for {seconds(stalled)}" if stalled >= 1 else "")


def _backlog(report: SessionReport) -> str:
    session = report.session
    assert session is not None
    down = max(0, report.written - session.next_position) if report.written >= 0 else "?"
    oldest = f" (oldest {seconds(session.oldest_request_seconds)})" if session.pending_requests else ""
    return f"up {session.pending_requests}{oldest}, {session.unconfirmed} unconfirmed; down {down}"
