"""OpenAI Realtime over WebSocket, GA event names: what of it is spoken here is listed in `protocol.py`."""

from litevoice_gateway.protocols.openai_realtime.protocol import OpenAIRealtime
from litevoice_gateway.protocols.openai_realtime.upgrade import OpenAIRealtimeFactory

__all__ = ["OpenAIRealtime", "OpenAIRealtimeFactory"]
