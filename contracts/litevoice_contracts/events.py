"""What goes down a session's LiteTopic: protocol-neutral server events. Protocols in the gateway translate them.

One neutral event may become several events of a client protocol (`ResponseStarted` is four OpenAI Realtime events).
"""

from __future__ import annotations

from typing import Literal

import msgspec

from litevoice_contracts.conversation import QUIETEST_FLOOR, Codec, Item, Mark
from litevoice_contracts.packets import Packet


class _Event(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="t"):
    pass


class SpeechStarted(_Event, frozen=True, tag="speech_started"):
    """The user began to speak `audio_ms` after the session's first audio; `item_id` is the item it will become."""

    item_id: str
    audio_ms: int


class SpeechStopped(_Event, frozen=True, tag="speech_stopped"):
    item_id: str
    audio_ms: int


class InputTimedOut(_Event, frozen=True, tag="input_timed_out"):
    """Nobody has spoken from `start_ms` to `end_ms` of the session's audio: that becomes an item, and is answered."""

    item_id: str
    start_ms: int
    end_ms: int


class InputCommitted(_Event, frozen=True, tag="input_committed"):
    """The utterance is complete; its transcript follows."""

    item_id: str
    previous_item_id: str | None = None


class InputTranscriptDelta(_Event, frozen=True, tag="input_transcript_delta"):
    """What the transcript goes on with, while the recognizer works; the whole transcript counts."""

    item_id: str
    text: str


class InputTranscribed(_Event, frozen=True, tag="input_transcribed"):
    item_id: str
    transcript: str
    seconds: float
    previous_item_id: str | None = None


class TranscriptionFailed(_Event, frozen=True, tag="transcription_failed"):
    item_id: str
    message: str
    previous_item_id: str | None = None


class InputCleared(_Event, frozen=True, tag="input_cleared"):
    pass


class ItemCreated(_Event, frozen=True, tag="item_created"):
    """The client's `conversation.item.create` took effect."""

    item: Item
    previous_item_id: str | None = None


class ItemDeleted(_Event, frozen=True, tag="item_deleted"):
    item_id: str


class ItemRetrieved(_Event, frozen=True, tag="item_retrieved"):
    """The item as it is remembered."""

    item: Item


class ItemTruncated(_Event, frozen=True, tag="item_truncated"):
    """Of the answer, what was heard in `audio_end_ms` is remembered."""

    item_id: str
    audio_end_ms: int


class SessionUpdated(_Event, frozen=True, tag="session_updated"):
    """The configuration in this envelope's snapshot is in force; `not_applied` as in Update."""

    not_applied: list[str] | None = None


class ResponseStarted(_Event, frozen=True, tag="response_started"):
    """The last four as in ResponseRequest."""

    response_id: str
    item_id: str
    text_only: bool = False
    previous_item_id: str | None = None
    metadata: dict[str, str] | None = None
    out_of_band: bool = False
    voice: str | None = None
    codec: Codec | None = None
    max_output_tokens: int | None = None


class TextDelta(_Event, frozen=True, tag="text_delta"):
    """A sentence of the answer, with the white space before it; its audio follows unless text only."""

    response_id: str
    item_id: str
    text: str


class AudioDelta(_Event, frozen=True, tag="audio_delta"):
    """Audio of the latest sentence, in the response's codec, or else the session's."""

    response_id: str
    item_id: str
    audio: bytes


class CallStarted(_Event, frozen=True, tag="call_started"):
    """The model writes a call of a function; its arguments follow. The client is to call it once ResponseFinished has
    it among its `calls`. `index`: of the response's items; 0 is the message."""

    response_id: str
    item_id: str
    index: int
    call_id: str
    name: str


class CallDelta(_Event, frozen=True, tag="call_delta"):
    """The next piece of a call's arguments."""

    response_id: str
    item_id: str
    index: int
    call_id: str
    text: str


class ResponseFinished(_Event, frozen=True, tag="response_finished"):
    """`status` and `reason` as in OpenAI's `response.status_details`; `text` is what was said in all, of which the
    conversation remembers what was heard. `calls`: of the client's functions; they stand after the answer's item.
    `call_indexes`: the calls were told as they were written, under these indexes; None: they were not.
    `cached_tokens`: of the input. The four before it as in ResponseRequest."""

    response_id: str
    item_id: str
    status: Literal["completed", "cancelled", "failed", "incomplete"]
    text: str
    text_only: bool = False
    reason: str = ""
    metadata: dict[str, str] | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    previous_item_id: str | None = None
    calls: list[Item] | None = None
    call_indexes: list[int] | None = None
    out_of_band: bool = False
    voice: str | None = None
    codec: Codec | None = None
    max_output_tokens: int | None = None
    cached_tokens: int = 0


class SessionError(_Event, frozen=True, tag="error"):
    """A client event was refused; the session lives on."""

    code: str
    message: str
    param: str | None = None
    event_id: str | None = None


# Control events: for the owner, never forwarded to the client.


class Progress(_Event, frozen=True, tag="progress"):
    """Nothing up to and including `upto` is needed any more (silence, or folded into a snapshot).

    `audio_ms` and `noise_floor` are the cursor's there, for the snapshot that a worker begins with after `upto`.
    """

    upto: Mark
    audio_ms: int = 0
    noise_floor: float = QUIETEST_FLOOR


class TurnReplay(_Event, frozen=True, tag="turn_replay"):
    """A worker that does not know the session, or misses packets, asks the owner to send snapshot and open turn again.

    It ends its attempt for every reader of the log: what follows of the same attempt does not count.

    Attributes:
        reason: `failed`: the worker has tried, and lives on. `handed_over`: it leaves as planned, which says nothing
            against the turn, and wants no replay: the next one asks.
        after: the last packet that the worker has applied, None when it knows nothing.
        provoked: the owner has made it ask (see UpEnvelope), which says nothing against the turn either.
    """

    reason: Literal["unknown_session", "gap", "failed", "handed_over"]
    after: Mark | None = None
    provoked: bool = False


class Displaced(_Event, frozen=True, tag="displaced"):
    """Another worker has taken the session from this one, which was at work on it, or had asked, and lives: nothing is
    said against the turn. It stands alone in its message, which counts whatever its attempt."""


class EpochRejected(_Event, frozen=True, tag="epoch_rejected"):
    """Packets of the epoch `rejected` were refused: it is older than `current`. The owner whose epoch it is opens a
    higher one; to any other it means nothing."""

    rejected: int
    current: int


class Handover(_Event, frozen=True, tag="handover"):
    """An owner leaves these packets to the next one: the broker has them, and no worker has said that it is done with
    them. It stands alone in its message, which counts whatever its attempt.

    Attributes:
        epoch, seq: number of the first packet; the others follow without a gap.
        client_seqs: see UpEnvelope.
        progress: the newest that the owner knew.
        former: packet 0 of the epoch, as it was numbered in an epoch that was refused.
    """

    epoch: int
    seq: int
    packets: list[Packet]
    codec: Codec = "pcm16/24000"
    client_seqs: list[int | None] | None = None
    progress: Progress | None = None
    former: Mark | None = None


DownEvent = (
    SpeechStarted
    | SpeechStopped
    | InputTimedOut
    | InputCommitted
    | InputTranscriptDelta
    | InputTranscribed
    | TranscriptionFailed
    | InputCleared
    | ItemCreated
    | ItemDeleted
    | ItemRetrieved
    | ItemTruncated
    | SessionUpdated
    | ResponseStarted
    | TextDelta
    | AudioDelta
    | CallStarted
    | CallDelta
    | ResponseFinished
    | SessionError
    | Progress
    | TurnReplay
    | Displaced
    | EpochRejected
    | Handover
)

CONTROL_EVENTS = (Progress, TurnReplay, Displaced, EpochRejected, Handover)
