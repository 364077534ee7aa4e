"""A pytest plugin (`-p tests.core_coverage`, as in `make unit`): how much of the state machines the tests go through.
Fails below the floor. Only what the import rules call free of I/O is traced, because tracing costs time.
"""

from __future__ import annotations

import tomllib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from coverage import Coverage, CoverageData

FLOOR_PERCENT = 95
"""Of a package's branches, and of its statements: one that nothing calls may have no branch."""

ROOT = Path(__file__).parent.parent
CONTRACTS = ("state machines do no I/O", "the worker's state machine does no I/O")


def core_files() -> list[str]:
    """The files of the modules and packages that these import rules name."""
    tool = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    rules = {rule["name"]: rule for rule in tool["importlinter"]["contracts"]}
    modules = [module for name in CONTRACTS for module in rules[name]["source_modules"]]
    return sorted({str(file) for module in modules for file in _files(module)})


def _files(module: str) -> Iterator[Path]:
    package, *rest = module.split(".")
    path = ROOT.joinpath(package.removeprefix("litevoice_"), package, *rest)
    yield from path.rglob("*.py") if path.is_dir() else [path.with_suffix(".py")]


@dataclass(slots=True)
class Covered:
    """One package, or one file."""

    branches: int = 0
    branches_taken: int = 0
    statements: int = 0
    statements_run: int = 0
    missing: list[str] = field(default_factory=list)
    """Of each file: which lines were not run, and of which ones a branch was not taken."""

    def add(self, coverage: Coverage, file: str) -> None:
        _, statements, _, not_run, ranges = coverage.analysis2(file)
        exits = coverage.branch_stats(file)
        self.statements += len(statements)
        self.statements_run += len(statements) - len(not_run)
        self.branches += sum(total for total, _ in exits.values())
        self.branches_taken += sum(taken for _, taken in exits.values())
        partly = [str(line) for line, (total, taken) in exits.items() if taken < total and line not in not_run]
        what = [f"not run: {ranges}"] * bool(ranges) + [f"a branch of: {', '.join(partly)}"] * bool(partly)
        if what:
            self.missing.append(f"{Path(file).relative_to(ROOT)}: {'; '.join(what)}")

    @property
    def below(self) -> bool:
        return min(self.percent_branches, self.percent_statements) < FLOOR_PERCENT

    @property
    def percent_branches(self) -> float:
        return percent(self.branches_taken, self.branches)

    @property
    def percent_statements(self) -> float:
        return percent(self.statements_run, self.statements)

    def __str__(self) -> str:
        return f"{self.percent_branches:5.1f} % of branches, {self.percent_statements:5.1f} % of statements"


def percent(part: int, whole: int) -> float:
    return 100 * part / whole if whole else 100.0


_coverage = Coverage(data_file=None, config_file=str(ROOT / "pyproject.toml"), include=core_files())


@cache
def _by_package() -> dict[str, Covered]:
    covered: dict[str, Covered] = defaultdict(Covered)
    for file in core_files():
        covered[Path(file).relative_to(ROOT).parts[0]].add(_coverage, file)
    return covered


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests() -> None:
    _coverage.start()  # before a conftest imports what is to be traced


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """A job of xdist hands over what it has traced; the run as a whole fails below the floor."""
    _coverage.stop()
    if (output := getattr(session.config, "workeroutput", None)) is not None:
        output["core_coverage"] = _coverage.get_data().dumps()
    elif session.exitstatus == pytest.ExitCode.OK and any(covered.below for covered in _by_package().values()):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    if seen := getattr(node, "workeroutput", {}).get("core_coverage"):
        data = CoverageData(no_disk=True)
        data.loads(seen)
        _coverage.get_data().update(data)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, exitstatus: int) -> None:
    """What was not run is only told of when all tests have passed: it says little otherwise."""
    terminalreporter.section(f"coverage of the state machines, floor {FLOOR_PERCENT} %")
    for package, covered in _by_package().items():
        terminalreporter.write_line(f"{package:10}{covered}{'   below the floor' if covered.below else ''}")
        for line in covered.missing if covered.below and exitstatus == pytest.ExitCode.OK else ():
            terminalreporter.write_line(f"  {line}")
