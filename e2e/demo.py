"""`make demo`: the main job on real input, end to end. What it prints is what the tests in this folder assert."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from e2e.environment import GATEWAY, NAMESPACE, SYSTEM_NAMESPACE, is_local, prepare
from e2e.scenarios import backlogs, takeover
from e2e.shell import ROOT, CommandFailed, cache_folder, kubectl, progress, say
from litevoice_dev.speech import SpeechFailed
from litevoice_dev.tally import Tally
from litevoice_dev.voice_client import CallFailed

OUTPUT = Path("demo-output")


def show(text: str) -> None:
    print(text, flush=True)


def heading(text: str) -> None:
    show(f"\n━━ {text}")


def verdict(*tallies: Tally) -> bool:
    for tally in tallies:
        show(f"  {'✔' if tally.clean else '✘'} {tally}")
    return all(tally.clean for tally in tallies)


async def demonstrate() -> bool:
    """Whether every check was clean."""
    heading("1–4  cluster, images, CRDs, chart, VoiceGateway and BacklogAlerts")
    endpoint = await asyncio.to_thread(prepare)
    show(kubectl("get", "vgw,bla", "-n", NAMESPACE).rstrip())

    heading("5–6  a conversation that survives the death of its pod")
    with progress("the call goes on"):
        call = await takeover.hold(endpoint, ROOT / OUTPUT, show)
    show(f"  moved from {call.pod_before} to {call.pod_after} (close code {call.close_code})")
    show(f"  gap {call.gap_ms:.0f} ms without a connection; the listener heard nothing for {call.stall_ms:.0f} ms")
    clean = verdict(call.packets, call.events)

    heading("7a  a caller that stops reading: its replies wait at the broker")
    with progress("until the alert fires and clears again"):
        slow = await backlogs.slow_reader(endpoint, show)
    show(f"  {backlogs.REPLIES_ALERT} is {slow.cleared.get('state')} again")
    clean &= verdict(slow.lost)

    heading("7b  no workers: requests wait at the broker")
    with progress("until the alert fires and clears again"):
        starved = await backlogs.no_workers(endpoint, show)
    show(f"  {backlogs.REQUESTS_ALERT} is {starved.cleared.get('state')} again; answered “{starved.answer.text}”")
    clean &= verdict(starved.lost)

    heading("look around")
    if is_local():
        show(f"  export KUBECONFIG={cache_folder() / 'cluster' / 'kubeconfig'} PATH={cache_folder() / 'bin'}:$PATH")
    show(f"""  kubectl get vgw,bla -A                                the gateways and the alerts
  kubectl describe bla -n {NAMESPACE}                          thresholds, top sessions, events
  kubectl logs -n {SYSTEM_NAMESPACE} deploy/litevoice-operator   what the operator does
  kubectl exec -n {NAMESPACE} deploy/{GATEWAY}-gateway -- python3 -m litevoice_gateway sessions
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
