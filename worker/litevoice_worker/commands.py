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
class Transcribe:
    """Samples at 16 kHz; the result is Transcribed or Failed."""

    job: int
    samples: Samples
    language: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a response is made from.

    Attributes:
        items: the conversation, oldest first.
        said: what was already said of this response; only what follows is wanted.
        max_output_tokens: 0 for no limit.
    """

    instructions: str
    items: list[Item]
    said: str = ""
    max_output_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Respond:
    """The results are Sentence …, then Responded or Failed."""

    job: int
    prompt: Prompt


@dataclass(frozen=True, slots=True)
class Synthesize:
    """The result is Synthesized or Failed."""

    job: int
    text: str
    voice: str
    speed: float
    codec: Codec


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


Command = Publish | Tell | Listen | Transcribe | Respond | Synthesize | CancelJob | Count


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
class Transcribed:
    job: int
    text: str


@dataclass(frozen=True, slots=True)
class Sentence:
    """With the white space before it."""

    job: int
    text: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a response ended: `status` and `reason` as in ResponseFinished."""

    status: Literal["completed", "cancelled", "failed", "incomplete"] = "completed"
    reason: str = ""
    input_tokens: int = 0
    output_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Responded:
    job: int
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Synthesized:
    """Audio in the codec that was asked for."""

    job: int
    audio: bytes


@dataclass(frozen=True, slots=True)
class Failed:
    """A stage could not do its work; the message may go to the client."""

    job: int
    message: str


Result = Published | Listened | Transcribed | Sentence | Responded | Synthesized | Failed
