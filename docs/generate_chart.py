"""What the Helm chart takes from the settings and from the comments of its values. Called by generate.py."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import SecretStr

from consumer.settings.model import Settings
from consumer.settings.shown import meanings

CHART = Path(__file__).resolve().parents[1] / "deploy" / "helm" / "ragledger"
NOTE = "# Made by `python docs/generate.py` from the service's settings.\n"
SCALARS = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}
TEXT = {"type": "string", "minLength": 1}


@dataclass(frozen=True)
class Value:
    """A value of values.yaml.

    :param path: its keys
    :param default: what it holds
    :param meaning: the comment above it, in one line; empty where there is none
    :param schema: what the comment adds to its schema
    :param members: the values in it that are documented each by itself
    """

    path: Sequence[str]
    default: Any
    meaning: str
    schema: Mapping[str, Any]
    members: Sequence[Value]


def files() -> Mapping[Path, str]:
    """The whole text of every file of the chart that is made."""
    return {CHART / "values.schema.json": _json(values_schema()), CHART / "files" / "settings.yaml": known_settings()}


def values() -> Sequence[Value]:
    """Every value of values.yaml that is documented."""
    text = (CHART / "values.yaml").read_text("utf-8")
    return list(_values(yaml.compose(text, yaml.SafeLoader), yaml.safe_load(text), text.splitlines(), ()))


def rows() -> Iterator[Sequence[str]]:
    """A row of the table of values for each: its name, its default, its meaning."""
    waiting = list(values())
    while waiting:
        value = waiting.pop(0)
        waiting[:0] = value.members
        default = "" if value.members else f"`{_flow(value.default)}`"
        if default or value.meaning:
            yield f"`{'.'.join(value.path)}`", default, value.meaning


def values_schema() -> Mapping[str, Any]:
    """The schema that Helm holds values against. What is not named in it is refused."""
    members = {value.path[-1]: _value_schema(value) for value in values()}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "object",
        "additionalProperties": False,
        "properties": {**members, "global": {"type": "object"}},
        "$defs": {"settings": _settings_schema(), "settingsFrom": _references_schema(), **_SHARED},
    }


def known_settings() -> str:
    """The defaults of the service that templates need, and which settings are paths of files."""
    defaults = {
        group: {name: _plain(field.default) for name, field in fields.items() if _is_told(field)}
        for group, fields in _groups().items()
    }
    paths = [f"{group}.{name}" for group, fields in _groups().items() for name, one in fields.items() if _is_file(one)]
    known = {"defaults": {group: members for group, members in defaults.items() if members}, "paths": paths}
    return NOTE + yaml.safe_dump(known, sort_keys=False)


# ── values.yaml ──────────────────────────────────────────────────────────────────────────────────────────────────────


def _values(node: Any, content: Any, lines: Sequence[str], around: Sequence[str]) -> Iterator[Value]:
    for key, member in node.value:
        path = (*around, key.value)
        meaning, schema = _comment(lines, key.start_mark.line)
        default = content[key.value]
        within = list(_values(member, default, lines, path)) if isinstance(default, dict) and default else []
        if meaning or schema or within:
            yield Value(path, default, meaning, schema, within)


def _comment(lines: Sequence[str], line: int) -> tuple[str, Mapping[str, Any]]:
    """What the comment directly above a line says, and what it adds to the schema."""
    words, schema = list[str](), dict[str, Any]()
    while line > 0 and lines[line - 1].lstrip().startswith("#"):
        line -= 1
        text = lines[line].lstrip(" #")
        if text.startswith("@schema "):
            schema |= yaml.safe_load(text.removeprefix("@schema "))
        else:
            words.insert(0, text)
    return " ".join(words), schema


def _value_schema(value: Value) -> Mapping[str, Any]:
    if "$ref" in value.schema:
        return value.schema
    schema = {"type": SCALARS[type(value.default)]} if value.default is not None else {}
    if value.members and "additionalProperties" not in value.schema:
        schema |= {"additionalProperties": False}
        schema |= {"properties": {one.path[-1]: _value_schema(one) for one in value.members}}
    return schema | dict(value.schema)


def _flow(value: Any) -> str:
    return yaml.safe_dump(value, default_flow_style=True, width=10_000).removesuffix("...\n").strip()


# ── the settings ─────────────────────────────────────────────────────────────────────────────────────────────────────


def _groups() -> Mapping[str, Mapping[str, Any]]:
    return {name: field.annotation.model_fields for name, field in Settings.model_fields.items()}


def _is_secret(field: Any) -> bool:
    return SecretStr in (field.annotation, *get_args(field.annotation))


def _is_file(field: Any) -> bool:
    """Whether it names a file to read. A directory to write to has a default."""
    return Path in get_args(field.annotation) and field.default is None


def _is_told(field: Any) -> bool:
    return field.default is not None and not _is_secret(field)


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, Enum) else str(value) if isinstance(value, Path) else value


def _settings_schema() -> Mapping[str, Any]:
    """Each setting as its model describes it, but for secrets."""
    groups = {}
    for name, field in Settings.model_fields.items():
        schema, meaning = field.annotation.model_json_schema(), meanings(field.annotation)
        hidden = {one for one, member in _groups()[name].items() if _is_secret(member)}
        told = {one: part for one, part in schema["properties"].items() if one not in hidden}
        parts = {one: _setting(part, schema.get("$defs", {})) for one, part in told.items()}
        groups[name] = _object({one: {"description": meaning[one], **part} for one, part in parts.items()})
    return _object(groups)


def _setting(part: Mapping[str, Any], shared: Mapping[str, Any]) -> Mapping[str, Any]:
    told = part.get("anyOf", [part])[0]
    told = shared[told["$ref"].rsplit("/", 1)[-1]] if "$ref" in told else told
    keywords = ("type", "enum", "pattern", "minLength", "maxLength", "minimum", "maximum", "exclusiveMinimum")
    return {one: told[one] for one in keywords if one in told}


def _references_schema() -> Mapping[str, Any]:
    """For each setting, where its value may be: a secret in a Secret only."""
    groups = {
        group: {name: _kept_in(field) for name, field in fields.items() if field.annotation is not Path}
        for group, fields in _groups().items()
    }
    return _object({group: _object(members) for group, members in groups.items()})


def _kept_in(field: Any) -> Mapping[str, Any]:
    return {"$ref": "#/$defs/inSecret" if _is_secret(field) else "#/$defs/inSecretOrConfigMap"}


def _object(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "properties": properties}


_SHARED = {
    "inSecret": _object({"secret": TEXT, "key": TEXT}) | {"required": ["secret", "key"]},
    "inConfigMap": _object({"configMap": TEXT, "key": TEXT}) | {"required": ["configMap", "key"]},
    "inSecretOrConfigMap": {"oneOf": [{"$ref": "#/$defs/inSecret"}, {"$ref": "#/$defs/inConfigMap"}]},
    "job": _object(
        {
            "enabled": {"type": "boolean"},
            "schedule": TEXT,
            "args": {"type": "array", "items": {"type": "string"}, "minItems": 1},
            "settings": {"$ref": "#/$defs/settings"},
            "settingsFrom": {"$ref": "#/$defs/settingsFrom"},
        }
    )
    | {"required": ["schedule", "args"]},
}


def _json(value: Any) -> str:
    return json.dumps(value, indent=2) + "\n"
