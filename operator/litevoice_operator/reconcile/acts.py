"""What somebody wants done to a gateway or a session: asks `decide.acts`, has the gateways do it, and records it."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass
from typing import Literal

from litevoice_broker.errors import BrokerError
from litevoice_contracts.control import ActRequest, DrainReport
from litevoice_contracts.names import Names
from litevoice_contracts.operator_api import Act, ActAnswer
from litevoice_operator.adapters.cluster import VOICE_GATEWAY
from litevoice_operator.adapters.gateways import Refused
from litevoice_operator.api.resource import Key, Resource
from litevoice_operator.decide.acts import No, Nothing, act_event, may_drain, may_take_back, told_who
from litevoice_operator.manifests.keys import derive_keys
from litevoice_operator.observe.pods import Pod, addresses, should_answer
from litevoice_operator.reconcile.shared import GatewayView, Shared

BROKER_SECONDS = 3.0
"""How long is waited for the broker: to say who is the owner, and to agree to a heal."""
LOOK_SECONDS = 0.25

_log = logging.getLogger(__name__)


class CannotAct(Exception):  # noqa: N818 - reads as what it is
    """Says why, and what would be right. `known`: whether there is such a thing."""

    def __init__(self, message: str, *, known: bool = True) -> None:
        super().__init__(message)
        self.known = known


@dataclass(frozen=True, slots=True)
class Wish:
    """Attributes:
    namespace, gateway: where; "": anywhere.
    by: who wants it, as the API server knows them.
    """

    namespace: str
    gateway: str
    by: str
    dry_run: bool = False
    force: bool = False


class Acts:
    """Raises CannotAct, or ClusterError when it could not be recorded: nothing was done then."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared

    async def drain(self, name: str, wish: Wish) -> ActAnswer:
        key, pod, gateways = self._gateway(name, wish)
        answers = await self._shared.gateways.statuses(addresses(gateways), self._token(key))
        decided = may_drain(pod, gateways, answers, force=wish.force)
        if decided is None:
            told = f"{name} takes no new sessions, and those that it has ({answers[name].sessions}) leave it"
            todo = ["litevoice drains", f"litevoice drain {name} -n {key[0]} --cancel: before it is deleted"]
            return await self._on_pod("drain", key, pod, wish, told, todo)
        return self._without("drain", key, name, "", decided)

    async def take_back(self, name: str, wish: Wish) -> ActAnswer:
        key, pod, gateways = self._gateway(name, wish)
        answers = await self._shared.gateways.statuses(addresses(gateways), self._token(key))
        decided = may_take_back(pod, answers)
        if decided is None:
            told = f"{name} takes new sessions again, and keeps those that it has ({answers[name].sessions})"
            return await self._on_pod("take-back", key, pod, wish, told, [])
        return self._without("take-back", key, name, "", decided)

    async def move(self, session_id: str, wish: Wish) -> ActAnswer:
        return await self._on_session("move", session_id, wish)

    async def heal(self, session_id: str, wish: Wish) -> ActAnswer:
        return await self._on_session("heal", session_id, wish)

    async def _on_pod(self, act: Act, key: Key, pod: Pod, wish: Wish, told: str, todo: list[str]) -> ActAnswer:
        if not wish.dry_run:
            about = await self._about(key)
            gateways = self._shared.gateways
            report: DrainReport | None
            if act == "drain":
                report = await gateways.drain(pod.address, self._token(key))
            else:
                report = await gateways.take_drain_back(pod.address, self._token(key))
            if report is None:
                raise CannotAct(f"{pod.name} does not answer any more, or has been told to end meanwhile")
            await self._record(act, about, pod.name, "", wish)
        return self._answer(act, key, pod.name, "", wish, told, todo)

    async def _on_session(self, act: Literal["move", "heal"], session_id: str, wish: Wish) -> ActAnswer:
        key, view, pod = await self._holder(session_id, act, wish)
        about = {} if wish.dry_run else await self._about(key)
        request = ActRequest(wish.dry_run, wish.force)
        told = await self._shared.gateways.tell(pod.address, self._token(key), session_id, act, request)
        if isinstance(told, Refused):
            force = ": add --force if it may be lost" if "come back" in told.why else ""
            raise CannotAct(f"{pod.name} does not do it: {told.why}{force}")
        if not wish.dry_run:
            await self._record(act, about, pod.name, session_id, wish)
        if act == "move":
            edge = ", at the end of its turn" if told.responding or told.stage in ("waiting", "listening") else ""
            says = f"{session_id} leaves {pod.name}{edge}; its client {told.client} comes back to any gateway"
        else:
            says = f"{pod.name} takes {session_id} over again, from position {told.next_position} on"
            if not wish.dry_run:
                says += await self._outcome(view, session_id, pod.name)
        return self._answer(act, key, pod.name, session_id, wish, says, [f"litevoice why {session_id}"])

    async def _holder(self, session_id: str, act: Act, wish: Wish) -> tuple[Key, GatewayView, Pod]:
        refused: No | None = None
        for key, view in self._shared.chosen(wish.namespace, wish.gateway):
            pods = {pod.name: pod for pod in self._shared.pods.of(key) if pod.component == "gateway"}
            asked = addresses(pods.values())
            holders, silent = await self._shared.gateways.holders(asked, self._token(key), session_id)
            owner = await self._owner(view, session_id) if holders and act == "heal" else ""
            doubted = [name for name in pods if name in silent and (should_answer(pods[name]) or name == owner)]
            chosen = told_who(session_id, act, holders, doubted, owner)
            if isinstance(chosen, str):
                return key, view, pods[chosen]
            if refused is None or holders or doubted:
                refused = chosen
        raise CannotAct(refused.why if refused else "there is no VoiceGateway to ask", known=refused is not None)

    async def _owner(self, view: GatewayView, session_id: str) -> str:
        """ "" for nobody, or when the broker does not tell."""
        names: Names | None = view.names
        if names is None:
            return ""
        try:
            async with asyncio.timeout(BROKER_SECONDS):
                return (await view.backlogs.broker.owners(names, [session_id]))[session_id]
        except (BrokerError, TimeoutError):
            return ""

    async def _outcome(self, view: GatewayView, session_id: str, pod: str) -> str:
        """What the broker makes of it."""
        until, owner = time.monotonic() + BROKER_SECONDS, ""
        while time.monotonic() < until:
            if (owner := await self._owner(view, session_id)) == pod:
                return "; the broker lists it as the owner"
            await asyncio.sleep(LOOK_SECONDS)
        return f"; the broker does not list it yet, but {owner or 'nobody'}: it goes on trying"

    def _gateway(self, name: str, wish: Wish) -> tuple[Key, Pod, list[Pod]]:
        """The VoiceGateway, the pod of that name, and all of its gateways."""
        where = wish.namespace or "all namespaces"
        for key, _ in self._shared.chosen(wish.namespace, wish.gateway):
            pod = self._shared.pods.get(key, name)
            if pod is not None and pod.component != "gateway":
                raise CannotAct(f"{name} is a {pod.component}: expected a gateway pod")
            if pod is not None:
                return key, pod, [other for other in self._shared.pods.of(key) if other.component == "gateway"]
        raise CannotAct(
            f"there is no gateway pod {name} in {where}: litevoice sessions lists those that serve", known=False
        )

    async def _about(self, key: Key) -> dict[str, str]:
        """Raises ClusterError."""
        body = await self._shared.cluster.get(VOICE_GATEWAY, *key)
        if body is None:
            raise CannotAct(f"the VoiceGateway {key[0]}/{key[1]} is gone", known=False)
        return Resource.model_validate(body).reference

    async def _record(self, act: Act, about: dict[str, str], pod: str, session_id: str, wish: Wish) -> None:
        facts = {"act": act, "pod": pod, "session": session_id, "by": wish.by, "force": wish.force}
        _log.warning("asked to act", extra={"gateway": f"{about['namespace']}/{about['name']}", **facts})
        await self._shared.outbox.send(about, act_event(act, pod, session_id, wish.by))

    def _without(self, act: Act, key: Key, pod: str, session_id: str, decided: No | Nothing) -> ActAnswer:
        if isinstance(decided, No):
            raise CannotAct(decided.why)
        return ActAnswer(act, *key, pod, session_id, False, decided.says, [])

    def _answer(
        self, act: Act, key: Key, pod: str, session_id: str, wish: Wish, says: str, todo: list[str]
    ) -> ActAnswer:
        if wish.dry_run:
            return ActAnswer(act, *key, pod, session_id, False, f"Nothing was done. Without --dry-run: {says}", [])
        return ActAnswer(act, *key, pod, session_id, True, says, todo)

    def _token(self, key: Key) -> str:
        return derive_keys(self._shared.root_key, *key).admin_token
