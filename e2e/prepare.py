"""`python -m e2e.prepare`: everything that the e2e tests need, from nothing."""

from __future__ import annotations

import sys

from e2e.environment import prepare
from e2e.shell import CommandFailed
from litevoice_dev.progress import say

if __name__ == "__main__":
    try:
        say(f"ready: {prepare().url}")
    except CommandFailed as error:
        say(f"stopped: {error}")
        sys.exit(1)
