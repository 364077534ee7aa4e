"""Evaluates a BacklogAlert without a cluster, as `litevoice alert test ALERT SAMPLES`.

SAMPLES is YAML, a list of measurements in the order of time: `at` (seconds), `sessions` (id → `messages`, `ageSeconds`,
`pod`), `messages` and `ageSeconds` where more waits than the sessions tell, `unseen` (who does not answer), `expect`:
the state and severity that the alert should have then, for example `Firing critical`.
"""

from __future__ import annotations

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
        spec = BacklogAlertSpec.model_validate(alert.get("spec"))
    except ValidationError as error:
        where, why = problems(error, "")[0]
        raise InvalidField(".".join(filter(None, ("alert.spec", where))), why) from error
    try:
        return spec, TypeAdapter(list[Measured]).validate_python(samples)
    except ValidationError as error:
        where, why = problems(error, "")[0]
        raise InvalidField(".".join(filter(None, ("samples", where))), why) from error


def main(alert: str, samples: str) -> int:
    """Paths of the two files. 0 when every `expect` holds, 1 when one does not, 2 when a file does not fit."""
    try:
        files = [yaml.safe_load(Path(path).read_text()) for path in (alert, samples)]
        steps = evaluate(*read(*files))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, InvalidField) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    for step in steps:
        wrong = "" if step.as_expected else f"   expected {step.measured.expect}"
        value = amount(step.measured.sample.value)
        sys.stdout.write(f"{step.measured.at:8g} s  {step.shown:17} {step.told:10} {value}{wrong}\n")
    return 0 if all(step.as_expected for step in steps) else 1
