"""Answers to questions about sessions, partitions and drains, from pods and brokers. Nothing is kept or changed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from litevoice_broker.at_once import each
from litevoice_broker.errors import BrokerError
from litevoice_contracts.control import GatewayStatus, SessionInfo, WorkerSession
from litevoice_contracts.names import Names, partition_of
from litevoice_contracts.operator_api import (
    MAX_LISTED,
    Diagnoses,
    Diagnosis,
    DrainPage,
    DrainRow,
    OrphanPage,
    OrphanRow,
    PartitionPage,
    PartitionRow,
    RefusedRow,
    SessionPage,
    SessionReport,
    SessionRow,
    SilentRow,
)
from litevoice_operator.adapters.cluster import BACKLOG_ALERT, EVENT, VOICE_GATEWAY, ClusterError
from litevoice_operator.adapters.gateways import NotHere
from litevoice_operator.api.resource import Key
from litevoice_operator.api.voice_gateway_status import LastDrain
from litevoice_operator.decide.crd_difference import INSTALL
from litevoice_operator.decide.doctor import broker_findings, clock_findings, permission_findings, use_findings
from litevoice_operator.decide.permissions import lacking
from litevoice_operator.decide.verdict import verdict
from litevoice_operator.manifests.keys import derive_keys
from litevoice_operator.observe.pods import Pod, addresses, should_answer
from litevoice_operator.reconcile import orphans
from litevoice_operator.reconcile.backlogs import Seen
from litevoice_operator.reconcile.installed_crds import InstalledCrds
from litevoice_operator.reconcile.shared import GatewayView, Shared

BROKER_SECONDS = 3.0
"""How long a broker may take to answer before the question is answered without it."""
VIEWS_AT_ONCE = 4
MAX_EVENTS = 5
MAX_NAMESPACES = 20
"""Whose permissions are looked at."""
SORTS = {"stalled": "stalled", "backlog": "requests", "age": "age"}
_BY: dict[str, Callable[[SessionInfo], float]] = {
    "stalled": lambda session: session.stalled_seconds,
    "backlog": lambda session: session.pending_requests,
    "age": lambda session: session.age_seconds,
}
NOBODY = Seen("", "", "")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Question:
    """Which sessions, partitions or drains; see `operator_api`. `offset` and `limit`: at most MAX_LISTED together."""

    namespace: str = ""
    gateway: str = ""
    client: str = ""
    principal: str = ""
    since: str = ""
    sort: str = "age"
    offset: int = 0
    limit: int = 100


class Inquiries:
    """What this operator sees: only one that acts sees anything."""

    def __init__(self, shared: Shared, crds: InstalledCrds, pod: str) -> None:
        self._shared = shared
        self._crds = crds
        self._pod = pod

    async def sessions(self, question: Question) -> SessionPage:
        """Sorted over all pods, the largest first."""
        query = {"sort": SORTS[question.sort], "limit": str(question.offset + question.limit)}
        query |= {key: value for key in ("client", "principal", "since") if (value := getattr(question, key))}
        rows, total, refused = list[SessionRow](), 0, list[RefusedRow]()
        silent, at_silent = list[str](), list[SilentRow]()
        only_client = bool(question.client) and not (question.principal or question.since)
        for key, view in self._views(question):
            pods = self._gateway_pods(key)
            answers = await self._shared.gateways.pages(addresses(pods), self._token(key), query)
            mute = {pod.name for pod in pods if pod.name not in answers and should_answer(pod)}
            silent += [f"{key[0]}/{name}" for name in sorted(mute)]
            if only_client:
                found = view.backlogs.last_seen(question.client, mute)
                at_silent += [SilentRow(*key, session, *seen) for session, seen in found]
            total += sum(answer.total for answer in answers.values())
            for pod, answer in answers.items():
                view.backlogs.saw(pod, {session.session_id: session.client for session in answer.sessions})
            nodes = {pod.name: pod.node for pod in pods}
            rows += [
                SessionRow(*key, pod, nodes[pod], session)
                for pod, answer in answers.items()
                for session in answer.sessions
            ]
            refused += [
                RefusedRow(*key, pod, nodes[pod], client)
                for pod, answer in answers.items()
                for client in answer.refused
            ]
        by = _BY[question.sort]
        rows.sort(key=lambda row: (-by(row.session), row.session.session_id))
        page, following = _page(rows, question, total)
        refused.sort(key=lambda row: row.refused.seconds)
        return SessionPage(total, page, following, silent, refused[: question.limit], at_silent[: question.limit])

    async def session(self, session_id: str, question: Question) -> SessionReport | None:
        """None when there is no VoiceGateway to ask. Of several, the one that knows the session."""
        views = self._views(question)
        reports = await asyncio.gather(*(self._report(session_id, key, view) for key, view in views))
        report = max(reports, key=_knows, default=None)
        return None if report is None else msgspec.structs.replace(report, verdict=verdict(report))

    async def partitions(self, question: Question) -> PartitionPage:
        rows, unseen = list[PartitionRow](), list[str]()
        for key, view in self._views(question):
            if view.names is None:
                unseen.append(f"{key[0]}/{key[1]}: {view.problem.message if view.problem else 'not ready'}")
                continue
            numbers = range(view.names.partitions)
            try:
                async with asyncio.timeout(BROKER_SECONDS):
                    broker = view.backlogs.broker
                    holders, waiting = await asyncio.gather(
                        broker.holders(view.names, numbers), broker.requests(view.names)
                    )
            except (BrokerError, TimeoutError) as error:
                unseen.append(f"{key[0]}/{key[1]}: {_why(error)}")
                continue
            nodes = {pod.name: pod.node for pod in self._shared.pods.of(key)}
            rows += [
                PartitionRow(
                    *key,
                    number,
                    holders[number],
                    nodes.get(holders[number][0], "") if holders[number] else "",
                    waiting[number].messages,
                    round(waiting[number].age_seconds or 0.0, 1),
                )
                for number in numbers
            ]
        page, following = _page(rows, question, len(rows))
        return PartitionPage(len(rows), page, following, unseen)

    async def drains(self, question: Question) -> DrainPage:
        rows, silent = list[DrainRow](), list[str]()
        for key, _ in self._views(question):
            pods = self._gateway_pods(key)
            statuses = await self._shared.gateways.statuses(addresses(pods), self._token(key))
            mute = (pod for pod in pods if pod.name not in statuses and (should_answer(pod) or pod.terminating))
            silent += [f"{key[0]}/{pod.name}" for pod in mute if not pod.over]
            rows += drain_rows(key, pods, statuses, self._shared.pods.last_drains(key))
        page, following = _page(rows, question, len(rows))
        return DrainPage(len(rows), page, following, silent)

    async def orphans(self, question: Question) -> OrphanPage:
        views = self._views(question)
        looks = await each(views, lambda keyed: self._orphans(*keyed), VIEWS_AT_ONCE)
        rows = sorted((row for found, _, _ in looks for row in found), key=lambda row: (-row.age_seconds, -row.backlog))
        page, following = _page(rows, question, len(rows))
        silent = [pod for _, pods, _ in looks for pod in pods]
        return OrphanPage(len(rows), page, following, silent, [why for _, _, why in looks if why])

    async def _orphans(self, key: Key, view: GatewayView) -> tuple[list[OrphanRow], list[str], str]:
        """Rows, who is silent, and what is not known."""
        if view.names is None:
            return [], [], f"{key[0]}/{key[1]}: {view.problem.message if view.problem else 'not ready'}"
        pods = self._gateway_pods(key)
        looked = await orphans.look(view, view.names, pods, self._shared.gateways, self._token(key))
        nodes = {pod.name: pod.node for pod in pods}
        rows = list[OrphanRow]()
        for found in looked.findings:
            seen = view.backlogs.seen.get(found.session, NOBODY)
            node, client = seen[1:] if seen.pod == found.pod else ("", "")
            rows.append(
                OrphanRow(
                    *key,
                    found.session,
                    found.fault,
                    found.holding,
                    found.pod,
                    nodes.get(found.pod, node),
                    list(found.subscribers),
                    found.backlog,
                    found.age_seconds,
                    client,
                )
            )
        unseen = f"{key[0]}/{key[1]}: {looked.unseen}" if looked.unseen else ""
        return rows, [f"{key[0]}/{pod}" for pod in looked.silent], unseen

    async def doctor(self, question: Question) -> Diagnoses:
        defaults = self._shared.defaults
        images = f"images of gateways and workers: {defaults.gateway_image}, {defaults.worker_image}"
        findings = [Diagnosis("ok", f"operator {self._pod}", images)]
        for kind in (VOICE_GATEWAY.kind, BACKLOG_ALERT.kind):
            crd = await self._crds.get(kind)
            difference = crd.difference
            if difference is None:
                findings.append(Diagnosis("warning", crd.name, "the API server does not tell its schema"))
            elif difference.outdated or difference.lacks:
                lacks = ", ".join(difference.lacks[:5])
                findings.append(Diagnosis("error", crd.name, f"older than this operator, lacks {lacks}", INSTALL))
            else:
                findings.append(Diagnosis("ok", crd.name, "knows every field of this operator"))
        asked, views = set[str](), self._views(question)
        namespaces = sorted({key[0] for key, _ in views})[:MAX_NAMESPACES]
        findings += [one for found in await each(namespaces, self._permissions, VIEWS_AT_ONCE) for one in found]
        for key, view in views:
            about = f"{key[0]}/{key[1]}"
            if view.problem is not None:
                findings.append(
                    Diagnosis("error", about, view.problem.message, f"kubectl describe vgw {key[1]} -n {key[0]}")
                )
                continue
            unwell = [pod for pod in self._shared.pods.of(key) if pod.trouble][:MAX_EVENTS]
            findings += [Diagnosis("warning", f"{about}: {pod.name}", pod.trouble) for pod in unwell]
            findings += clock_findings(about, await self._clocks(key))[:MAX_EVENTS]
            try:
                async with asyncio.timeout(BROKER_SECONDS):
                    broker = view.backlogs.broker
                    settings, uses = await asyncio.gather(broker.settings(), broker.uses())
            except (BrokerError, TimeoutError) as error:
                findings.append(Diagnosis("error", about, f"its broker does not answer: {_why(error)}"))
                continue
            for name in sorted(settings.keys() - asked):
                findings += broker_findings(name, settings[name])
                if name in uses:
                    findings += use_findings(name, uses[name], settings[name])
            asked |= settings.keys()
        return Diagnoses(self._pod, findings)

    async def _permissions(self, namespace: str) -> list[Diagnosis]:
        try:
            rules, complete = await self._shared.cluster.own_rules(namespace)
        except ClusterError as error:
            return [Diagnosis("warning", f"permissions in namespace {namespace}", f"they are not known: {error}")]
        return permission_findings(namespace, lacking(rules), complete=complete)

    async def _clocks(self, key: Key) -> dict[str, float]:
        """Gateways and workers that answer → seconds that their clock is ahead of ours."""
        gateways, keys = self._shared.gateways, derive_keys(self._shared.root_key, *key)
        workers = addresses(pod for pod in self._shared.pods.of(key) if pod.component == "worker")
        asked = addresses(self._gateway_pods(key))
        answers = await asyncio.gather(
            gateways.statuses(asked, keys.admin_token), gateways.worker_statuses(workers, keys.worker_token)
        )
        answered = {name for answer in answers for name in answer}
        return gateways.clocks({name: address for name, address in {**asked, **workers}.items() if name in answered})

    async def _report(self, session_id: str, key: Key, view: GatewayView) -> SessionReport:
        """The broker is asked before the gateways: what they have not taken by then waits."""
        names, error, subscriber, written = view.names, "", "", -1
        partition = partition_of(session_id, names.partitions) if names and names.covers(session_id) else -1
        holders, backlog, age = list[str](), -1, 0.0
        if names is None:
            error = view.problem.message if view.problem else "the VoiceGateway is not ready"
        else:
            try:
                async with asyncio.timeout(BROKER_SECONDS):
                    subscriber, written = await view.backlogs.broker.written(names, session_id)
                    if partition >= 0:
                        holders, backlog, age = await self._partition(view, names, partition)
            except (BrokerError, TimeoutError) as failure:
                error = _why(failure)
        pods = {pod.name: pod for pod in self._gateway_pods(key)}
        answers = await self._shared.gateways.statuses(addresses(pods.values()), self._token(key))
        asked = {name: pods[name].address for name in answers}
        holder = await self._shared.gateways.session(asked, self._token(key), session_id)
        silent = [
            name for name, pod in pods.items() if name not in answers and (should_answer(pod) or name == subscriber)
        ]
        found, session = pods.get(holder.pod), holder.session
        last = NOBODY if session else view.backlogs.seen.get(session_id, NOBODY)
        report = SessionReport(
            session_id=session_id,
            namespace=key[0],
            gateway=key[1],
            owner="Held" if session else "Unknown" if silent or not holder.all_answered else "Orphaned",
            partition=partition,
            pod=holder.pod,
            node=found.node if found else pods[subscriber].node if subscriber in pods else "",
            pod_ready=bool(found and found.ready),
            pod_ending=bool(found and found.terminating),
            subscriber=subscriber,
            written=written,
            session=session,
            partition_backlog=backlog,
            partition_age_seconds=age,
            holders=holders,
            full=[f"{name}: {status.full}" for name, status in answers.items() if status.full],
            broker_error=error,
            silent=silent,
            last_pod=last.pod,
            last_node=last.node,
            last_client=last.client,
            clocks=self._shared.gateways.clocks(asked),
            subscriber_gone=bool(subscriber) and subscriber not in pods,
        )
        return await self._with_worker(report, key) if session else report

    async def _partition(self, view: GatewayView, names: Names, partition: int) -> tuple[list[str], int, float]:
        holders = await view.backlogs.broker.holders(names, [partition])
        (waiting,) = await view.backlogs.broker.requests(names, [partition])
        return holders[partition], waiting.messages, round(waiting.age_seconds or 0.0, 1)

    async def _with_worker(self, report: SessionReport, key: Key) -> SessionReport:
        told = report.session.worker if report.session else ""
        worker = report.holders[0] if report.holders else told
        pod = self._shared.pods.get(key, worker) if worker else None
        answer: WorkerSession | NotHere | None = None
        if pod is not None and pod.ip:
            token = derive_keys(self._shared.root_key, *key).worker_token
            answer = await self._shared.gateways.worker_session(pod.address, token, report.session_id)
        return msgspec.structs.replace(
            report,
            worker=worker,
            worker_node=pod.node if pod else "",
            worker_answers=answer is not None if worker else None,
            worker_session=answer if isinstance(answer, WorkerSession) else None,
            events=await self._events(key[0], [report.pod, worker]),
            clocks={**report.clocks, **(self._shared.gateways.clocks({worker: pod.address}) if answer and pod else {})},
        )

    async def _events(self, namespace: str, pods: Sequence[str]) -> list[str]:
        found = list[tuple[str, str]]()
        for pod in filter(None, pods):
            try:
                bodies = await self._shared.cluster.list(
                    EVENT, namespace, fields=f"involvedObject.name={pod}", limit=50
                )
            except ClusterError:
                continue
            for body in bodies:
                at = str(body.get("lastTimestamp") or body.get("eventTime") or "")
                found.append((at, f"{at} {pod} {body.get('reason', '')}: {str(body.get('message', ''))[:200]}"))
        return [text for _, text in sorted(found, reverse=True)[:MAX_EVENTS]]

    def _views(self, question: Question) -> list[tuple[Key, GatewayView]]:
        return self._shared.chosen(question.namespace, question.gateway)

    def _gateway_pods(self, key: Key) -> list[Pod]:
        return [pod for pod in self._shared.pods.of(key) if pod.component == "gateway"]

    def _token(self, key: Key) -> str:
        return derive_keys(self._shared.root_key, *key).admin_token


def drain_rows(
    key: Key, pods: Sequence[Pod], statuses: Mapping[str, GatewayStatus], last: Sequence[LastDrain]
) -> list[DrainRow]:
    """Those that go on, then how the last ones ended, the newest first."""
    rows, ending = list[DrainRow](), {pod.name for pod in pods if pod.terminating}
    for pod, status in statuses.items():
        drain = status.drain
        if drain.state == "none" and pod not in ending:
            continue
        counts = (drain.moved, drain.completed, drain.forced, drain.lost_packets)
        state = "draining" if drain.state == "none" else drain.state
        rows.append(DrainRow(*key, pod, state, status.sessions, *counts, drain.duration_seconds))
    for one in last:
        counts = (one.moved, one.completed, one.forced, one.lost_packets)
        rows.append(DrainRow(*key, one.pod, "drained", 0, *counts, one.duration_seconds, one.finished_at))
    return rows


def _page(rows: Sequence[T], question: Question, total: int) -> tuple[list[T], int]:
    """The page, and where the next one begins; -1 when there is none."""
    end = question.offset + question.limit
    return list(rows[question.offset : end]), end if end < total and end < MAX_LISTED else -1


def _knows(report: SessionReport) -> tuple[bool, bool, bool]:
    """Whose session it is, rather."""
    return report.session is not None, bool(report.subscriber), report.written > 0


def _why(error: BaseException) -> str:
    return str(error) or f"no answer within {BROKER_SECONDS:.0f} s"
