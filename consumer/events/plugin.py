"""The plugin event: a content source registers itself, or reports its health."""

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
    """A JSON number above 0. A string that holds one is invalid, because the database rejects it too."""

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
    """How a plugin authenticates. `secret_ref` names the secret; the secret itself is not part of the event."""

    type: Required[Annotated[str, _AUTH_TYPE]]
    secret_ref: NotRequired[Annotated[str, Text()]]


class PluginConfig(TypedDict):
    """A plugin's settings. Other members are kept unchanged. Migration 0007 has the same rules in SQL."""

    endpoint: NotRequired[Annotated[str, Text()]]
    poll_interval_s: NotRequired[Annotated[Decimal, Seconds()]]
    timeout_s: NotRequired[Annotated[Decimal, Seconds()]]
    languages: NotRequired[
        Annotated[list[Annotated[str, Text()]], FailFast()]
    ]  # stop at the first fault: there may be millions
    auth: NotRequired[PluginAuth]
    options: NotRequired[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Config(Field):
    """A JSON object, validated with :class:`PluginConfig` and stored unchanged."""

    pg_type = "jsonb"

    def check(self, value: Any) -> dict[str, Any]:
        """Return the object without null members, for validation."""
        if not isinstance(value, dict):
            raise invalid("must be an object")
        check_storable(value)
        return {name: without_nulls(member) for name, member in without_nulls(value).items()}

    def __get_pydantic_core_schema__(self, _source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Validate the object, then each known member under its own path."""
        return core_schema.no_info_before_validator_function(self.check, handler.generate_schema(PluginConfig))

    def __get_pydantic_json_schema__(self, _schema: CoreSchema, _handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Return the schema of the declaration, without references to other definitions."""
        schema = TypeAdapter(PluginConfig).json_schema()
        auth = schema.pop("$defs")["PluginAuth"]
        schema["properties"]["auth"] = auth | {"additionalProperties": True}
        return schema | {"additionalProperties": True}


class Plugin(TypedDict):
    """The fields of a plugin event. Absent fields of a report keep their values; a new plugin states the others."""

    name: Required[Annotated[str, Text(shortest=1, longest=255)]]
    source: NotRequired[Annotated[str, Text()]]
    capabilities: NotRequired[Annotated[dict[str, Any] | list[Any], JsonObjectOrArray()]]
    version: NotRequired[Annotated[str, Text()]]
    enabled: NotRequired[Annotated[bool, Flag()]]
    health_status: NotRequired[Annotated[str, HEALTH_STATUS]]
    reported_at: Required[Annotated[datetime, Timestamp()]]
    config: NotRequired[Annotated[dict[str, Any], Config()]]


PLUGIN = Kind("plugin", "plugin_registry", Plugin, facts=(), key="name", amends=True)
