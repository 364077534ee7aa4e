"""What is known of a session → why its caller hears nothing. A row per cause that an operator meets."""

from __future__ import annotations

from typing import Any, get_args

import msgspec
import pytest

from litevoice_contracts.control import SessionInfo, StageFailure, WorkerSession
from litevoice_contracts.operator_api import Cause, SessionReport
from litevoice_operator.decide.verdict import verdict

SESSION = SessionInfo(
    session_id="s_1",
    client="10.1.0.9:4711",
    principal="tenant",
    age_seconds=300.0,
    turn=4,
    responding=False,
    pending_requests=0,
    oldest_request_seconds=0.0,
    reading=True,
    next_position=40,
    partition=3,
    stage="idle",
    last_reply_seconds=5.0,
    worker="worker-1",
    worker_heard_seconds=0.4,
)
WORKER = WorkerSession("s_1", 3, 4, "idle", 0.1, 0.2, 0, 0)
WELL = SessionReport(
    session_id="s_1",
    namespace="voice",
    gateway="demo",
    owner="Held",
    partition=3,
    pod="gateway-0",
    node="node-a",
    pod_ready=True,
    subscriber="gateway-0",
    written=40,
    session=SESSION,
    partition_backlog=0,
    holders=["worker-1"],
    worker="worker-1",
    worker_answers=True,
    worker_session=WORKER,
)
STALLED: dict[str, Any] = {"stalled_seconds": 20.0, "stage": "waiting", "pending_requests": 3}
GONE: dict[str, Any] = {"held": False, "owner": "Orphaned", "pod": "", "worker_session": None}


def case(cause: Cause, words: str, *, session: dict[str, Any] | None = None, worker: dict[str, Any] | None = None,
         **report: Any) -> Any:  # fmt: skip
    """`session`, `worker` and `report` differ from what is well; `words` stand in the verdict."""
    return pytest.param(cause, words, session or {}, worker or {}, report, id=f"{cause}: {words}")


CASES = [
    case("healthy", "Nothing waits"),
    case("healthy", "Nothing waits", session={**STALLED, "stalled_seconds": 1.0}),
    case("caller-silent", "sent nothing for 60 s", session={"silent_seconds": 60.0}),
    case("slow-reader", "10.1.0.9:4711 reads too slowly", session={"reading": False}, subscriber="", written=90),
    case("draining", "gateway-0 is ending", pod_ending=True),
    case("restoring", "is taking the session over", session={"stage": "restoring", "age_seconds": 4.0}),
    case("wrong-owner", "lists gateway-1", subscriber="gateway-1"),
    case("lost-subscription", "lists no owner: 2 replies wait", subscriber="", written=42),
    case("lost-wakeup", "2 replies wait at the broker", written=42),
    case("link-cut", "not confirmed 7 packets", session={**STALLED, "unconfirmed": 7, "unconfirmed_seconds": 9.0}),
    case("stuck-model", "(tts)", session={**STALLED, "unconfirmed": 7, "oldest_request_seconds": 9.0},
         worker={"stage": "tts", "stage_seconds": 20.0}),
    # The turn does not go on.
    case("stuck-model", "speech to text (asr) for 19 s", session=STALLED,
         worker={"stage": "asr", "stage_seconds": 19.0}),
    case("stuck-model", "(respond)", session=STALLED, worker={"stage": "respond", "stage_seconds": 15.0}),
    case("stuck-model", "(respond) for 31 s at b/v1 (m), request 2; before, a/v1 (m): the chat endpoint did not answer",
         session=STALLED, worker={"stage": "respond", "stage_seconds": 31.0, "endpoint": "b/v1 (m)", "tries": 2,
                                  "failed_endpoint": "a/v1 (m)", "failed_says": "the chat endpoint did not answer"}),
    case("failing-model", "the answer (respond) has failed 3 s ago at worker worker-1: a/v1 (m): status 401.",
         session={"silent_seconds": 60.0},
         worker={"failure": StageFailure("respond", "a/v1 (m)", "status 401", 3.2)}),
    case("failing-model", "(asr) has failed 3 s ago at worker worker-1: it crashed.",
         worker={"failure": StageFailure("asr", "", "it crashed", 3.2)}),
    case("slow-model", "(respond) for 4 s", session=STALLED, worker={"stage": "respond", "stage_seconds": 4.0}),
    case("slow-model", "(tts)", session=STALLED, worker={"stage": "tts", "stage_seconds": 2.5}),
    case("dead-worker", "no worker reads partition 3", session=STALLED, holders=[], worker_answers=None),
    case("dead-worker", "worker-1 reads partition 3 and does not answer", session=STALLED, worker_answers=False,
         worker_session=None),
    case("lagging-partition", "partition 3 is 12 s behind (80 messages)", session=STALLED, partition_backlog=80,
         partition_age_seconds=12.0, worker_session=None),
    case("lagging-partition", "is 6 s behind", session={**STALLED, "behind_seconds": 6.0}),
    case("clock-off", "clock of worker-1 is 90 s ahead of that of the operator", session={"behind_seconds": 90.0},
         clocks={"gateway-0": 0.0, "worker-1": 90.0}),
    case("clock-off", "clock of gateway-0 is 5 s behind that of the operator",
         clocks={"gateway-0": -5.0, "worker-1": 0.0}),
    case("clock-off", "operator is 60 s behind those of all pods", clocks={"gateway-0": 60.0, "worker-1": 59.5}),
    case("healthy", "Nothing waits", clocks={"gateway-0": 1.5, "gateway-1": 70.0}),
    case("lagging-partition", "is 12 s behind", session={**STALLED, "behind_seconds": 90.0}, partition_backlog=80,
         partition_age_seconds=12.0, clocks={"gateway-0": 0.0, "worker-1": 90.0}),
    case("worker-done", "has nothing to do", session={**STALLED, "behind_seconds": 90.0},
         clocks={"gateway-0": 0.0, "worker-1": 90.0}),
    case("worker-lost-turn", "does not have the session in memory", session=STALLED, worker_session=None),
    case("worker-behind", "9 packets still to hear", session=STALLED, worker={"stage": "vad", "queued_packets": 9}),
    case("worker-unconfirmed", "not confirmed a message", session=STALLED,
         worker={"stage": "publishing", "stage_seconds": 8.0}),
    case("lost-wakeup", "4 replies wait", session=STALLED, written=44),
    case("speaking", "has not ended", session={**STALLED, "stage": "listening"}, worker={"stage": "listening"}),
    case("worker-done", "has nothing to do", session=STALLED),
    case("stuck-model", "(asr)", session=STALLED, worker={"stage": "asr", "stage_seconds": 19.0},
         broker_error="no answer within 3 s", holders=[], subscriber="", written=-1),
    # No gateway that answers has it.
    case("frozen-gateway", "gateway-0 owns the session at the broker, and does not", **GONE, silent=["gateway-0"]),
    case("frozen-gateway", "owns the session of 10.1.0.9:1 at the broker", **GONE, silent=["gateway-0"],
         last_client="10.1.0.9:1"),
    case("wrong-owner", "gateway-0 does not know the session", **GONE),
    case("orphan", "has 40 messages", **GONE, subscriber=""),
    case("orphan", "The broker still lists gateway-0, a pod that is gone.", **GONE, subscriber_gone=True),
    case("owner-unknown", "gateway-2 did not answer", **GONE, subscriber_gone=True, silent=["gateway-2"]),
    case("orphan", "gateway-9 had it last.", **GONE, subscriber="", last_pod="gateway-9"),
    case("orphan", "gateway-9 had it last, of 10.1.0.9:1.", **GONE, subscriber="", last_pod="gateway-9",
         last_client="10.1.0.9:1"),
    case("owner-unknown", "gateway-2 did not answer", **GONE, subscriber="", silent=["gateway-2"]),
    case("full", "none takes its client back: gateway-0: sessions", **GONE, subscriber="", clocks={"gateway-0": 0.0},
         full=["gateway-0: sessions"]),
    case("orphan", "has 40 messages", **GONE, subscriber="", clocks={"gateway-0": 0.0, "gateway-1": 0.0},
         full=["gateway-0: sessions", "gateway-1: worker_lag"]),
    case("full", "gateway-1: worker_lag", **GONE, subscriber="", written=-1, full=["gateway-1: worker_lag"]),
    case("full", "gateway-0: sessions", **GONE, subscriber="", written=-1, full=["gateway-0: sessions"]),
    case("unknown-session", "never was", **GONE, subscriber="", written=-1),
    case("broker-silent", "refused", **GONE, subscriber="", written=-1, broker_error="refused"),
]  # fmt: skip


def made(session: dict[str, Any], worker: dict[str, Any], report: dict[str, Any]) -> SessionReport:
    """What is well, with these differences."""
    different: dict[str, Any] = {
        "session": msgspec.structs.replace(SESSION, **session) if report.get("held", True) else None,
        "worker_session": msgspec.structs.replace(WORKER, **worker),
        **{name: value for name, value in report.items() if name != "held"},
    }
    return msgspec.structs.replace(WELL, **different)


@pytest.mark.parametrize(("cause", "words", "session", "worker", "report"), CASES)
def test_the_cause(
    cause: Cause, words: str, session: dict[str, Any], worker: dict[str, Any], report: dict[str, Any]
) -> None:
    found = verdict(made(session, worker, report))
    assert (found.cause, words in found.says) == (cause, True), found.says
    assert found.todo or cause == "healthy"


def test_every_cause_has_a_case() -> None:
    assert {row.values[0] for row in CASES} == set(get_args(Cause))
