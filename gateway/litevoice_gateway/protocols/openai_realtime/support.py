"""What is decided on events and fields of OpenAI's protocol that `client_events` and `server_events` do not have, and
what has to be said of some that they have. docs/reference/protocol-support.md shows it, field by field."""

from __future__ import annotations

from typing import Literal

Support = Literal["supported", "shown as not applied", "ignored", "refused"]
"""Of a field. Shown as not applied: `session.updated` names it in `session.litevoice.not_applied`. Ignored: it may be
there and changes nothing. Refused: an `error` event that names it; nothing of its event counts."""

_NO_MCP = "of MCP servers: there are none here"
_NO_WEBRTC = "of WebRTC and SIP"

EVENTS_REFUSED = {"output_audio_buffer.clear": _NO_WEBRTC}
"""Client events."""

FIELDS: dict[str, tuple[Support, str]] = {
    "session.update: session.audio.input.transcription.languages": ("shown as not applied", "`language` names one"),
    "session.update: session.audio.input.transcription.keywords": ("shown as not applied", ""),
    "conversation.item.create: item.object": ("ignored", ""),
    "conversation.item.create: item.status": ("ignored", "an item is complete"),
    "conversation.item.create: item.content.audio": ("ignored", "the `transcript` beside it is kept"),
    "conversation.item.create: item.content.image_url": ("refused", "items are text"),
    "conversation.item.create: item.content.detail": ("refused", "of an image"),
    **{
        f"conversation.item.create: item.{field}": ("refused", _NO_MCP)
        for field in ("approval_request_id", "approve", "error", "reason", "server_label", "tools")
    },
    "response.create: response.input.object": ("ignored", ""),
    "response.create: response.input.status": ("ignored", "an item is complete"),
    "response.create: response.input.content.audio": ("ignored", "the `transcript` beside it is kept"),
    "response.create: response.input.content.image_url": ("refused", "items are text"),
    "response.create: response.input.content.detail": ("refused", "of an image"),
    **{
        f"response.create: response.input.{field}": ("refused", _NO_MCP)
        for field in ("approval_request_id", "approve", "error", "reason", "server_label", "tools")
    },
}
"""`event: path` of client events → what becomes of it, and of all fields below it, and why."""

NOTES = {
    "session.update: session.audio.input.turn_detection.type": (
        "`semantic_vad`: as `server_vad` with its defaults where the pipeline has no turn detector"
    ),
    "session.update: session.audio.input.turn_detection.eagerness": "2, 4 or 8 s at most; needs a turn detector",
    "session.update: session.truncation": "`retention_ratio` needs `token_limits.post_instructions`",
    "session.update: session.tools": "functions; other kinds are shown as not applied",
    "session.update: session.tool_choice": "not applied when it names a function that is not among the tools",
    "response.create: response.tool_choice": "refused when it names a function that is not among the tools",
    "session.update: session.audio.output.voice": "not applied where the pipeline's `voices` do not have it",
    "response.create: response.audio.output.voice": "the session's where the pipeline's `voices` do not have it",
    "response.create: response.tools": "functions; other kinds are ignored",
    "conversation.item.create: item.type": "`message`, `function_call`, `function_call_output`",
}
"""Of fields that are supported."""

EVENTS_NOT_SENT = {
    "conversation.created": "of the former API",
    "conversation.item.created": "of the former API: `conversation.item.added` and `.done`",
    "conversation.item.input_audio_transcription.segment": "speakers are not told apart",
    "input_audio_buffer.dtmf_event_received": "of SIP",
    "mcp_list_tools.completed": _NO_MCP,
    "mcp_list_tools.failed": _NO_MCP,
    "mcp_list_tools.in_progress": _NO_MCP,
    "output_audio_buffer.cleared": _NO_WEBRTC,
    "output_audio_buffer.started": _NO_WEBRTC,
    "output_audio_buffer.stopped": _NO_WEBRTC,
    "rate_limits.updated": "there are no limits of this kind",
    "response.mcp_call.completed": _NO_MCP,
    "response.mcp_call.failed": _NO_MCP,
    "response.mcp_call.in_progress": _NO_MCP,
    "response.mcp_call_arguments.delta": _NO_MCP,
    "response.mcp_call_arguments.done": _NO_MCP,
}
"""Server events, and why not."""
