"""`litevoice`, and `kubectl litevoice`: asks the operator, and prints what it says; or tries an alert without one."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import ipaddress
import json
import os
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from litevoice_cli import completion, tables
from litevoice_cli.console import Console
from litevoice_cli.reach import ByKubeconfig, ByUrl, CannotAsk, Reach
from litevoice_contracts.addresses import url_host
from litevoice_contracts.names import SESSION_ID
from litevoice_contracts.operator_api import (
    DOCTOR_PATH,
    DRAINS_PATH,
    MAX_LISTED,
    ORPHANS_PATH,
    PARTITIONS_PATH,
    SESSIONS_PATH,
    SORTS,
    ActAnswer,
    Diagnoses,
    DrainPage,
    OrphanPage,
    PartitionPage,
    SessionPage,
    SessionReport,
)

EXAMPLES = """examples:
  litevoice find --client 10.1.0.9         which session has the caller at this address
  litevoice find --principal shop --since 5m
  litevoice why s_Q6zv...                  where it is, why nothing is heard, and what to do
  litevoice top --by stalled               turns that make no progress, the longest first
  litevoice sessions --sort age -o json    all of them, for programs
  litevoice partitions -n voice            who reads them, and how far behind
  litevoice drains                         gateways that drain, and how the last ones ended
  litevoice orphans                        replies that wait for nobody, wrong and double owners
  litevoice console                        all of it live, in the browser
  litevoice doctor                         CRDs, pods, brokers and their settings
  litevoice alert test alert.yaml samples.yaml   what a BacklogAlert would tell, without a cluster
  litevoice alert test alert.yaml samples.yaml -o json
  litevoice drain demo-gateway-6f7-qz2lm --dry-run
  litevoice drain demo-gateway-6f7-qz2lm   its sessions go elsewhere; --cancel takes it back
  litevoice move s_Q6zv...                 closes one session as in a drain: its client comes back
  litevoice heal s_Q6zv...                 its gateway takes its LiteTopic over again
  litevoice completion bash                source <(litevoice completion bash)
  kubectl litevoice why s_Q6zv... -o json  the same as a plugin, for programs

It asks the operator through the API server, as whoever your kubeconfig is. You need, in the operator's namespace,
`create` of serviceaccounts/token for litevoice-operator-viewer and `get` of services/proxy (pods/proxy with several
operators). drain, move and heal take the same for litevoice-operator-manager, and `create` and `delete` of the proxy.
Or forward its port: kubectl port-forward -n litevoice-system deploy/litevoice-operator 9090, and --url.
exit codes: 0 answered or done, 1 cannot ask or refused, 2 wrong option, 3 nothing found or doctor found an error;
alert test: 0 as expected, 1 not as expected, 2 a file does not fit; 130 Ctrl-C, 141 nobody reads the output
"""
POD_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
PROGRAM = "litevoice"
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
MAX_SINCE_DAYS = 3650
INTERRUPTED, PIPE_CLOSED = 130, 141
"""As shells count those that SIGINT or SIGPIPE has ended."""
NOTHING = 3
COMPLETE, NO_FILES = "__complete", ":4"
"""As kubectl asks its plugins: a word in each line, then what the shell is to do beside that."""
TRIAL = "litevoice_operator.alert_trial"
"""How a BacklogAlert decides is the operator's: a part of the command only where both are installed."""


def main(arguments: Sequence[str] | None = None) -> int:
    try:
        status = _run(arguments)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # who reads has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    return status


def _run(arguments: Sequence[str] | None) -> int:
    parser = _parser()
    given = sys.argv[1:] if arguments is None else list(arguments)
    if given[:1] == [COMPLETE]:
        print(*completion.offered(given[1:], completion.commands(parser)), NO_FILES, sep="\n")
        return 0
    options = parser.parse_args(given)
    if options.command == "completion":
        print(completion.script(options.shell, PROGRAM, parser), end="")
        return 0
    if options.command == "console":
        return _console(options)
    if options.command == "alert":
        return _try_alert(options.alert, options.samples, options.output)
    method, path, kind, show = _question(options, parser)
    try:
        body = _reach(options, method).ask(path, _query(options), method)
        answer: Any = msgspec.convert(printable(msgspec.json.decode(body)), kind)
    except CannotAsk as error:
        print(f"litevoice: {printable(str(error))}", file=sys.stderr)
        return 1
    except msgspec.ValidationError as error:
        print(f"litevoice: the operator is of another version: {error}", file=sys.stderr)
        return 1
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        print(f"litevoice: --url: what answers is not the operator: {error}", file=sys.stderr)
        return 1
    print(json.dumps(json.loads(body), indent=2) if options.output == "json" else show(answer))
    return 0 if _found(answer) else NOTHING


def printable(value: Any) -> Any:
    """The same, from JSON, without what would make a terminal do things: names and errors come from others."""
    match value:
        case str():
            return "".join(one if one.isprintable() else " " if one.isspace() else "\ufffd" for one in value)
        case list():
            return [printable(one) for one in value]
        case dict():
            return {name: printable(one) for name, one in value.items()}
    return value


def complete() -> int:
    """`kubectl_complete-litevoice`, which kubectl asks what may follow `kubectl litevoice`."""
    return main([COMPLETE, *sys.argv[1:]])


def _console(options: argparse.Namespace) -> int:
    """Until Ctrl-C."""
    try:
        server = Console(_reach(options, "GET"), options.port)
    except (CannotAsk, OSError) as error:
        print(f"litevoice: {'--port: ' if isinstance(error, OSError) else ''}{error}", file=sys.stderr)
        return 1
    print(f"{server.address(_query(options))}\nThe address is good once, the page until Ctrl-C.", flush=True)
    with server, contextlib.suppress(KeyboardInterrupt):
        server.serve_forever()
    return 0


def _try_alert(alert: str, samples: str, output: str) -> int:
    try:
        trial = importlib.import_module(TRIAL)
    except ModuleNotFoundError as error:
        missing = f"alert test: expected the operator's code beside the command, and {error.name} is not there"
        print(f"litevoice: {missing}: pip install ./contracts ./broker ./operator, or make command", file=sys.stderr)
        return 1
    return int(trial.main(alert, samples, output))


def _parser() -> argparse.ArgumentParser:
    shape = argparse.RawDescriptionHelpFormatter
    text = "From a caller who hears nothing to the cause."
    common = argparse.ArgumentParser(add_help=False)
    shown = argparse.ArgumentParser(add_help=False)
    shown.add_argument("-o", "--output", choices=("table", "json"), default="table", help="for people or for programs")
    common.add_argument("-n", "--namespace", default="", help="of the VoiceGateways (default: all)")
    common.add_argument("--gateway", default="", metavar="NAME", help="only this VoiceGateway")
    common.add_argument("--url", default="", help="of the operator's port 9090, instead of the kubeconfig")
    common.add_argument("--token", default=os.environ.get("LITEVOICE_TOKEN", ""), help="with --url (LITEVOICE_TOKEN)")
    common.add_argument("--context", default="", help="of the kubeconfig")
    common.add_argument("--operator-namespace", default="litevoice-system", metavar="NAMESPACE")
    common.add_argument("--operator", default="litevoice-operator", metavar="NAME", help="its Deployment")
    paged = argparse.ArgumentParser(add_help=False)
    paged.add_argument("--limit", type=_limit, default=20, help=f"at most {MAX_LISTED} with --offset (default 20)")
    paged.add_argument("--offset", type=_offset, default=0, help="where the page begins (default 0)")
    parser = argparse.ArgumentParser(prog=PROGRAM, description=text, epilog=EXAMPLES, formatter_class=shape)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def command(name: str, text: str, *more: argparse.ArgumentParser) -> argparse.ArgumentParser:
        epilog = _examples(name)
        return commands.add_parser(
            name, help=text, description=text, parents=[shown, common, *more], epilog=epilog, formatter_class=shape
        )

    find = command("find", "sessions of a client or principal", paged)
    address = "its address, with or without the port; with the port of IPv6: [ADDR]:PORT"
    find.add_argument("--client", type=_client, default="", metavar="ADDR", help=address)
    find.add_argument("--principal", default="", metavar="P", help="name of its API key")
    find.add_argument("--since", type=_duration, default=0, metavar="T", help="came within 30s, 5m, 2h, 1d")
    why = command("why", "where a session is, why its caller hears nothing, and what to do")
    why.add_argument("session", type=_session, metavar="SESSION")
    top = command("top", "the sessions that need a look first", paged)
    top.add_argument("--by", choices=SORTS, default="stalled", dest="sort")
    listing = command("sessions", "all sessions, the oldest first", paged)
    listing.add_argument("--sort", choices=SORTS, default="age")
    command("partitions", "who reads them, and how far behind", paged)
    command("drains", "gateways that drain, and how the last ten that are gone ended", paged)
    command("orphans", "sessions that nobody owns, or not who serves them", paged)
    page = command("console", "a page that shows all of it live, for the browser of this machine")
    page.add_argument("--port", type=_port, default=0, metavar="N", help="on 127.0.0.1 (default: one that is free)")
    command("doctor", "what is wrong with the installation")
    text = "what a BacklogAlert would tell, without a cluster"
    about = f"{text}; docs/alerts.md has the form of SAMPLES"
    alert = commands.add_parser(
        "alert", help=text, description=about, parents=[shown], epilog=_examples("alert"), formatter_class=shape
    )
    alert.add_argument("act", choices=("test",))
    alert.add_argument("alert", metavar="ALERT", help="file of a BacklogAlert")
    alert.add_argument("samples", metavar="SAMPLES", help="file of measurements, and what is expected of them")
    acting = argparse.ArgumentParser(add_help=False)
    acting.add_argument("--dry-run", action="store_true", help="say what would be done")
    forced = argparse.ArgumentParser(add_help=False)
    forced.add_argument("--force", action="store_true", help="although somebody may lose a session")
    drain = command("drain", "have a gateway's sessions go elsewhere", acting, forced)
    drain.add_argument("pod", type=_pod, metavar="POD")
    drain.add_argument("--cancel", action="store_true", help="take the drain back")
    move = command(
        "move", "close one session as in a drain, at the end of its turn: its client comes back", acting, forced
    )
    move.add_argument("session", type=_session, metavar="SESSION")
    heal = command("heal", "have a session's gateway take its LiteTopic over again", acting)
    heal.add_argument("session", type=_session, metavar="SESSION")
    text = "print what has a shell complete commands and options: source <(litevoice completion bash)"
    shells = commands.add_parser(
        "completion", help=text, description=text, epilog=_examples("completion"), formatter_class=shape
    )
    shells.add_argument("shell", choices=tuple(completion.SHELLS))
    return parser


def _examples(command: str) -> str:
    lines = [line for line in EXAMPLES.splitlines() if re.match(rf"  (kubectl )?{PROGRAM} {command}\b", line)]
    return "\n".join(["examples:", *lines])


def _question(
    options: argparse.Namespace, parser: argparse.ArgumentParser
) -> tuple[str, str, type, Callable[[Any], str]]:
    """Method, path, form of the answer, and how it is shown."""
    match options.command:
        case "drain":
            method = "DELETE" if options.cancel else "POST"
            return method, f"{DRAINS_PATH}/{options.pod}", ActAnswer, tables.act
        case "move" | "heal":
            return "POST", f"{SESSIONS_PATH}/{options.session}/{options.command}", ActAnswer, tables.act
        case "why":
            return "GET", f"{SESSIONS_PATH}/{options.session}", SessionReport, tables.why
        case "partitions":
            return "GET", PARTITIONS_PATH, PartitionPage, tables.partitions
        case "drains":
            return "GET", DRAINS_PATH, DrainPage, tables.drains
        case "orphans":
            return "GET", ORPHANS_PATH, OrphanPage, tables.orphans
        case "doctor":
            return "GET", DOCTOR_PATH, Diagnoses, tables.findings
        case "find" if not (options.client or options.principal or options.since):
            parser.error("find: expected --client, --principal or --since")
    return "GET", SESSIONS_PATH, SessionPage, tables.sessions


def _query(options: argparse.Namespace) -> dict[str, str]:
    names = ("namespace", "gateway", "client", "principal", "since", "sort", "offset", "limit")
    found = {name: str(value) for name in names if (value := getattr(options, name, ""))}
    return found | {name: "true" for name in ("dry_run", "force") if getattr(options, name, False)}


def _reach(options: argparse.Namespace, method: str) -> Reach:
    if options.url:
        return ByUrl(options.url, options.token)
    role = "viewer" if method == "GET" else "manager"
    return ByKubeconfig(options.context, options.operator_namespace, options.operator, role)


def _found(answer: Any) -> bool:
    match answer:
        case SessionPage(sessions=sessions, refused=refused, at_silent=at_silent):
            return bool(sessions or refused or at_silent)
        case SessionReport(verdict=verdict):
            return verdict.cause != "unknown-session"
        case Diagnoses(findings=findings):
            return all(finding.level != "error" for finding in findings)
    return True


def _duration(text: str) -> int:
    found = re.fullmatch(r"([1-9][0-9]{0,6})([smhd])", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"expected a time like 30s, 5m, 2h or 1d, got {text!r}")
    seconds = int(found[1]) * UNITS[found[2]]
    if seconds > MAX_SINCE_DAYS * UNITS["d"]:
        raise argparse.ArgumentTypeError(f"expected at most {MAX_SINCE_DAYS}d, got {text!r}")
    return seconds


def _client(text: str) -> str:
    """As gateways write it: IPv6 in its shortest form, in brackets where a port follows."""
    host, port = text, ""
    if not text:
        return ""
    if found := re.fullmatch(r"\[([^\]]*)\](?::([0-9]{1,5}))?|([^:]*):([0-9]{1,5})", text):
        host, port = found[1] or found[3] or "", found[2] or found[4] or ""
    try:
        address = str(ipaddress.ip_address(host))
    except ValueError as error:
        expected = "expected an address like 10.1.0.9, 10.1.0.9:4711, fd00::9 or [fd00::9]:4711"
        raise argparse.ArgumentTypeError(f"{expected}, got {text!r}") from error
    return f"{url_host(address)}:{port}" if port else address


def _limit(text: str) -> int:
    return _number(text, 1, MAX_LISTED)


def _offset(text: str) -> int:
    return _number(text, 0, MAX_LISTED)


def _port(text: str) -> int:
    return _number(text, 1, 65535, "a port, ")


def _number(text: str, least: int, most: int, what: str = "") -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text) or not least <= int(text) <= most:
        raise argparse.ArgumentTypeError(f"expected {what}{least} to {most}, got {text!r}")
    return int(text)


def _pod(text: str) -> str:
    if not POD_NAME.fullmatch(text):
        raise argparse.ArgumentTypeError(f"expected the name of a gateway pod, got {text!r}")
    return text


def _session(text: str) -> str:
    if not SESSION_ID.fullmatch(text):
        raise argparse.ArgumentTypeError(f"expected a session id, 1 to 64 of [A-Za-z0-9_-], got {text!r}")
    return text


if __name__ == "__main__":
    sys.exit(main())
