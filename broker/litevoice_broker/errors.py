"""What can go wrong between a client and RocketMQ, so that callers decide by type and people read what to do."""

from __future__ import annotations


class BrokerError(Exception):
    """The broker refused or failed.

    Attributes:
        code: RocketMQ's own code (gRPC `Code` or remoting response code), None when there was no answer.
        retryable: whether the same call may succeed later.
    """

    def __init__(self, message: str, *, code: int | None = None, retryable: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.retryable = retryable


class BrokerUnavailable(BrokerError):  # noqa: N818 - reads as what it is
    """Broker, proxy or name server cannot be reached, or is restarting. Always retryable."""

    def __init__(self, message: str, *, code: int | None = None) -> None:
        super().__init__(message, code=code, retryable=True)


class Overloaded(BrokerError):  # noqa: N818 - reads as what it is
    """A bound of this client was reached; nothing was sent. Retryable when something has drained."""

    def __init__(self, message: str) -> None:
        super().__init__(message, retryable=True)


class NotPermitted(BrokerError):  # noqa: N818 - reads as what it is
    """The broker knows no such user, the signature is not that user's, or the user may not do this."""
