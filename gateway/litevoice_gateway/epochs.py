"""Numbers of epochs: higher than every one that is known, and nobody else's."""

from __future__ import annotations

TIE_BITS = 20
CHANCE_BITS, CLOCK_SHIFT = 8, 6
"""Of the tie's bits, when the others tell how far behind the clock is, in units of 64 ms."""


def new_epoch(wall_milliseconds: int, tie: int, known: int) -> int:
    """Higher than every epoch that is `known`, -1 for none, and as a rule than those of earlier owners.

    `tie`: some of its bits tell apart two owners that open in the same millisecond; random, or the owner's own number.
    After an owner whose clock is ahead all that know nothing newer begin in the same millisecond: how far their own
    clocks are behind it tells who has come later. Of more than 262 s the rest is told, which begins anew each time.
    """
    following = (known >> TIE_BITS) + 1
    if following > wall_milliseconds:
        tie = wall_milliseconds - following >> CLOCK_SHIFT << CHANCE_BITS | tie & (1 << CHANCE_BITS) - 1
    return max(wall_milliseconds, following) << TIE_BITS | tie & (1 << TIE_BITS) - 1
