"""The plugin event: a content source announces itself, or reports its health."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, NotRequired, Required

from pydantic import FailFast, GetCoreSchemaHandler, GetJsonSchemaHandler, TypeAdapter
from pydantic_core import CoreSchema, core_schema
from typing_extensions import TypedDict, override

from consumer.events.fields import (
    Choice,
    Field,
    Flag,
    JsonObjectOrArray,
    Text,
    Timestamp,
    check_storable,
    invalid,
    without_nulls,
)
from consumer.events.kind import Kind

HEALTH_STATUS = Choice("text", ("healthy", "degraded", "unhealthy", "unknown"))

_AUTH_TYPE = Choice("text", ("none", "api_key", "basic", "oauth2"))


@dataclass(frozen=True, slots=True)
class Seconds(Field):
    """A JSON number above 0; not a string that holds one: the database holds the member to the same."""

    pg_type = "numeric"

    @override
    def parse(self, value: Any) -> Decimal:
        if not isinstance(value, Decimal) or value <= 0:
            raise invalid("must be a number above 0")
        return value

    @override
    def json_schema(self) -> dict[str, Any]:
        return {"type": "number", "exclusiveMinimum": 0}


class PluginAuth(TypedDict):
    """How a plugin authenticates. The secret itself stays where secrets are kept; `secret_ref` names it."""

    type: Required[Annotated[str, _AUTH_TYPE]]
    secret_ref: NotRequired[Annotated[str, Text()]]


class PluginConfig(TypedDict):
    """A plugin's settings. Further members are kept as they came. Migration 0007 has the same in SQL."""

    endpoint: NotRequired[Annotated[str, Text()]]
    poll_interval_s: NotRequired[Annotated[Decimal, Seconds()]]
    timeout_s: NotRequired[Annotated[Decimal, Seconds()]]
    languages: NotRequired[Annotated[list[Annotated[str, Text()]], FailFast()]]  # of millions, one fault is enough
    auth: NotRequired[PluginAuth]
    options: NotRequired[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Config(Field):
    """A JSON object, held against :class:`PluginConfig`, stored as it came."""

    pg_type = "jsonb"

    def check(self, value: Any) -> dict[str, Any]:
        """The object with null members left out, ready for the declaration."""
        if not isinstance(value, dict):
            raise invalid("must be an object")
        check_storable(value)
        return {name: without_nulls(member) for name, member in without_nulls(value).items()}

    def __get_pydantic_core_schema__(self, _source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Check the object, then each known member under its own path."""
        return core_schema.no_info_before_validator_function(self.check, handler.generate_schema(PluginConfig))

    def __get_pydantic_json_schema__(self, _schema: CoreSchema, _handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """The declaration's own schema, in place: it refers to nothing outside."""
        schema = TypeAdapter(PluginConfig).json_schema()
        auth = schema.pop("$defs")["PluginAuth"]
        schema["properties"]["auth"] = auth | {"additionalProperties": True}
        return schema | {"additionalProperties": True}


class Plugin(TypedDict):
    """The fields of a plugin event. What a report leaves out keeps its value; a new plugin states what it is."""

    name: Required[Annotated[str, Text(shortest=1, longest=255)]]
    source: NotRequired[Annotated[str, Text()]]
    capabilities: NotRequired[Annotated[dict[str, Any] | list[Any], JsonObjectOrArray()]]
    version: NotRequired[Annotated[str, Text()]]
    enabled: NotRequired[Annotated[bool, Flag()]]
    health_status: NotRequired[Annotated[str, HEALTH_STATUS]]
    reported_at: Required[Annotated[datetime, Timestamp()]]
    config: NotRequired[Annotated[dict[str, Any], Config()]]


PLUGIN = Kind("plugin", "plugin_registry", Plugin, facts=(), key="name", amends=True)
