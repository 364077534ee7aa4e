"""Whether a gateway's drain can end before somebody ends the pod: said when the limits are set, not when sessions are
cut."""

from __future__ import annotations

import math

from litevoice_operator.api.conditions import DRAIN_FITS
from litevoice_operator.api.voice_gateway import VoiceGatewaySpec
from litevoice_operator.decide.conditions import Finding
from litevoice_operator.decide.pace import moves_per_second, moving_seconds, timeout_for

AUTOSCALER_SECONDS = 600
"""The cluster autoscaler's default for --max-graceful-termination-sec; Karpenter has none."""


def drain_finding(spec: VoiceGatewaySpec) -> Finding:
    """False: a full gateway cannot move all its sessions in time, however the nodes behave. Nor can it those that may
    complete: who has not ended is moved in the end."""
    drain, sessions, most = spec.drain, spec.session.max_per_pod, moves_per_second(spec)
    seconds = moving_seconds(drain.timeout_seconds)
    movable = math.floor(drain.rate_per_second * seconds)
    if sessions > movable:
        needed_rate = math.ceil(sessions / seconds)
        needed_seconds = timeout_for(sessions / drain.rate_per_second)
        by_rate = f"ratePerSecond {needed_rate} or " if needed_rate <= most else ""
        unless = ", if none of them ends by itself" if drain.policy == "Complete" else ""
        message = (
            f"spec.drain: {sessions} sessions (session.maxPerPod) at ratePerSecond {drain.rate_per_second} take "
            f"{needed_seconds} s, timeoutSeconds is {drain.timeout_seconds}: up to {sessions - movable} of a full "
            f"gateway would be cut{unless}; {by_rate}timeoutSeconds {needed_seconds} is enough; "
            f"the operator itself drains no gateway that holds more than {movable}, so a rollout or a scale-down waits"
        )
        return Finding(DRAIN_FITS, "False", "TimeoutTooShort", message)
    if sessions > most * seconds:
        message = (
            f"spec.drain.timeoutSeconds: {sessions} sessions (session.maxPerPod) take "
            f"{timeout_for(sessions / most)} s at {most} per second, a quarter of what {spec.rocketmq.brokers} "
            f"broker(s) can take over, and timeoutSeconds is {drain.timeout_seconds}: the operator does not drain a "
            "gateway that holds more than would be moved in time, so a rollout or a scale-down waits"
        )
        return Finding(DRAIN_FITS, "False", "BrokersTooSlow", message)
    if drain.grace_seconds > AUTOSCALER_SECONDS:
        message = (
            f"spec.drain.timeoutSeconds: a pod may take {drain.grace_seconds} s to end, but the cluster autoscaler "
            f"ends it after {AUTOSCALER_SECONDS} s (its --max-graceful-termination-sec), and a node that shuts down "
            "after its kubelet's shutdownGracePeriod, unless they are set higher; what is open then is cut"
        )
        return Finding(DRAIN_FITS, "Unknown", "LongerThanNodesMayWait", message)
    return Finding(DRAIN_FITS, "True", "Fits", f"a full gateway is drained within {drain.timeout_seconds} s")
