"""The settings files of gateway and worker, and the operator's environment, from what the programs read them with."""

from __future__ import annotations

import textwrap

from litevoice_contracts.settings import GatewaySettings, WorkerSettings
from litevoice_dev.reference.markdown import block, page
from litevoice_dev.reference.schemas import object_tables
from litevoice_operator.api.definitions import structural_schema
from litevoice_operator.settings import HELP


def settings() -> str:
    return page(
        "Settings of the programs",
        "On Kubernetes the operator writes these files from a [VoiceGateway](resources.md#voicegateway); by hand they "
        "are needed only where gateways and workers run as plain processes. They are JSON; an unknown field is an "
        "error. `LITEVOICE_CONFIG` names the file (default `/etc/litevoice/config/settings.json`), `POD_NAME` and "
        "`POD_IP` say who the process is. `python3 -m litevoice_gateway --check-config` and "
        "`python3 -m litevoice_worker --check-config` check it.",
        "## Gateway",
        object_tables("gateway", structural_schema(GatewaySettings)),
        "## Worker",
        object_tables("worker", structural_schema(WorkerSettings)),
        "## Operator",
        "Environment variables, set by the [chart](chart.md). `python3 -m litevoice_operator --check-config` checks "
        "them.",
        block(textwrap.dedent(HELP.partition("\n")[2])),
    )
