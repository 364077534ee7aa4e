"""A process that does a stage's work, so that what happens to it happens to it only: how it is started, when again, and
what its end is called."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

BACKOFF_FIRST_SECONDS, BACKOFF_MAX_SECONDS = 0.2, 5.0
"""Before the process is started again, from the second failure in a row on."""


@dataclass(slots=True)
class Child:
    """`connection`: to it; it ends with it."""

    process: subprocess.Popen[bytes]
    connection: socket.socket

    @property
    def has_ended(self) -> bool:
        """It is left unburied, so that its group can be ended: until then nobody else gets its number."""
        try:
            return os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        except ChildProcessError:
            return True

    def wait(self) -> None:
        """Until it has; likewise."""
        with contextlib.suppress(ChildProcessError):
            os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOWAIT)

    def kill_all(self) -> None:
        """With its children, if it was started in a group of its own; before it is buried."""
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)

    def end(self) -> int:
        """At once; its exit status."""
        self.connection.close()
        self.process.kill()
        return self.process.wait()

    def ended(self) -> int:
        """Cleans up after a process that has ended by itself, or that shall; its exit status."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(0.2)  # its own status, when it has ended by itself
        return self.end()


def spawn(program: Sequence[str], *, silent: bool, group: bool = False) -> Child:
    """Python with these arguments, and behind them the number of its end of the connection; `group`: in a process group
    (and session) of its own. Raises OSError."""
    mine, theirs = socket.socketpair()
    with theirs:
        # By vfork, as a thread of a process with gRPC must.
        command = [sys.executable, "-P", *program, str(theirs.fileno())]
        output = subprocess.DEVNULL if silent else None
        try:
            process = subprocess.Popen(
                command,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=group,
            )
        except OSError:
            mine.close()
            raise
    return Child(process, mine)


def pause_after(failures: int) -> float:
    """Seconds to wait before the start that follows so many failures in a row."""
    return 0.0 if failures < 2 else min(BACKOFF_FIRST_SECONDS * 2 ** (failures - 2), BACKOFF_MAX_SECONDS)


def hung(status: int) -> bool:
    """Whether the alarm that it set itself has ended it."""
    return status == -signal.SIGALRM
