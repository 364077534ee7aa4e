"""Which client libraries there are, and what is asked of each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

PROGRAMS = Path(__file__).with_name("programs")


@dataclass(frozen=True, slots=True)
class Client:
    """`name`: of its lock in locks/clients; `package`: the library in it; `program`: what drives it; `tls`: it speaks
    nothing but wss:; `returns`: it can come back to its session, and is told how (docs/clients.md)."""

    name: str
    title: str
    package: str
    program: str
    tls: bool = False
    returns: bool = False


CLIENTS = (
    Client("openai-python", "openai (Python)", "openai", "run_openai.py", returns=True),
    Client("openai-npm", "openai (npm)", "openai", "run_openai.mjs", tls=True, returns=True),
    Client("agents-python", "openai-agents (Python)", "openai-agents", "run_agents.py"),
    Client("agents-npm", "@openai/agents-realtime (npm)", "@openai/agents-realtime", "run_agents.mjs"),
    Client("livekit", "livekit-plugins-openai", "livekit-plugins-openai", "run_livekit.py"),
    Client("pipecat", "pipecat-ai", "pipecat-ai", "run_pipecat.py"),
)
STEPS = {
    "spoken": "spoken turn",
    "typed": "typed turn",
    "interrupted": "interruption, and the next question",
    "called": "function call",
    "edited": "history edited",
    "drained": "its gateway is drained under it",
}
"""Name → what the table calls it."""
BRIEF = ("spoken", "typed", "interrupted", "called")
"""What `make test` has time for. LiveKit's plug-in is deaf for the first 3 s of what it says, so an interruption comes
after two answers."""
MOVED = "asked to move (`Migrate`)"
CONTINUES, OWN_HISTORY, NEW_SESSION, GONE = (
    "continues its session",
    "comes back in a new session, with its own history",
    "comes back in a new, empty session",
    "does not come back",
)
