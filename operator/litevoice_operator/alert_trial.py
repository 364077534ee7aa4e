"""Evaluates a BacklogAlert without a cluster, as `litevoice alert test ALERT SAMPLES`.

SAMPLES is YAML, a list of measurements in the order of time: `at` (seconds), `sessions` (id → `messages`, `ageSeconds`,
`pod`), `messages` and `ageSeconds` where more waits than the sessions tell, `unseen` (who does not answer), `expect`:
the state and severity that the alert should have then, for example `Firing critical`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from litevoice_contracts.errors import InvalidField, problems
from litevoice_operator.api.backlog_alert import BacklogAlertSpec
from litevoice_operator.api.base import Api
from litevoice_operator.decide.alert import AlertState, next_state
from litevoice_operator.decide.alert_status import amount
from litevoice_operator.observe.backlogs import Load, Sample


class _Strict(Api):
    model_config = ConfigDict(extra="forbid")


class _Session(_Strict):
    messages: Annotated[int, Field(ge=0)] = 0
    age_seconds: Annotated[int, Field(ge=0)] = 0
    pod: str = ""


class Measured(_Strict):
    """One entry of SAMPLES."""

    at: Annotated[float, Field(ge=0)]
    sessions: dict[str, _Session] = Field(default_factory=dict)
    messages: Annotated[int | None, Field(ge=0)] = None
    age_seconds: Annotated[int | None, Field(ge=0)] = None
    unseen: str = ""
    expect: str | None = None

    @property
    def sample(self) -> Sample:
        loads = [Load(name, one.messages, one.age_seconds, pod=one.pod) for name, one in self.sessions.items()]
        return replace(Sample.of(loads, self.messages, self.age_seconds), unseen=self.unseen)


@dataclass(frozen=True, slots=True)
class Step:
    """`told`: what a channel would be told; "" for nothing."""

    measured: Measured
    state: AlertState
    told: str

    @property
    def shown(self) -> str:
        return " ".join(part for part in (self.state.phase, self.state.severity) if part)

    @property
    def as_expected(self) -> bool:
        return self.measured.expect in (None, self.shown)


def evaluate(spec: BacklogAlertSpec, samples: Sequence[Measured]) -> list[Step]:
    """Raises InvalidField when they are not in the order of time."""
    steps: list[Step] = []
    state = AlertState()
    for index, measured in enumerate(samples):
        if index and measured.at < samples[index - 1].at:
            raise InvalidField(f"samples.{index}.at", f"at least {samples[index - 1].at:g}, the one before")
        state, transition = next_state(state, spec, measured.sample, measured.at)
        steps.append(Step(measured, state, transition or ""))
    return steps


def read(alert: Any, samples: Any) -> tuple[BacklogAlertSpec, list[Measured]]:
    """From the content of the two files. Raises InvalidField that names the file's part."""
    if not isinstance(alert, dict) or alert.get("kind") != "BacklogAlert":
        raise InvalidField("alert.kind", "BacklogAlert")
    try:
        spec = BacklogAlertSpec.model_validate(alert.get("spec"), extra="forbid")
    except ValidationError as error:
        where, why = problems(error, "")[0]
        why = "no field of this name" if error.errors()[0]["type"] == "extra_forbidden" else why
        raise InvalidField(".".join(filter(None, ("alert.spec", where))), why) from error
    try:
        return spec, TypeAdapter(list[Measured]).validate_python(samples)
    except ValidationError as error:
        where, why = problems(error, "")[0]
        raise InvalidField(".".join(filter(None, ("samples", where))), why) from error


def main(alert: str, samples: str, output: str = "table") -> int:
    """Paths of the two files; `output`: table or json. 0 when every `expect` holds, 1 when one does not, 2 when a file
    does not fit."""
    try:
        steps = evaluate(*read(_loaded(alert), _loaded(samples)))
    except (OSError, InvalidField) as error:
        sys.stderr.write(f"litevoice: {error}\n")
        return 2
    if output == "json":
        sys.stdout.write(json.dumps([as_object(step) for step in steps], indent=2) + "\n")
    for step in steps if output == "table" else []:
        wrong = "" if step.as_expected else f"   expected {step.measured.expect}"
        value = amount(step.measured.sample.value)
        sys.stdout.write(f"{step.measured.at:8g} s  {step.shown:17} {step.told:10} {value}{wrong}\n")
    return 0 if all(step.as_expected for step in steps) else 1


def as_object(step: Step) -> dict[str, Any]:
    """For programs; the fields of `value` are those of a BacklogAlert's status."""
    return {
        "at": step.measured.at,
        "state": step.state.phase,
        "severity": step.state.severity,
        "told": step.told,
        "value": step.measured.sample.value.to_object(),
        "expect": step.measured.expect,
        "asExpected": step.as_expected,
    }


def _loaded(path: str) -> Any:
    """Raises InvalidField that names the file."""
    try:
        return yaml.safe_load(Path(path).read_text())
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise InvalidField(path, f"one YAML document, got: {error}") from error
