"""What of a conversation goes to the model when a client has given it a budget of tokens. Pure.

Nobody remembers what was left out before: the conversation is gone through from its beginning each time, and what is
left out is the same, on every worker, until the budget is exceeded once more. So the beginning of what the model gets
stays the same for several answers, which caches of endpoints need.
"""

from __future__ import annotations

from collections.abc import Iterable

from litevoice_contracts.conversation import Item, Truncation

BYTES_PER_TOKEN = 4
"""An estimate, of text in UTF-8: of English it is about right, of other languages rather too many."""
TOKENS_PER_ITEM = 4
"""For what stands around it."""


def tokens(item: Item) -> int:
    """An estimate."""
    return TOKENS_PER_ITEM + -(-len((item.name + item.text).encode()) // BYTES_PER_TOKEN)


def within(items: Iterable[Item], truncation: Truncation) -> list[Item]:
    """Without the oldest items, while the rest is more than `max_tokens`; then until it is `retention_ratio` of that. A
    function call goes with its output. The newest item stays, whatever its size."""
    items = list(items)
    if not truncation.max_tokens:
        return items
    kept: dict[str, list[Item]] = {}  # by the id of their first; oldest first
    calls: dict[str, str] = {}  # those ids, by call_id
    total, floor = 0, int(truncation.max_tokens * truncation.retention_ratio)
    for item in items:
        is_output = item.kind == "function_call_output" and item.call_id in calls
        unit = calls[item.call_id] if is_output else item.id
        if item.kind == "function_call":
            calls[item.call_id] = unit
        if is_output and unit not in kept:
            continue  # its call is gone
        kept.setdefault(unit, []).append(item)
        total += tokens(item)
        if total > truncation.max_tokens:
            for oldest in list(kept):
                if total > floor and oldest != unit:
                    total -= sum(map(tokens, kept.pop(oldest)))
    left = {item.id for unit in kept.values() for item in unit}
    return [item for item in items if item.id in left]
