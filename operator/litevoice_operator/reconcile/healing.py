"""Does what a BacklogAlert with `healing` is to do: asks why a session is stuck, and has its gateway cure it."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from litevoice_operator.adapters.cluster import VOICE_GATEWAY, ClusterError
from litevoice_operator.api.backlog_alert import Healed, Healing
from litevoice_operator.api.resource import Key
from litevoice_operator.api.times import to_text
from litevoice_operator.decide.healing import remedy
from litevoice_operator.reconcile.acts import Acts, CannotAct, Wish
from litevoice_operator.reconcile.inquiries import Inquiries, Question
from litevoice_operator.reconcile.shared import Shared

_log = logging.getLogger(__name__)


class Healer:
    def __init__(self, shared: Shared, inquiries: Inquiries, acts: Acts) -> None:
        self._cluster = shared.cluster
        self._inquiries = inquiries
        self._acts = acts

    async def treat(
        self, gateway: Key, alert: str, healing: Healing, healed: Sequence[Healed], session: str
    ) -> Healed | None:
        """What was done; None when nothing was, because it would not help or cannot be. Each act is an Event of the
        VoiceGateway. `alert`: name of the BacklogAlert."""
        try:
            body = await self._cluster.get(VOICE_GATEWAY, *gateway)
            if body is None or body.get("spec", {}).get("paused"):
                return None
            report = await self._inquiries.session(session, Question(*gateway))
            by = remedy(healing, healed, report, time.time()) if report is not None else None
            if report is None or by is None:
                return None
            wish = Wish(*gateway, by=f"BacklogAlert {alert}")
            done = await (self._acts.heal if by == "Heal" else self._acts.move)(session, wish)
        except (CannotAct, ClusterError) as error:
            facts = {"gateway": "/".join(gateway), "alert": alert, "session": session}
            _log.warning("not healed", extra={**facts, "why": str(error)})
            return None
        return Healed(
            session=session,
            by=by,
            cause=report.verdict.cause,
            pod=done.pod,
            at=to_text(time.time()),
            result=done.says[:300],
        )
