"""`python -m e2e.prepare`: everything that the e2e tests need, from nothing."""

from __future__ import annotations

from e2e.environment import prepare
from litevoice_dev.progress import say

if __name__ == "__main__":
    say(f"ready: {prepare().url}")
