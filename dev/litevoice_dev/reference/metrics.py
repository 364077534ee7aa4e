"""Every Prometheus metric, from the registries of the three programs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase

from litevoice_contracts import metrics as names
from litevoice_dev.reference.markdown import code, page, table
from litevoice_gateway.metrics import Metrics as GatewayMetrics
from litevoice_operator import metrics as operator_metrics
from litevoice_worker.metrics import Metrics as WorkerMetrics


def metrics() -> str:
    """Raises LookupError for a name of the contracts that no program defines."""
    programs = {
        "Gateway": _collectors(GatewayMetrics().registry),
        "Worker": _collectors(WorkerMetrics().registry),
        "Operator": [metric for metric in _collectors(REGISTRY) if metric in vars(operator_metrics).values()],
    }
    missing = named() - {_exposed(metric) for program in programs.values() for metric in program}
    if missing:
        raise LookupError(f"no program defines {', '.join(sorted(missing))}")
    return page(
        "Metrics",
        "Each program serves `/metrics` on its admin port, 9090, without authentication. Durations are in seconds; "
        "a histogram also has `_bucket`, `_sum` and `_count`. The operator also exposes the `process_` and `python_` "
        "metrics of its Prometheus client.",
        *(part for title, collectors in programs.items() for part in (f"## {title}", _table(collectors))),
    )


def named() -> set[str]:
    """The names that the contracts fix."""
    return {value for name, value in vars(names).items() if name.isupper()}


def _collectors(registry: CollectorRegistry) -> list[MetricWrapperBase]:
    """In the order of definition. prometheus_client has no public way from a registry to label names."""
    return [metric for metric in registry._collector_to_names if isinstance(metric, MetricWrapperBase)]


def _exposed(metric: MetricWrapperBase) -> str:
    family = next(iter(metric.describe()))
    return family.name + ("_total" if family.type == "counter" else "")


def _table(collectors: Iterable[MetricWrapperBase]) -> str:
    def rows() -> Iterator[tuple[str, str, str, str]]:
        for metric in collectors:
            family = next(iter(metric.describe()))
            labels = ", ".join(code(label) for label in metric._labelnames)
            yield code(_exposed(metric)), family.type, labels, family.documentation

    return table(("Name", "Type", "Labels", "Meaning"), rows())
