"""Writes what the documentation takes from the code: settings, metrics, the fields of events, their schemas. And what
the Helm chart and the Python client do.

python docs/generate.py          write it
python docs/generate.py --check  name the files that are not current, and exit with 1 if there are any
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from generate_chart import CHART, rows
from generate_chart import files as chart_files
from generate_client import files as client_files
from pydantic import SecretStr, TypeAdapter

from consumer.admin.contract import documents
from consumer.events.dialogue import Citation, Citations, Money
from consumer.events.fields import (
    Choice,
    Currency,
    Field,
    Flag,
    JsonObject,
    JsonObjectOrArray,
    KeyedId,
    Number,
    Text,
    Timestamp,
    Uuid,
)
from consumer.events.kind import Kind
from consumer.events.otlp import mapping
from consumer.events.plugin import Config, PluginConfig, Seconds
from consumer.events.registry import kinds_by_topic
from consumer.settings.model import Settings, Topics
from consumer.settings.shown import meanings
from consumer.settings.sources import variable
from consumer.telemetry.metrics import ALL, Metric
from consumer.telemetry.metrics import kind as type_of

DOCS = Path(__file__).resolve().parent
SCHEMA = DOCS.parent / "schema"
NAMES = ("configuration.md", "events.md", "metrics.md", "opentelemetry.md")
PAGES = (*(DOCS / name for name in NAMES), CHART / "README.md")
KINDS = kinds_by_topic(Topics())
# Whose columns say what the fields of amendments mean.
_KEPT_IN = {"feedback": "kept_feedback", "verification": "kept_verifications"}


def main(check: bool) -> int:
    """Write every file that is not current, or only name it."""
    wanted = {path: text for path, text in generated().items() if not path.exists() or path.read_text("utf-8") != text}
    for path, text in wanted.items():
        print(f"{'not current' if check else 'written'}: {path.relative_to(DOCS.parent)}")
        if not check:
            path.write_text(text, "utf-8")
    return int(check and bool(wanted))


def generated() -> Mapping[Path, str]:
    """The whole text of every file with something generated in it."""
    exported = {DOCS / "events" / name: text for name, text in documents(KINDS, Topics().expired).items()}
    return exported | chart_files() | client_files() | {page: filled(page.read_text("utf-8")) for page in PAGES}


def filled(page: str) -> str:
    """The page, with everything between its `generated` and `/generated` comments recreated."""
    made = {"settings": settings(), "metrics": metrics(), "citation": fields(Kind("citation", "", Citation, facts=()))}
    made["values"] = table(("value", "default", "meaning"), rows())
    made["config"] = _members(TypeAdapter(PluginConfig).json_schema())
    made |= {kind.name: fields(kind) for kind in KINDS.values()}
    made |= {"mapping": mapped(), "roles": span_roles(), "own": own_attributes()}
    block = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- /generated -->)", re.DOTALL)
    return block.sub(lambda found: f"{found[1]}\n{made[found[2]]}\n{found[3]}", page)


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    cells = [[cell.replace("|", "\\|") for cell in row] for row in (columns, ["---"] * len(columns), *rows)]
    return "".join(f"| {' | '.join(row)} |\n" for row in cells)


def settings() -> str:
    """A section with a table for each group of settings."""
    return "\n".join(_group(name, field.annotation) for name, field in Settings.model_fields.items())


def _group(name: str, group: Any) -> str:
    schema = group.model_json_schema()
    rows = [_setting(name, member, group, schema, meaning) for member, meaning in meanings(group).items()]
    return f"### {name}\n\n{group.__doc__}\n\n{table(('variable', 'default', 'allowed', 'meaning'), rows)}"


def _setting(group: str, name: str, model: Any, schema: Mapping[str, Any], meaning: str) -> Sequence[str]:
    default, part = model.model_fields[name].default, schema["properties"][name]
    value = default.get_secret_value() if isinstance(default, SecretStr) else default
    shown = "none" if value is None else f"`{str(value).lower() if isinstance(value, bool) else value}`"
    return f"`{variable(group, name)}`", shown, _allowed(part, schema.get("$defs", {})), meaning


def _allowed(part: Mapping[str, Any], shared: Mapping[str, Any]) -> str:
    part = part.get("anyOf", [part])[0]
    part = shared[part["$ref"].split("/")[-1]] if "$ref" in part else part
    if "enum" in part:
        return ", ".join(f"`{value}`" for value in part["enum"])
    types = {"integer": "whole number", "number": "number", "boolean": "`true` or `false`", "string": "text"}
    formats = {"path": "a path", "password": "text, a secret", "uuid": "a UUID"}
    return formats.get(part.get("format", ""), types[part["type"]]) + _limits(part)


def _limits(part: Mapping[str, Any]) -> str:
    if "exclusiveMinimum" in part and "maximum" in part:
        return f", more than {part['exclusiveMinimum']:g}, at most {part['maximum']:g}"
    if "maximum" in part:
        return f", {part['minimum']} to {part['maximum']}"
    if "minimum" in part:
        return f", at least {part['minimum']}"
    return ", more than 0" if "exclusiveMinimum" in part else ", not empty" if "minLength" in part else ""


def metrics() -> str:
    """A table of every metric."""
    rows = [
        [f"`{one.name}`", type_of(one), ", ".join(f"`{label}`" for label in one.labels), _meaning(one)] for one in ALL
    ]
    return table(("metric", "type", "labels", "meaning"), rows)


def _meaning(metric: Metric) -> str:
    bounds = ", ".join(f"{bound:g}" for bound in metric.buckets)
    return f"{metric.meaning} Bounds: {bounds}." if bounds else metric.meaning


def mapped() -> str:
    """A table of the attributes of each field."""
    fields_of = {
        "`user_id`": mapping.USER,
        "`session_id`": mapping.SESSION,
        "`model_used`": (*mapping.RESPONSE_MODEL, *mapping.REQUEST_MODEL),
        "`temperature`": mapping.TEMPERATURE,
        "`temperature`, in a JSON object": mapping.PARAMETERS,
        "`prompt_tokens`": mapping.PROMPT_TOKENS,
        "`completion_tokens`": mapping.COMPLETION_TOKENS,
        "`total_tokens`": mapping.TOTAL_TOKENS,
        "tokens, in a JSON object": mapping.USAGE,
        "cost, in US dollars": (*mapping.COST_USD, *mapping.COSTS_USD),
        "messages to the model": mapping.INPUT_MESSAGES,
        "answers of the model": mapping.OUTPUT_MESSAGES,
        "retrieved documents": mapping.DOCUMENTS,
        "an error, beside the status": mapping.ERROR,
        "`service`": mapping.SERVICE,
        "`environment`": mapping.ENVIRONMENT,
    }
    rows_ = [[what, *map(str, _by_convention(attributes))] for what, attributes in fields_of.items()]
    return f"Version {mapping.VERSION}.\n\n{table(('field', 'attributes'), rows_)}"


def _by_convention(attributes: Iterable[mapping.Attribute]) -> Iterable[str]:
    parts = [f"`{attribute.name}` ({attribute.convention})" for attribute in attributes]
    return [", ".join(parts)]


def span_roles() -> str:
    """A table of the attributes that say what a span is."""
    rows_ = []
    for said in mapping.ROLES:
        meanings = {role: [value for value, one in said.roles.items() if one is role] for role in mapping.Role}
        text = "; ".join(
            f"{role}: {', '.join(f'`{one}`' for one in found)}" for role, found in meanings.items() if found
        )
        rows_.append((f"`{said.name}`", str(said.convention), text))
    return table(("attribute", "convention", "values, in any case"), rows_)


def own_attributes() -> str:
    """A table of the attributes that override a field."""
    own = {attribute.name: attribute.name.split(".")[1] for attribute in (mapping.USER[0], mapping.SESSION[0])}
    return table(
        ("attribute", "field"), [(f"`{name}`", f"`{column}`") for name, column in {**own, **mapping.OWN_FIELDS}.items()]
    )


def _members(schema: Mapping[str, Any]) -> str:
    """A table of the members that an object is held to."""
    return table(("member", "takes"), [[f"`{name}`", _json_type(part)] for name, part in schema["properties"].items()])


def _json_type(part: Mapping[str, Any]) -> str:
    if "exclusiveMinimum" in part:
        return "number above 0"
    return "array of texts" if "items" in part else {"string": "text"}.get(part.get("type", "object"), "object")


def fields(kind: Kind) -> str:
    """A table of an event's fields; what each means is the comment of the column that it fills."""
    comments = _comments(_KEPT_IN.get(kind.name, kind.table))
    meanings = {name: comments.get(name) or _BESIDE[name] for name in kind.fields} if comments else {}
    rows = [
        [f"`{name}`", "yes" if name in kind.required else "", _takes(field), *([meanings[name]] if meanings else [])]
        for name, field in kind.fields.items()
    ]
    return table(("field", "required", "takes", *(["becomes the column"] if comments else [])), rows)


# Fields that are no columns of the event's own table.
_BESIDE: Mapping[str, str] = {
    "cost": "`amount` and `currency` of `dialogue_costs`; in yen, `token_cost_jpy`: see [costs](costs.md)",
    "cached_tokens": "`cached_tokens` of `dialogue_costs`: prompt tokens from a cache; see [costs](costs.md)",
}


def _comments(table_name: str) -> Mapping[str, str]:
    sql = "".join(path.read_text("utf-8") for path in sorted(SCHEMA.glob("0*.sql")))
    found = re.findall(r"COMMENT ON COLUMN (\w+)\.(\w+) IS\s+'((?:[^']|'')*)'", sql)
    return {column: comment.replace("''", "'") for name, column, comment in found if name == table_name}


def _takes(field: Field) -> str:
    if isinstance(field, Text):
        return "text" if field.longest is None else f"text, {field.shortest} to {field.longest} characters"
    if isinstance(field, Number):
        sort = f"number, {field.scale} decimals" if field.scale else "whole number"
        return f"{sort}, {field.low:,} to {field.high:,}"
    if isinstance(field, Choice):
        return ", ".join(f"`{value}`" for value in field.values) + ("; or its SPDX identifier" if field.aliases else "")
    return _NAMES[type(field)]


_NAMES: Mapping[type[Field], str] = {
    Uuid: "UUID",
    KeyedId: "UUID, or [any string](#ids-of-users-and-sessions)",
    Timestamp: "date-time",
    Flag: "`true` or `false`",
    JsonObject: "object",
    JsonObjectOrArray: "object or array",
    Citations: "array of citations",
    Config: "object, see below",
    Money: "object: `amount`, a number with 9 decimals, and `currency`, three letters such as `USD`",
    Currency: "currency of three letters",
    Seconds: "number above 0, not in a string",
}


if __name__ == "__main__":
    sys.exit(main(check="--check" in sys.argv[1:]))
