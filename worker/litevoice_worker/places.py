"""Where an exception comes from, for logs: its own text could hold what was said."""

from __future__ import annotations

import sysconfig
import traceback
from pathlib import Path

DEEPEST = 4
_LIBRARY = sysconfig.get_path("stdlib")
_CALLERS = tuple(str(Path(__file__).parent / part) for part in ("apart", "stages/__init__.py"))


def place(error: BaseException) -> str:
    """Files, lines and functions, the innermost last, without Python's own and what calls plug-ins."""
    frames = [
        f"{'/'.join(Path(frame.filename).parts[-2:])}:{frame.lineno} {frame.name}"
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith(_CALLERS)
        and ("site-packages" in frame.filename or not frame.filename.startswith(_LIBRARY))
    ]
    return ", ".join(frames[-DEEPEST:])
