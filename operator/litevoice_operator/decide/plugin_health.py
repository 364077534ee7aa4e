"""Whether a team's plug-ins work, as the workers say: a condition that names the one that does not. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from litevoice_contracts.control import FailingPlugin, WorkerStatus
from litevoice_operator.api.conditions import PLUGINS_HEALTHY
from litevoice_operator.decide.conditions import Finding
from litevoice_operator.observe.pods import Pod

MAX_NAMED = 3


def plugin_finding(pods: Sequence[Pod], answers: Mapping[str, WorkerStatus]) -> Finding:
    """`answers`: the workers' own, by pod name."""
    failing = [(plugin, pod) for pod, answer in answers.items() for plugin in answer.failing]
    if failing:
        failing.sort(key=lambda found: (found[0].seconds, found[1], found[0].stage, found[0].plugin))
        named = [_sentence(plugin, pod) for plugin, pod in failing[:MAX_NAMED]]
        if len(failing) > MAX_NAMED:
            named.append(f"and {len(failing) - MAX_NAMED} more")
        return Finding(PLUGINS_HEALTHY, "False", "PluginFailing", "; ".join(named))
    ready = [pod.name for pod in pods if pod.component == "worker" and pod.ready and not pod.terminating]
    if ready and not answers:
        return Finding(PLUGINS_HEALTHY, "Unknown", "WorkersSilent", f"{len(ready)} ready workers do not answer")
    return Finding(PLUGINS_HEALTHY, "True", "AsExpected", "no plug-in failed in the last 10 minutes")


def _sentence(failing: FailingPlugin, pod: str) -> str:
    """`responder "bookings" hung 3 times in 10 minutes on demo-worker-abc (last 12 s ago)`."""
    times = "once" if failing.deaths == 1 else f"{failing.deaths} times"
    did = {"crashed": "crashed", "hung": "hung", "grew": "took too much memory"}[failing.how]
    stage = failing.stage.replace("_", " ")
    return f'{stage} "{failing.plugin}" {did} {times} in 10 minutes on {pod} (last {failing.seconds:.0f} s ago)'
