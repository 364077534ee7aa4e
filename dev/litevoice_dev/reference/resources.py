"""The custom resources, from the CRDs that the models make."""

from __future__ import annotations

from typing import Any

from litevoice_dev.reference.markdown import code, page, table
from litevoice_dev.reference.schemas import object_tables
from litevoice_operator.api.definitions import definitions


def resources() -> str:
    return page(
        "Resources",
        "Every field of the custom resources. `kubectl explain vgw.spec --recursive` shows the same for what is "
        "installed. [Conditions and Events](conditions-and-events.md) lists the reasons.",
        *(part for name in ("voicegateways.yaml", "backlogalerts.yaml") for part in _resource(definitions()[name])),
    )


def _resource(definition: dict[str, Any]) -> list[str]:
    spec = definition["spec"]
    names, version = spec["names"], spec["versions"][0]
    schema = version["schema"]["openAPIV3Schema"]
    return [
        f"## {names['kind']}",
        str(schema["description"]),
        f"`apiVersion: {spec['group']}/{version['name']}`, `kind: {names['kind']}`, short name "
        f"`{names['shortNames'][0]}`, category `{names['categories'][0]}`.",
        *(rule["message"] for rule in schema.get("x-kubernetes-validations", ())),
        table(
            ("Column of `kubectl get`", "From", "Shown"),
            (
                (column["name"], code(column["jsonPath"]), "with `-o wide`" if column.get("priority") else "always")
                for column in version["additionalPrinterColumns"]
            ),
        ),
        object_tables("spec", schema["properties"]["spec"]),
        object_tables("status", schema["properties"]["status"]),
    ]
