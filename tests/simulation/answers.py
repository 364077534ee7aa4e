"""What a caller asks, and what it must be answered: to the byte, once, in order."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from litevoice_gateway.packet_log import MAX_ATTEMPTS
from tests.simulation.poison import Poison
from tests.simulation.protocol import CODEC
from tests.simulation.stages import answer_to, speech

if TYPE_CHECKING:
    from tests.simulation.client import Client

PAUSE = "0"
"""What is heard between two pieces of an utterance; nobody says it."""
QUIET_SECONDS = 9.0
"""After the last event of a question that may have been lost in part, nothing more comes of it: a pause ends what was
heard (2 s), it is understood and answered."""


@dataclass(slots=True)
class Answer:
    """A response that has begun: to what was understood."""

    text: str
    said: str = ""
    audio: list[bytes] = field(default_factory=list)


@dataclass(slots=True)
class Question:
    text: str
    spoken: bool
    asked: float
    said_at: float
    """When its last frame is sent."""
    losses: int = 0
    """Packets that gateways had counted as lost before it was asked."""
    text_seen: bool = False
    answered: bool = False
    finished: bool = False
    exposed: bool = False
    """Its gateway was killed, and alone had what no worker was done with."""
    late: bool = False
    """That gateway lives, and may leave it to the next one after all, when what was said later is understood."""
    unsure: bool = False
    """Some of it may be lost: it was given up, or a client without acknowledgements lost its connection over it."""
    understood: list[str] = field(default_factory=list)
    """As what, piece by piece."""
    heard_at: float = 0.0
    """When something last came of it."""
    response: str = ""
    committed: bool = False
    poison: Poison | None = None
    given_up: int = 0
    """How often the client was told so."""
    limited_before: int = -1
    """How often gateways had counted that a client sends too much; -1 when it does not."""
    moves_before: int = 0

    @property
    def recorded(self) -> bool:
        """It is said all at once, and begins with silence."""
        return self.limited_before >= 0


class Answers:
    """Of one caller, which is told what must not be.

    Attributes:
        open: the newest question, until it is answered.
        cut: the one before, whose answer the client has talked over, until that ends; also what was left of one that is
            understood by itself.
        cancels: that the client has sent, and that nothing came of yet.
        exposed_cancels: of these, those that went with a gateway, see Question.exposed.
        items: of the conversation, as far as the client was told of them.
        under_way: responses that have begun and not ended, by id.
        left: of what was said before, and lost in part, what may not be understood yet: a last piece that was too
            short to be taken for speech is heard with what is said next, as no silence came between them. If that
            begins with silence, it ends there: it is understood first, by itself, and answered unless more comes.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._world = client.world
        self.open: Question | None = None
        self.cut: Question | None = None
        self.cancels = self.exposed_cancels = 0
        self.items = 0
        self.left = ""
        self.under_way: dict[str, Answer] = {}
        self._ended: set[str] = set()

    @property
    def unsure(self) -> bool:
        """Some of the open question may be lost, as docs/limits.md says; a gateway that lived has counted it."""
        question = self.open
        if question is None:
            return False
        counted = not self._client.acks and self._world.counted_losses() > question.losses
        return question.unsure or counted

    def may_be_left(self, text: str) -> bool:
        """Of the open question, when some of it went with gateway and worker: it may sound like an earlier one."""
        question = self.open
        if question is None or not question.spoken or text == question.text:
            return False
        return _is_part(text, question.text) and self._world.excused(self._client)

    def expose(self, *, lives: bool) -> None:
        """Its gateway ends, or is left and `lives`, and alone has what no worker was done with."""
        self.exposed_cancels = self.cancels
        if self.open is not None:
            self.open.exposed = True
            self.open.late |= lives

    def restored(self, told: list[Any] | None) -> None:
        """What a gateway says of a session that was come back to."""
        if told is None:
            self._broken("is told nothing of what was restored")
            return
        items, response_id, unreadable = told
        if items < self.items:
            self._broken(f"knows of {self.items} items, and is told of {items}")
        if unreadable:
            self._broken(f"is told of {unreadable} events that cannot be read")
        for known in self.under_way:
            if known != response_id:
                self._broken(f"hears {known}, and is told that {response_id!r} is under way")
        if response_id in self._ended:
            self._broken(f"is told that {response_id} is under way, which has ended")

    def event(self, event: dict[str, Any]) -> None:
        kind, question = event["t"], self.open
        if kind in ("progress", "turn_replay", "epoch_rejected", "speech_started", "speech_stopped"):
            return
        if kind in ("input_committed", "session_updated"):
            if question is not None:
                question.committed = True
            return
        if kind == "error":
            self._error(event.get("code"))
            return
        if question is None:
            self._broken(f"got {kind} although nothing is open")
            return
        question.heard_at = self._world.loop.now
        match kind:
            case "input_transcribed" | "item_created":
                text = event["transcript"] if "transcript" in event else event["item"]["text"]
                self._understood(question, text)
            case "response_started":
                self._begins(question, event["response_id"])
            case "text_delta":
                self._answer(event).said += event["text"]
            case "audio_delta":
                self._answer(event).audio.append(base64.b64decode(event["audio"]))
            case "response_finished":
                self._finished(question, event)
            case "transcription_failed":
                if question.poison is not None and not question.text_seen:
                    question.text_seen = True
                    self._end_if_complete(question)
                elif self.unsure:  # what was cancelled beside it is asked again if it comes late after all
                    question.answered = False
                elif self._world.poison.deaths <= MAX_ATTEMPTS:  # else one that is over kills on
                    self._client.wrong(f"{self._name(question)} was not understood: {event['message']}")
            case other:
                self._broken(f"got {other}")

    def closes(self) -> bool:
        """Nothing more will come of a question that may have been lost in part: then it is over."""
        question = self.open
        if question is None or not self.unsure or self.under_way or not self._client.hello:
            return False
        since = max(question.heard_at, question.said_at, self._world.explained_for(self._client))
        if self._world.loop.now - since < QUIET_SECONDS:
            return False
        self._world.say(f"{self._name(question)}: understood is {''.join(question.understood)!r}")
        if question.spoken and not self._client.acks:
            self.left = rest_of(self.left + question.text, "".join(question.understood))
        self._end(question)
        self.cancels = 0
        return True

    # --- inside

    def _understood(self, question: Question, text: str) -> None:
        question.understood.append(text)
        self.items += bool(text)
        left = self.left if question.spoken else ""
        said = text.replace(PAUSE, "") if left else text
        if self.unsure:
            pieces = [piece.replace(PAUSE, "") if left else piece for piece in question.understood]
            in_order = not (question.late and self._world.excused(self._client))
            if not are_parts(pieces, left + question.text, in_order=in_order):
                self._broken(f": of {question.text!r} was understood {question.understood}")
        elif question.text_seen:
            self._broken(f": {question.text!r} was understood as {text!r} again")
        elif text != question.text and left and text.endswith(question.text) and _is_part(said, left + question.text):
            self._world.say(f"{self._name(question)} is understood as {text!r}, with what was left of {left!r}")
            question.text = text  # which is answered
        elif text and question.recorded and self.cut is None and text != question.text and _is_part(text, left):
            self._world.say(f"{self._name(question)} comes after {text!r}, which was left of {left!r}")
            self.cut = Question(question.understood.pop(), True, question.asked, question.said_at, understood=[text])
            self.left = ""
            return
        elif text != question.text:
            self._client.wrong(f"{self._name(question)} was understood as {text!r}")
        if self.cut is not None and not self.cut.response:
            self.cut = None  # both have one answer
        if question.spoken and not self.unsure:
            self.left = ""
        question.text_seen = True
        self._end_if_complete(question)
        self._client.moment("is understood")

    def _begins(self, question: Question, response_id: str) -> None:
        if self.cut is not None and not self.cut.response:
            question = self.cut
        if (question.response and not self.unsure) or response_id in self._ended:
            self._broken(f": a second response to {question.text!r}")
        question.response = response_id
        self.under_way[response_id] = Answer(question.understood[-1] if question.understood else "")
        self._client.hears(question)

    def _answer(self, event: dict[str, Any]) -> Answer:
        found = self.under_way.get(event["response_id"])
        if found is None:
            self._broken(f"got {event['t']} of an answer that is not under way")
        return found or Answer("")

    def _finished(self, question: Question, event: dict[str, Any]) -> None:
        answer, response_id, status = self._answer(event), event["response_id"], event["status"]
        self.under_way.pop(response_id, None)
        self._ended.add(response_id)
        self.items += bool(answer.said) and status == "completed"
        if event["text"] != answer.said:
            self._broken(f": an answer ends as {event['text']!r}, said was {answer.said!r}")
        if self.cut is not None and response_id == self.cut.response:
            cut, self.cut = self.cut, None
            self._compare(answer, cut.text, whole=status == "completed")
            cut.finished = True
            given_up = self.open is not None and self.open.given_up  # the turn, with all that was in it
            if status not in ("completed", "cancelled") and not (status == "failed" and given_up):
                self._broken(f": the answer to {cut.text!r} is {status}: {event.get('reason')}")
            return
        if question.poison is not None:
            if status != "failed":
                self._broken(
                    f": the answer to {question.text!r} is {status}, although its {question.poison.stage} fails"
                )
        elif status == "cancelled" and event["reason"] == "client_cancelled" and self.cancels:
            self.cancels -= 1
            self._compare(answer, question.text, whole=False)
        elif self.unsure:
            self._compare(answer, answer.text, whole=status == "completed")
            if status != "completed" or "".join(question.understood) != question.text:
                return
        elif status != "completed":
            told = f"the answer to {question.text!r} is {status}: {event.get('reason')}"
            self._client.wrong(f"{self._client.name}: {told}")
            return
        else:
            self._compare(answer, question.text)
        question.answered = True
        self._end_if_complete(question)

    def _end_if_complete(self, question: Question) -> None:
        """A response that was cancelled may end before it is told what was understood."""
        if not (question.answered and question.text_seen):
            return
        if self.cut is not None and not self.unsure:
            self._broken(f": the answer to {self.cut.text!r} does not end, which was interrupted")
        self._end(question)
        self._client.answered(question)

    def _end(self, question: Question) -> None:
        if question.poison is not None:
            self._judge(question, question.poison)
            if question.committed and not question.answered:
                self._broken(f": no response to {question.text!r} has failed, although it is given up")
        question.finished = True
        self.open = None

    def _judge(self, question: Question, poison: Poison) -> None:
        faults = self._world.strikes.begun - poison.faults_before - poison.deaths
        taken = sum(at >= question.asked for at, _ in self._world.watching.claims(self._client.session_id))
        lost = self._world.excused(self._client)
        if wrong := poison.judged(question.given_up, faults, owners=taken, lost=lost):
            self._broken(f": {question.text!r} {wrong}")

    def _compare(self, answer: Answer, text: str, *, whole: bool = True) -> None:
        """`whole`: else it may end anywhere."""
        expected = answer_to(text)
        said, wanted = "".join(expected), b"".join(speech(sentence, CODEC) for sentence in expected)
        audio = b"".join(answer.audio)
        if answer.said != said if whole else not said.startswith(answer.said):
            self._broken(f": the answer to {text!r} is {answer.said!r}")
        elif audio != wanted if whole else not wanted.startswith(audio):
            sizes = [len(piece) for piece in answer.audio]
            self._broken(f": the answer to {text!r} sounds wrong: pieces of {sizes}, {len(wanted)} bytes expected")

    def _error(self, code: str | None) -> None:
        question = self.open
        if code == "response_cancel_not_active" and self.cancels:
            self.cancels -= 1
        elif code == "turn_given_up" and question is not None and self._may_be_given_up(question):
            self._world.say(f"{self._name(question)} is given up")
            question.given_up += 1
            question.unsure = True
        else:
            self._broken(f"was told of an error: {code}")

    def _may_be_given_up(self, question: Question) -> bool:
        """It kills its workers, or so many died of something else since the turn has begun: with the question whose
        answer the client talks over, while that has not ended."""
        began = self.cut.asked if self.cut is not None else question.asked
        hit = sum(at >= began for at in self._world.workers_hit)
        return question.poison is not None or hit >= MAX_ATTEMPTS

    def _name(self, question: Question) -> str:
        return f"{self._client.name}: {question.text!r}"

    def _broken(self, what: str) -> None:
        self._world.broken(f"{self._client.name}{'' if what[0] == ':' else ' '}{what}")


def _is_part(text: str, whole: str) -> bool:
    """It is left of the whole when something is left out."""
    rest = iter(whole)
    return all(letter in rest for letter in text)


def are_parts(pieces: Sequence[str], whole: str, *, in_order: bool) -> bool:
    """Each is one, in itself in order, and nothing is in two. They come in the whole's order, but for what went with
    gateway and worker and comes late after all: it is understood then (docs/limits.md), since nobody knows where
    something belongs that the client has not numbered."""
    if in_order:
        return _is_part("".join(pieces), whole)
    return all(_is_part(piece, whole) for piece in pieces) and Counter("".join(pieces)) <= Counter(whole)


def rest_of(whole: str, part: str) -> str:
    """What of the whole comes after a part of it, at most."""
    rest = iter(whole)
    return "" if not all(letter in rest for letter in part) else "".join(rest)
