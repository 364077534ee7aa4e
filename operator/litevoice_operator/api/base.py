"""What all models of custom resources share: camelCase names, documented fields, CEL rules next to the fields."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

GROUP = "litevoice.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"

VALIDATIONS = "x-kubernetes-validations"
IMMUTABLE = {VALIDATIONS: [{"rule": "self == oldSelf", "message": "is immutable"}]}


class Api(BaseModel):
    """A part of a custom resource. Unknown fields are the API server's business: it prunes or rejects them."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True, use_attribute_docstrings=True
    )

    def to_object(self) -> dict[str, Any]:
        """The JSON object as the API server stores it: camelCase, without absent fields."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


def rules(*rule_and_message: tuple[str, str]) -> ConfigDict:
    """CEL rules of an object, each with the message that users get."""
    return ConfigDict(
        json_schema_extra={VALIDATIONS: [{"rule": rule, "message": message} for rule, message in rule_and_message]}
    )


Int32 = Annotated[int, Field(json_schema_extra={"format": "int32"})]
Int64 = Annotated[int, Field(json_schema_extra={"format": "int64"})]
ObjectName = Annotated[
    str,
    Field(min_length=1, max_length=253, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"),
]
"""Name of a Kubernetes object in the same namespace."""
