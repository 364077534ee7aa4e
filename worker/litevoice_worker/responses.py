"""The responses of a session that are under way: how each begins, and what the conversation remembers of it at its end.
Sans I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from litevoice_contracts import events, metrics, packets
from litevoice_contracts.conversation import ROOT, Item, ResponseRequest, Snapshot
from litevoice_contracts.envelopes import ResumePoint
from litevoice_worker.commands import Outcome, StageContext
from litevoice_worker.conversation import Conversation, made_id
from litevoice_worker.outlet import Outlet
from litevoice_worker.response import Response


class Responses:
    """`context`: see Response.

    Attributes:
        in_band: the answer, or None; its item is in the conversation already, without text.
        out_of_band: those beside it, which the conversation does not remember.
    """

    __slots__ = ("_ahead_milliseconds", "_context", "_conversation", "_outlet", "_session_id", "in_band", "out_of_band")

    def __init__(
        self,
        session_id: str,
        conversation: Conversation,
        ahead_milliseconds: int,
        outlet: Outlet,
        context: Callable[[str, str], StageContext],
    ) -> None:
        self.in_band: Response | None = None
        self.out_of_band: list[Response] = []
        self._session_id = session_id
        self._conversation = conversation
        self._ahead_milliseconds = ahead_milliseconds
        self._outlet = outlet
        self._context = context

    def __bool__(self) -> bool:
        return bool(self.in_band or self.out_of_band)

    def __iter__(self) -> Iterator[Response]:
        """All that are under way now; they may end meanwhile."""
        return iter([self.in_band, *self.out_of_band] if self.in_band else list(self.out_of_band))

    def take_over(self, snapshot: Snapshot, resume: Mapping[str, ResumePoint]) -> None:
        """Goes on with another worker's, of which the client has got so far, by their ids."""
        for pending in [*([snapshot.pending] if snapshot.pending else []), *snapshot.out_of_band]:
            self._respond(pending, resume=resume.get(pending.response_id))

    def begin(
        self, wish: packets.CreateResponse, turn: int, asked_at: float | None = None, after_item_id: str | None = None
    ) -> events.ResponseStarted:
        """Begins the response of `turn`, to the items up to `after_item_id` (None: all), as long as the wish has no
        input of its own; the event is to be published with the snapshot."""
        last = self._conversation.last_id
        request = ResponseRequest(
            response_id=made_id("resp", self._session_id, turn),
            item_id=made_id("answer", self._session_id, turn),
            instructions=wish.instructions or "",
            text_only=self._conversation.config.text_only if wish.text_only is None else wish.text_only,
            metadata=wish.metadata,
            after_item_id=after_item_id or last or "",
            max_output_tokens=wish.max_output_tokens,
            tools=wish.tools,
            tool_choice=wish.tool_choice,
            voice=wish.voice,
            codec=wish.codec,
            out_of_band=wish.out_of_band,
            input=wish.input,
            previous_item_id="" if wish.out_of_band else last or ROOT,
        )
        self._respond(request, asked_at=asked_at)
        return events.ResponseStarted(
            request.response_id,
            request.item_id,
            request.text_only,
            None if request.out_of_band else last,
            request.metadata,
            request.out_of_band,
            request.voice,
            request.codec,
            request.max_output_tokens,
        )

    def end(
        self, response: Response, outcome: Outcome, heard_milliseconds: int | None, now: float
    ) -> events.ResponseFinished:
        """What was published of it becomes the item's text; if it was cancelled, only as much as was heard (None: as
        can have been heard by now)."""
        response.stop()
        self._outlet.count(metrics.WORKER_TURNS, label=outcome.status)
        if response.request.out_of_band:
            self.out_of_band.remove(response)
            return response.finished(outcome, None)
        self.in_band = None
        if outcome.status == "cancelled" and heard_milliseconds is None:
            heard_milliseconds = response.heard_milliseconds(now)
        previous = response.request.previous_item_id or self._conversation.before(response.request.item_id)
        self._conversation.put(response.item(outcome, heard_milliseconds))
        after = response.request.item_id
        for _, call in response.calls(outcome):
            self._conversation.insert(call, after)
            after = call.id
        return response.finished(outcome, None if previous == ROOT else previous)

    def stop(self) -> None:
        """Ends all work; nothing is remembered or told of it."""
        for response in self:
            response.stop()
        self.in_band, self.out_of_band = None, []

    def _respond(
        self, request: ResponseRequest, *, resume: ResumePoint | None = None, asked_at: float | None = None
    ) -> None:
        response = Response(
            request,
            self._conversation,
            self._ahead_milliseconds,
            self._outlet,
            self._context,
            resume=resume,
            asked_at=asked_at,
        )
        if request.out_of_band:
            self.out_of_band.append(response)
            return
        if self._conversation.find(request.item_id) is None:
            self._conversation.append(Item(request.item_id, "assistant", "", not request.text_only, complete=False))
        self.in_band = response
