"""The operator as it is, with one more metric: how many requests it has sent to name servers and brokers.

python -m bench.counted_operator
"""

from __future__ import annotations

import sys
from typing import Any

from prometheus_client import Counter

from litevoice_broker.remoting import RemotingClient
from litevoice_operator.__main__ import main

BROKER_CALLS = "bench_broker_calls"
_CALLS = Counter(BROKER_CALLS, "Requests to name servers and brokers")
_call = RemotingClient.call


async def counted(self: RemotingClient, *arguments: Any, **named: Any) -> Any:
    _CALLS.inc()
    return await _call(self, *arguments, **named)


if __name__ == "__main__":
    RemotingClient.call = counted  # type: ignore[method-assign]
    sys.exit(main())
