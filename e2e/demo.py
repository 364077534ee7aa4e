"""`make demo`: the main job on real input, end to end. What it prints is what the tests in this folder assert."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from e2e import no_workers
from e2e.alerts import REPLIES_ALERT, REQUESTS_ALERT, AlertWatch
from e2e.cluster_place import DELETE_POD, ClusterPlace
from e2e.environment import GATEWAY, NAMESPACE, SYSTEM_NAMESPACE, is_local, prepare
from e2e.shell import ROOT, CommandFailed, cache_folder, kubectl
from litevoice_dev.progress import progress, say
from litevoice_dev.scenarios import slow_reader, takeover
from litevoice_dev.scenarios.printing import heading, show, verdict
from litevoice_dev.speech import SpeechFailed
from litevoice_dev.voice_client import CallFailed

OUTPUT = Path("demo-output")


async def demonstrate() -> bool:
    """Whether every check was clean."""
    heading("1–4  cluster, images, CRDs, chart, VoiceGateway and BacklogAlerts")
    endpoint = await asyncio.to_thread(prepare)
    show(kubectl("get", "vgw,bla", "-n", NAMESPACE).rstrip())

    place = ClusterPlace(endpoint)

    heading("5–6  a conversation that survives the death of its pod")
    with progress("the call goes on"):
        call = await takeover.hold(place, DELETE_POD, takeover.LONG, ROOT / OUTPUT, show)
    clean = takeover.show_outcome(call)

    heading("7a  a caller that stops reading: its replies wait at the broker")
    with progress("until the alert fires and clears again"):
        slow = await slow_reader.stop_reading(place, AlertWatch(REPLIES_ALERT, show), show)
    clean &= verdict([slow.events], slow.problems)

    heading("7b  no workers: requests wait at the broker")
    with progress("until the alert fires and clears again"):
        starved = await no_workers.starve(place, AlertWatch(REQUESTS_ALERT, show), show)
    show(f"  answered “{starved.answer.text}”")
    clean &= verdict([starved.packets])

    heading("look around")
    if is_local():
        show(f"  export KUBECONFIG={cache_folder() / 'cluster' / 'kubeconfig'} PATH={cache_folder() / 'bin'}:$PATH")
    show(f"""  kubectl get vgw,bla -A                                the gateways and the alerts
  kubectl describe bla -n {NAMESPACE}                          thresholds, top sessions, events
  kubectl logs -n {SYSTEM_NAMESPACE} deploy/litevoice-operator   what the operator does
  kubectl exec -n {NAMESPACE} svc/{GATEWAY}-gateway -- python3 -m litevoice_gateway sessions
  recordings                                            {OUTPUT}/*.wav""")
    if is_local():
        show("  make demo-down                                        removes everything")
    return clean


def main() -> int:
    try:
        clean = asyncio.run(demonstrate())
    except (CommandFailed, CallFailed, SpeechFailed, TimeoutError) as error:
        say(f"stopped: {error}")
        return 1
    say("nothing lost" if clean else "something was lost, see ✘ above")
    return 0 if clean else 1


if __name__ == "__main__":
    sys.exit(main())
