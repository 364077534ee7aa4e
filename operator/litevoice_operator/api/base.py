"""What all models of custom resources share: camelCase names, documented fields, CEL rules next to the fields."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema
from pydantic.alias_generators import to_camel

GROUP = "litevoice.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"

VALIDATIONS = "x-kubernetes-validations"
IMMUTABLE = {VALIDATIONS: [{"rule": "self == oldSelf", "message": "is immutable"}]}
GROWS = {VALIDATIONS: [{"rule": "self >= oldSelf", "message": "can be raised, never lowered: sessions live there"}]}


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


def keyed_by(key: str) -> dict[str, Any]:
    """Schema of a list of objects that the API server merges by this key, in which it is unique."""
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [key]}


Int32 = Annotated[int, Field(json_schema_extra={"format": "int32"})]
Int64 = Annotated[int, Field(json_schema_extra={"format": "int64"})]
ObjectName = Annotated[
    str,
    Field(min_length=1, max_length=253, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"),
]
"""Name of a Kubernetes object in the same namespace."""

# The API server's own pattern for quantities, in two halves: an amount, and a suffix or an exponent.
_AMOUNT = r"([0-9]+(\.[0-9]*)?)|(\.[0-9]+)"
_SUFFIX = rf"([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?({_AMOUNT}))"
Quantity = Annotated[
    int | str,
    WithJsonSchema({"x-kubernetes-int-or-string": True, "pattern": rf"^(\+|-)?({_AMOUNT})({_SUFFIX})?$"}),
]
