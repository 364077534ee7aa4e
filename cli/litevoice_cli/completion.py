"""Completion scripts for shells, made from the parser itself: commands, options and what an option may be. Pure."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Option:
    """Attributes:
    flags: like `-n` and `--namespace`; none for what has its place.
    takes: what follows it; "" for nothing.
    choices: what that may be, as far as it is known.
    """

    flags: tuple[str, ...]
    help: str
    takes: str
    choices: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Command:
    name: str
    help: str
    options: tuple[Option, ...]


def script(shell: str, program: str, parser: argparse.ArgumentParser) -> str:
    """`shell`: one of SHELLS."""
    return SHELLS[shell](program, commands(parser))


def commands(parser: argparse.ArgumentParser) -> list[Command]:
    (subparsers,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    helps = {action.dest: action.help or "" for action in subparsers._choices_actions}
    return [
        Command(name, helps.get(name, ""), tuple(map(_option, command._actions)))
        for name, command in subparsers.choices.items()
    ]


def offered(words: Sequence[str], found: Sequence[Command]) -> list[str]:
    """What the last of `words`, those after the program's name, may become."""
    *before, last = words or [""]
    command = next((one for word in before for one in found if one.name == word), None)
    if command is None:
        fitting = [*(one.name for one in found), "--help"]
    else:
        after = next((option for option in command.options if option.takes and before[-1] in option.flags), None)
        given = [word for option in command.options for word in option.flags or option.choices]
        fitting = given if after is None else list(after.choices)
    return [word for word in fitting if word.startswith(last)]


def _option(action: argparse.Action) -> Option:
    metavar = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
    return Option(
        tuple(action.option_strings),
        (action.help or "").replace("%%", "%"),
        "" if action.nargs == 0 else metavar,
        tuple(map(str, action.choices or ())),
    )


def _bash(program: str, found: Sequence[Command]) -> str:
    after: dict[str, dict[str, None]] = {}
    offered = []
    for command in found:
        for option in command.options:
            if option.takes:
                after.setdefault(" ".join(option.choices), {}).update(dict.fromkeys(option.flags))
        words = [word for option in command.options for word in option.flags or option.choices]
        offered.append(f"        {command.name}:*) words={shlex.quote(' '.join(words))} ;;")
    values = [
        f"        {'|'.join(f'*:{flag}' for flag in flags)}) words={shlex.quote(choices)} ;;"
        for choices, flags in after.items()
        if flags
    ]
    names = [command.name for command in found]
    return "\n".join(
        [
            f"_{program}() {{",
            "    local word words command=",
            '    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do',
            f"        case $word in {'|'.join(names)}) command=$word; break ;; esac",
            "    done",
            "    case $command:${COMP_WORDS[COMP_CWORD-1]} in",
            *values,
            f"        :*) words={shlex.quote(' '.join([*names, '--help']))} ;;",
            *offered,
            "    esac",
            '    COMPREPLY=($(compgen -W "$words" -- "${COMP_WORDS[COMP_CWORD]}"))',
            "}",
            f"complete -F _{program} {program}",
            "",
        ]
    )


def _zsh(program: str, found: Sequence[Command]) -> str:
    def named(option: Option) -> str:
        values = f"({' '.join(option.choices)})" if option.choices else " "
        takes = f":{option.takes}:{values}" if option.takes else ""
        if not option.flags:
            return shlex.quote(f":{option.takes}:{values}")
        exclusive, text = f"({' '.join(option.flags)})", f"[{_in_brackets(option.help)}]{takes}"
        one = option.flags[0] if len(option.flags) == 1 else "'{" + ",".join(option.flags) + "}'"
        return f"'{exclusive}{one}{_in_quotes(text)}'"

    lines = [
        f"#compdef {program}",
        f"_{program}() {{",
        "    local state line",
        "    local -a commands",
        "    commands=(",
    ]
    lines += [f"        {shlex.quote(f'{command.name}:{command.help}')}" for command in found]
    lines += [
        "    )",
        "    _arguments -C '(- *)--help[show help]' '1: :->command' '*:: :->argument'",
        "    case $state in",
        "        command) _describe command commands ;;",
        "        argument) case $words[1] in",
    ]
    for command in found:
        lines += [f"            {command.name}) _arguments {' '.join(map(named, command.options))} ;;"]
    end = f'if [ "$funcstack[1]" = "_{program}" ]; then _{program} "$@"; else compdef _{program} {program}; fi'
    return "\n".join([*lines, "        esac ;;", "    esac", "}", end, ""])


def _fish(program: str, found: Sequence[Command]) -> str:
    lines = [f"complete -c {program} -f"]
    for command in found:
        lines.append(f"complete -c {program} -n __fish_use_subcommand -a {command.name} -d {_in_fish(command.help)}")
        seen = _in_fish(f"__fish_seen_subcommand_from {command.name}")
        for option in command.options:
            flags = [f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}" for flag in option.flags]
            choices = [f"-a {_in_fish(' '.join(option.choices))}"] if option.choices else []
            if flags or choices:
                takes = ["-x"] if option.takes and flags else []
                told = [f"-d {_in_fish(option.help)}"] if option.help else []
                lines.append(" ".join([f"complete -c {program} -n {seen}", *flags, *takes, *choices, *told]))
    return "\n".join([*lines, ""])


def _in_brackets(text: str) -> str:
    """In a description of zsh's _arguments."""
    return text.replace("[", "(").replace("]", ")").replace(":", "\\:")


def _in_quotes(text: str) -> str:
    return text.replace("'", "'\\''")


def _in_fish(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


SHELLS: Mapping[str, Callable[[str, Sequence[Command]], str]] = {"bash": _bash, "zsh": _zsh, "fish": _fish}
