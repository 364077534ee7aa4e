"""Completion scripts: what a bash offers, and that those of zsh and fish know the same."""

from __future__ import annotations

import subprocess

import pytest

from litevoice_cli import completion
from litevoice_cli.__main__ import _parser, complete, main
from litevoice_contracts.operator_api import SORTS

COMMANDS = completion.commands(_parser())


def offered(*words: str) -> list[str]:
    """By a bash that has the script, for the last of these words."""
    line = " ".join(f"'{word}'" for word in ("litevoice", *words))
    asked = f"COMP_WORDS=({line}); COMP_CWORD={len(words)}; _litevoice; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    made = completion.script("bash", "litevoice", _parser())
    done = subprocess.run(["bash", "-uc", f"{made}\n{asked}"], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.split()


OFFERED = pytest.mark.parametrize(
    ("words", "found"),
    [
        (("pa",), ["partitions"]),
        (("d",), ["drains", "doctor", "drain"]),
        (("top", "--b"), ["--by"]),
        (("top", "--by", ""), list(SORTS)),
        (("top", "-n", "voice", "--by", "st"), ["stalled"]),
        (("sessions", "-o", ""), ["table", "json"]),
        (("find", "--client", ""), []),
        (("drain", "--c"), ["--context", "--cancel"]),
        (("why", "--o"), ["--output", "--operator-namespace", "--operator"]),
        (("alert", ""), ["-h", "--help", "-o", "--output", "test"]),
        (("completion", ""), ["-h", "--help", "bash", "zsh", "fish"]),
    ],
)


@OFFERED
def test_what_bash_offers(words: tuple[str, ...], found: list[str]) -> None:
    assert offered(*words) == found


@OFFERED
def test_what_kubectl_is_told(
    words: tuple[str, ...], found: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["kubectl_complete-litevoice", *words])
    assert complete() == 0
    assert capsys.readouterr().out.splitlines() == [*found, ":4"]


def test_every_command_and_option_is_in_each_script() -> None:
    assert {command.name for command in COMMANDS} >= {"find", "why", "top", "orphans", "drain", "completion"}
    for shell in completion.SHELLS:
        made = completion.script(shell, "litevoice", _parser())
        for command in COMMANDS:
            assert command.name in made
            for option in command.options:
                for flag in option.flags:
                    assert (f"-l {flag[2:]}" if shell == "fish" and flag.startswith("--") else flag.lstrip("-")) in made
                assert all(choice in made for choice in option.choices)


def test_quotes_and_brackets_in_a_help_do_not_end_it() -> None:
    command = completion.Command("go", "it's", (completion.Option(("-x", "--ex"), "a [b]: it's", "X", ("1", "2")),))
    assert "'(-x --ex)'{-x,--ex}'[a (b)\\: it'\\''s]:X:(1 2)'" in completion.SHELLS["zsh"]("lv", [command])
    assert "-s x -l ex -x -a '1 2' -d 'a [b]: it\\'s'" in completion.SHELLS["fish"]("lv", [command])


def test_the_command_prints_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "fish"]) == 0
    assert capsys.readouterr().out == completion.script("fish", "litevoice", _parser())
    with pytest.raises(SystemExit):
        main(["completion", "tcsh"])
    assert "invalid choice: 'tcsh'" in capsys.readouterr().err


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_the_help_of_each_command_has_an_example(
    command: completion.Command, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main([command.name, "--help"])
    assert f"\nexamples:\n  litevoice {command.name}" in capsys.readouterr().out
