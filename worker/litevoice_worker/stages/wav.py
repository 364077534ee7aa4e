"""Samples as a WAV file, for endpoints."""

from __future__ import annotations

import io
import wave

from litevoice_worker.audio import Samples
from litevoice_worker.endpointing import SAMPLE_RATE


def wav(samples: Samples) -> bytes:
    """16 bit, 16 kHz."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(SAMPLE_RATE)
        writer.writeframes(samples.astype("<i2", copy=False).tobytes())
    return file.getvalue()
