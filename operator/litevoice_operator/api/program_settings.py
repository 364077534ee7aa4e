"""Fields of a resource that are settings of a program: bounds, default and description are the program's own."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, GetJsonSchemaHandler
from pydantic_core import CoreSchema

from litevoice_operator.api.base import Api

_KEPT = object()


@dataclass(frozen=True, slots=True)
class _Setting:
    """Marks a field, and gives a number the format that Kubernetes' integers have."""

    model: type[BaseModel]
    name: str

    def __get_pydantic_json_schema__(self, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        schema = handler(core_schema)
        return schema | {"format": "int32"} if schema.get("type") == "integer" else schema


def setting(model: type[BaseModel], name: str, more: str = "", *, default: object = _KEPT) -> Any:
    """A field that is the setting `name` of `model`. `more`: what only users of the resource need to know."""
    field = copy(model.model_fields[name])
    field.metadata = [*field.metadata, _Setting(model, name)]
    field.description = f"{field.description} {more}".rstrip()
    if default is not _KEPT:
        field.default = default
    return field


def settings_of(part: Api, model: type[BaseModel]) -> dict[str, Any]:
    """Every setting of `model` that `part` and its parts have, by its name there."""
    found: dict[str, Any] = {}
    for name, field in type(part).model_fields.items():
        value = getattr(part, name)
        if isinstance(value, Api):
            found |= settings_of(value, model)
        found |= {own.name: value for own in field.metadata if isinstance(own, _Setting) and own.model is model}
    return found
