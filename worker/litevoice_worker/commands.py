"""What a session's state machine commands its shell, and the results that the shell reports back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from litevoice_contracts.conversation import Codec, Item
from litevoice_contracts.envelopes import DownEnvelope, MessageId
from litevoice_contracts.events import Progress
from litevoice_worker.audio import Samples
from litevoice_worker.opening import Stream

# Commands: what the shell has to do. `job` numbers a stage's work; its results carry the same number.


@dataclass(frozen=True, slots=True)
class Publish:
    """Send this to the session's LiteTopic and report Published. At most one at a time."""

    envelope: DownEnvelope


@dataclass(frozen=True, slots=True)
class Tell:
    """Let the session's gateway know, beside the replies, which packets it need not keep any longer once it has read
    the message `after`, None for none; unless `attempt` is an older one than its own."""

    progress: Progress
    attempt: int
    after: MessageId | None


@dataclass(frozen=True, slots=True)
class Listen:
    """Windows of (n, 512) samples at 16 kHz, which follow those that `stream` has heard; the result is Listened or
    Failed. At most one at a time."""

    job: int
    stream: Stream
    windows: Samples


@dataclass(frozen=True, slots=True)
class StageContext:
    """For whom, and for what, a stage works.

    Attributes:
        session_id: of the voice session.
        principal: whose API key opened it; "" if that is not known.
        model: name of the pipeline, as the client asked for it.
        language: the user speaks it, ISO 639-1; "" for any.
        turn: number of the session's newest turn.
        attempt: how often the session's work was given to a worker anew: 0, and one more each time.
        idempotency_key: the same whenever the same work is done again, by this worker or another one. For a responder
            it stands for the whole answer, of which a later attempt makes the rest.
        said: what was said of the answer before, by whichever worker.
        traceparent: W3C trace context of the session's first connection, "" for none.
    """

    session_id: str
    principal: str
    model: str
    language: str
    turn: int
    attempt: int
    idempotency_key: str
    said: str
    traceparent: str


@dataclass(frozen=True, slots=True)
class Transcribe:
    """Samples at 16 kHz; the results are Heard …, then Transcribed or Failed."""

    job: int
    samples: Samples
    context: StageContext


@dataclass(frozen=True, slots=True)
class Judge:
    """Whether the user has finished, who pauses: samples at 16 kHz since he began or paused before; the result is
    Judged or Failed."""

    job: int
    samples: Samples
    context: StageContext


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a response is made from.

    Attributes:
        items: the conversation, oldest first.
        said: what was already said of this response; only what follows is wanted.
        max_output_tokens: 0 for no limit.
        tools, tool_choice: see SessionConfig.
    """

    instructions: str
    items: list[Item]
    said: str = ""
    max_output_tokens: int = 0
    tools: Sequence[dict[str, object]] = ()
    tool_choice: str = "auto"


@dataclass(frozen=True, slots=True)
class Respond:
    """The results are Sentence and Called …, then Responded or Failed."""

    job: int
    prompt: Prompt
    context: StageContext


@dataclass(frozen=True, slots=True)
class Synthesize:
    """The results are Spoken …, then Synthesized or Failed."""

    job: int
    text: str
    voice: str
    speed: float
    codec: Codec
    context: StageContext


@dataclass(frozen=True, slots=True)
class CancelJob:
    """The result is no longer wanted."""

    job: int


@dataclass(frozen=True, slots=True)
class Count:
    """To be counted: a metric's name, the value of its label ("" for none), and how much."""

    metric: str
    label: str
    amount: float = 1


Command = Publish | Tell | Listen | Judge | Transcribe | Respond | Synthesize | CancelJob | Count


# Results: what the shell reports back.


@dataclass(frozen=True, slots=True)
class Published:
    """The broker has confirmed the last Publish."""


@dataclass(frozen=True, slots=True)
class Listened:
    """Each window's probability of speech, 0 to 1."""

    job: int
    probabilities: Sequence[float]


@dataclass(frozen=True, slots=True)
class Judged:
    """How probable it is that he has, 0 to 1."""

    job: int
    finished: float


@dataclass(frozen=True, slots=True)
class Heard:
    """What the transcript goes on with; more may follow, and Transcribed has all of it."""

    job: int
    text: str


@dataclass(frozen=True, slots=True)
class Transcribed:
    job: int
    text: str


@dataclass(frozen=True, slots=True)
class Sentence:
    """With the white space before it."""

    job: int
    text: str


@dataclass(frozen=True, slots=True)
class FunctionCall:
    """The model wants the client to call one of its functions. `call_id` is the model's own, "" if it has none;
    `arguments` are JSON."""

    call_id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class FunctionCallPart:
    """A part of a call, while the model writes it: the parts of one call have the same `index`. The first that has a
    `call_id`, or a `name`, says it for all; `arguments` are what follows those of the parts before."""

    index: int
    call_id: str = ""
    name: str = ""
    arguments: str = ""


@dataclass(frozen=True, slots=True)
class Called:
    job: int
    call: FunctionCall | FunctionCallPart


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a response ended: `status` and `reason` as in ResponseFinished. `cached_tokens`: of the input."""

    status: Literal["completed", "cancelled", "failed", "incomplete"] = "completed"
    reason: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Responded:
    job: int
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Spoken:
    """A piece of a sentence's audio, in the codec that was asked for; more follows."""

    job: int
    audio: bytes


@dataclass(frozen=True, slots=True)
class Synthesized:
    """The rest of a sentence's audio, perhaps none: all of it from a synthesizer that gives it whole."""

    job: int
    audio: bytes


@dataclass(frozen=True, slots=True)
class Failed:
    """A stage could not do its work; the message may go to the client."""

    job: int
    message: str


Result = (
    Published | Listened | Judged | Heard | Transcribed | Sentence | Called | Responded | Spoken | Synthesized | Failed
)
