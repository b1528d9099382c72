"""The Python client's declarations and parsers, made from the service's. Called by generate.py."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from consumer.events import numbers, timestamps
from consumer.events.fields import Choice, Field, Flag, JsonObject, Number, Text, Timestamp, Uuid
from consumer.events.kind import Kind
from consumer.events.registry import kinds_by_topic
from consumer.settings.model import Topics

CLIENT = Path(__file__).resolve().parents[1] / "client" / "ragledger_client"
NOTE = "# Made by `python docs/generate.py` from"
KINDS = {kind.name: kind for kind in kinds_by_topic(Topics()).values()}
PUBLISHED = ("dialogue", "feedback", "provenance")
# Whose id a field holds; such an id may also be a string that is no UUID.
OWNERS = {"user_id": "user", "session_id": "session", "acquired_by": "user"}
# Required, but the client says now where the application says nothing.
FILLED_IN = frozenset({"acquired_at"})
CHECKS = "array", "choice", "date_time", "flag", "json_object", "members", "number", "pattern", "text", "uuid"
IMPORTS = """
from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, TypedDict
from uuid import UUID

from ragledger_client._checks import {checks}
from ragledger_client._events import Declaration

"""


def files() -> Mapping[Path, str]:
    """The text of each file of the client that comes from the service."""
    copies = {"_timestamps.py": timestamps, "_numbers.py": numbers}
    made = {CLIENT / name: f"{NOTE} {module.__name__}.\n{_source(module)}" for name, module in copies.items()}
    return made | {CLIENT / "_fields.py": _formatted(_declarations())}


def _source(module: ModuleType) -> str:
    return Path(str(module.__file__)).read_text("utf-8")


def _formatted(source: str) -> str:
    ruff = [str(Path(sys.executable).parent / "ruff"), "format", "--stdin-filename", str(CLIENT / "_fields.py"), "-"]
    return subprocess.run(ruff, input=source, capture_output=True, text=True, check=True).stdout  # noqa: S603 - ours


def _declarations() -> str:
    topics = Topics().model_dump()
    body = "".join(_kind(KINDS[name]) for name in PUBLISHED)
    checks = ", ".join(one for one in CHECKS if re.search(rf"\b{one}[(,}}]", body))
    head = f'{NOTE} consumer.events.\n"""The kinds of events, and their fields."""\n{IMPORTS.format(checks=checks)}'
    defaults = _dict({name: repr(topics[name]) for name in PUBLISHED})
    return f"{head}TOPICS: Mapping[str, str] = {defaults}\n{body}"


def _kind(kind: Kind) -> str:
    schema = kind.adapter.core_schema
    optional = {name: field for name, field in kind.fields.items() if name not in kind.required - FILLED_IN}
    owners = {name: getattr(field, "owner", OWNERS.get(name)) for name, field in kind.fields.items()}
    arguments = {
        "kind": repr(kind.name),
        "required": _tuple(name for name in kind.fields if name in kind.required),
        "checks": _checks(schema, _shared(schema)),
        "keyed_ids": _dict({name: repr(owner) for name, owner in owners.items() if owner}),
        "sums": _dict({name: _tuple(parts) for name, parts in kind.sums.items()}),
    }
    declaration = ", ".join(f"{name}={text}" for name, text in arguments.items())
    return _optional_fields(kind.name, optional) + f"{kind.name.upper()} = Declaration({declaration})\n"


def _optional_fields(kind: str, fields: Mapping[str, Field]) -> str:
    if not fields:
        return ""
    types = "".join(f"    {name}: {_type(field)} | None\n" for name, field in fields.items())
    doc = f'"""The fields that a {kind} event may have. None counts as absent."""'
    return f"class {kind.capitalize()}Fields(TypedDict, total=False):\n    {doc}\n{types}\n"


# ── checks, from what pydantic was told to do ────────────────────────────────────────────────────────────────────────


def _shared(schema: Any) -> Mapping[str, Any]:
    return {one["ref"]: one for one in schema.get("definitions", ())}


def _checks(schema: Any, shared: Mapping[str, Any]) -> str:
    schema = schema["schema"] if schema["type"] == "definitions" else schema
    return _dict({name: _check(field["schema"], shared) for name, field in schema["fields"].items()})


def _check(schema: Any, shared: Mapping[str, Any]) -> str:
    """The call that makes the check of a value with this core schema of pydantic."""
    if schema["type"] == "function-plain":
        return _simple(schema["function"]["function"].__self__)
    if schema["type"] == "typed-dict":
        required = _tuple(name for name, field in schema["fields"].items() if field["required"])
        return f"members({required}, {_checks(schema, shared)})"
    if schema["type"] == "list":
        return f"array({_check(schema['items_schema'], shared)})"
    if schema["type"] == "definition-ref":
        return _check(shared[schema["schema_ref"]], shared)
    return _check(schema["json_schema" if schema["type"] == "json-or-python" else "schema"], shared)


def _simple(field: Field) -> str:
    """Of a kind of field that is not known here, the pattern that its JSON Schema has."""
    if (known := _SIMPLE.get(type(field).__name__)) is not None:
        return known[0](field)
    schema = field.json_schema()
    if schema.keys() == {"type", "pattern"}:
        return f"pattern({schema['pattern']!r})"
    raise TypeError(f"{field!r}: add a check to the client's _checks.py, and its name to docs/generate_client.py")


def _type(field: Field) -> str:
    """The type that the application gives."""
    composite = "Sequence[Mapping[str, Any]]" if type(field).__name__ == "Citations" else "Mapping[str, Any]"
    return _SIMPLE.get(type(field).__name__, (repr, composite))[1]


def _text(field: Text) -> str:
    return "text()" if field.longest is None else f"text({field.shortest}, {field.longest})"


def _number(field: Number) -> str:
    return f"number({str(field.low)!r}, {str(field.high)!r}, {field.scale})"


def _choice(field: Choice) -> str:
    return f"choice({_tuple(field.values)}, {_tuple(field.aliases or ())})"


_SIMPLE: Mapping[str, tuple[Callable[[Any], str], str]] = {
    Text.__name__: (_text, "str"),
    Number.__name__: (_number, "float | Decimal | str"),
    Uuid.__name__: (lambda _: "uuid", "UUID | str"),
    "KeyedId": (lambda _: "uuid", "UUID | str"),
    Timestamp.__name__: (lambda _: "date_time", "datetime | str"),
    Flag.__name__: (lambda _: "flag", "bool"),
    Choice.__name__: (_choice, "str"),
    JsonObject.__name__: (lambda _: "json_object", "Mapping[str, Any]"),
}


def _tuple(names: Iterable[str]) -> str:
    return repr(tuple(names))


def _dict(members: Mapping[str, str]) -> str:
    return "{" + ", ".join(f"{name!r}: {text}" for name, text in members.items()) + "}"
