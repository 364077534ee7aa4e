"""How often what is at rest is looked at: always as often while there is little of it, and with more of it less often,
so that all of it together does not cost more and more. What changes tells by itself: objects by their events, pods by
answers to open questions (`polling`). Pure; all in seconds.
"""

from __future__ import annotations

PASSES_PER_SECOND = 3.3
LEAST_PAUSE, MOST_PAUSE = 10.0, 30.0
ALERTS_PER_SECOND = 10.0
LEAST_ALERT_PAUSE, MOST_ALERT_PAUSE = 4.5, 10.0
"""What crosses a threshold is told within 5 seconds, then; with 100 BacklogAlerts and more within 10."""
FLEETS_LOOKED_AT = 20
"""Of so many VoiceGateways the objects are looked at once a minute."""
MOST_LOOK_FACTOR = 5.0
READS_PER_SECOND = 2.0
LEAST_HOLD, MOST_HOLD = 30.0, 120.0
"""Events can be missed (kopf tells nobody of what went while its watch was broken): so long without a word, and the API
server is asked again."""


def pass_pause(fleets: int) -> float:
    """Between two passes over a VoiceGateway that is settled; `fleets`: of the cluster."""
    return min(MOST_PAUSE, max(LEAST_PAUSE, fleets / PASSES_PER_SECOND))


def alert_pause(alerts: int) -> float:
    """Between two looks at what a BacklogAlert watches; `alerts`: of the cluster."""
    return min(MOST_ALERT_PAUSE, max(LEAST_ALERT_PAUSE, alerts / ALERTS_PER_SECOND))


def hold_seconds(objects: int) -> float:
    """What an event or an answer has shown is believed so long; `objects`: that are held by events."""
    return min(MOST_HOLD, max(LEAST_HOLD, objects / READS_PER_SECOND))


def look_factor(fleets: int) -> float:
    """By which objects that are as they should be are looked at less often."""
    return min(MOST_LOOK_FACTOR, max(1.0, fleets / FLEETS_LOOKED_AT))
