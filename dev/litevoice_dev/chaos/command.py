"""Calls through a real RocketMQ while everything fails: kill -9, SIGTERM, freezes and cut links, in turn and together.

Starts RocketMQ (two brokers, two proxies), two gateways and two workers as plain processes, and compares every packet,
event and answer of each call with the broker's log and with an undisturbed call. First each kind of fault happens once,
then several overlap until the time is over; the seed decides them. Ctrl-C ends the faults and shows what there is.

Shorter than 10 minutes, faults are brief and gap times are shown but do not decide; exactness always does. Needs about
4 GiB. Exit code 0: every bar held.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path

from litevoice_contracts.errors import InvalidField
from litevoice_dev.chaos.schedule import KINDS, Fault, kinds_from, plan
from litevoice_dev.progress import say

OUTPUT = Path("chaos-output")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--minutes", type=float, default=30.0, help="of disturbances (default: %(default)s)")
    parser.add_argument("--sessions", type=int, default=40, help="calls at the same time (default: %(default)s)")
    parser.add_argument("--speaking", type=int, default=10, help="of these, with a microphone (default: %(default)s)")
    parser.add_argument("--churn", type=float, default=5.0, help="short sessions per second (default: %(default)s)")
    parser.add_argument("--brokers", type=int, choices=(1, 2), default=2, help="masters (default: %(default)s)")
    parser.add_argument("--seed", type=int, help="decides all faults (default: a new one)")
    parser.add_argument("--only", default="", metavar="KINDS", help=f"some of {', '.join(KINDS)}")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="for raw data and plot (default: %(default)s)")
    parser.add_argument("--plan", action="store_true", help="show the faults and end")


def chaos(chosen: argparse.Namespace) -> int:
    """The exit code."""
    from litevoice_dev.chaos.place import targets

    seed = random.randrange(1_000_000) if chosen.seed is None else chosen.seed
    try:
        check(chosen)
        faults = plan(seed, chosen.minutes * 60, targets(chosen.brokers), kinds_from(chosen.only))
    except InvalidField as error:
        raise SystemExit(f"chaos: {error}") from None
    if chosen.plan:
        for fault in faults:
            print(f"{fault.at:7.1f} s  {fault}")
        return 0
    return asyncio.run(_chaos(chosen, seed, faults))


def check(chosen: argparse.Namespace) -> None:
    """Raises InvalidField."""
    if not 1 <= chosen.sessions <= 1000:
        raise InvalidField("--sessions", f"1 to 1000, got {chosen.sessions}")
    if not 0 <= chosen.speaking <= chosen.sessions:
        raise InvalidField("--speaking", f"0 to --sessions ({chosen.sessions}), got {chosen.speaking}")
    if not 0 <= chosen.churn <= 50:
        raise InvalidField("--churn", f"0 to 50 a second, got {chosen.churn:g}")
    if not 0.5 <= chosen.minutes <= 24 * 60:
        raise InvalidField("--minutes", f"0.5 to 1440, got {chosen.minutes:g}")


async def _chaos(chosen: argparse.Namespace, seed: int, faults: Sequence[Fault]) -> int:
    from litevoice_dev.chaos.report import lines, plot, raw
    from litevoice_dev.chaos.run import Options, run

    stop, loop = asyncio.Event(), asyncio.get_running_loop()

    def interrupted() -> None:
        if stop.is_set():
            loop.remove_signal_handler(signal.SIGINT)
            return say("once more, and it ends at once")
        say("no more faults; what there is will be judged")
        return stop.set()

    loop.add_signal_handler(signal.SIGINT, interrupted)
    folder = chosen.folder / "chaos"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    say(f"seed {seed}: {len(faults)} faults in {chosen.minutes:g} minutes; logs in {folder}")
    options = Options(seed, chosen.minutes * 60, chosen.sessions, chosen.speaking, chosen.churn, chosen.brokers, folder)
    result = await run(options, faults, stop)
    chosen.output.mkdir(parents=True, exist_ok=True)
    (chosen.output / f"chaos-{seed}.json").write_text(json.dumps(raw(result)))
    (chosen.output / f"chaos-{seed}.svg").write_text(plot(result))
    for line in lines(result):
        print(line)
    print(f"{chosen.output}/chaos-{seed}.json, .svg", flush=True)
    return 0 if result.good else 1
