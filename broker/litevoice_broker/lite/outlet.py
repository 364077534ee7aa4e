"""What goes out: numbered calls to the broker, each until it is answered, and news for the user. Sans I/O."""

from __future__ import annotations

from itertools import count

from litevoice_broker.errors import BrokerError
from litevoice_broker.lite import commands as do
from litevoice_broker.lite.changes import Change
from litevoice_broker.lite.full_sync import Gate, Survey
from litevoice_broker.lite.topic import Topic

Asker = Change | list[Topic] | Gate | Survey
"""What a call is for, and its answer."""


class Outlet:
    """Collects the commands of one input.

    Attributes:
        calls: for what those are that have no answer yet, by their numbers.
    """

    def __init__(self) -> None:
        self.calls: dict[int, Asker] = {}
        self._numbers = count(1)
        self._commands: list[do.Command] = []

    def number(self) -> int:
        """A new one, of a request or a call."""
        return next(self._numbers)

    def call(self, asker: Asker, what: do.What) -> None:
        number = self.number()
        self.calls[number] = asker
        self.tell(do.Call(number, what))

    def finish(self, request: int, error: BrokerError | None = None) -> None:
        self.tell(do.Finished(request, error))

    def tell(self, command: do.Command) -> None:
        self._commands.append(command)

    def take(self) -> list[do.Command]:
        """The commands since the last look."""
        commands, self._commands = self._commands, []
        return commands
