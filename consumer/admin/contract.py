"""`ragledger schema export`: writes the event contract as JSON Schema and AsyncAPI, from the
declarations of the kinds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from consumer import __version__
from consumer.events.kind import Kind
from consumer.files import PUBLIC, make_directory, write
from consumer.maintenance.retention.contract import NOTICE_SCHEMA

JSON_SCHEMA_DIALECT = "https://json-schema.org/draft/2020-12/schema"
ASYNCAPI = "asyncapi.json"
EXPIRED = "expired"


def json_schema(kind: Kind) -> dict[str, Any]:
    """Return the JSON Schema of one kind of event.

    It allows further members: unknown fields are ignored and counted, so that producers can add fields first.
    """
    declared = kind.adapter.json_schema()
    declared["properties"] = {name: _optional(kind, name, part) for name, part in declared["properties"].items()}
    return {"$schema": JSON_SCHEMA_DIALECT, **declared, "title": f"{kind.name} event", "additionalProperties": True}


def _optional(kind: Kind, name: str, part: dict[str, Any]) -> dict[str, Any]:
    """Allow null for an optional field, because a null counts as absent."""
    part = {key: value for key, value in part.items() if key != "title"}
    return part if name in kind.required else {"anyOf": [part, {"type": "null"}]}


def asyncapi(kinds: Mapping[str, Kind], expired_topic: str) -> dict[str, Any]:
    """Return an AsyncAPI 3.0 document with a channel, an operation and a message for each topic.

    :param expired_topic: the topic of the notices, which ragledger writes and does not read
    """
    notice = {EXPIRED: {"$ref": f"#/components/messages/{EXPIRED}"}}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "ragledger events",
            "version": __version__,
            "description": "The events that RAG services publish and ragledger reads, and the notices it writes.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {kind.name: _channel(topic, kind) for topic, kind in kinds.items()}
        | {EXPIRED: {"address": expired_topic, "messages": notice}},
        "operations": {f"read_{kind.name}": _operation(kind) for kind in kinds.values()}
        | {f"write_{EXPIRED}": {"action": "send", "channel": {"$ref": f"#/channels/{EXPIRED}"}}},
        "components": {
            "messages": {kind.name: _message(kind.name, json_schema(kind)) for kind in kinds.values()}
            | {EXPIRED: _message(EXPIRED, notice_schema())}
        },
    }


def _channel(topic: str, kind: Kind) -> dict[str, Any]:
    return {"address": topic, "messages": {kind.name: {"$ref": f"#/components/messages/{kind.name}"}}}


def _operation(kind: Kind) -> dict[str, Any]:
    return {"action": "receive", "channel": {"$ref": f"#/channels/{kind.name}"}}


def _message(name: str, payload: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": name, "title": payload["title"], "contentType": "application/json", "payload": payload}


def notice_schema() -> dict[str, Any]:
    """Return the JSON Schema of a notice to the owner of archived provenance."""
    return {"$schema": JSON_SCHEMA_DIALECT, **NOTICE_SCHEMA}


def documents(kinds: Mapping[str, Kind], expired_topic: str) -> dict[str, str]:
    """Return every document by its file name."""
    found = {f"{kind.name}.schema.json": json_schema(kind) for kind in kinds.values()}
    found |= {f"{EXPIRED}.schema.json": notice_schema(), ASYNCAPI: asyncapi(kinds, expired_topic)}
    return {name: _text(document) for name, document in found.items()}


def export(kinds: Mapping[str, Kind], expired_topic: str, directory: Path) -> list[Path]:
    """Write every document. Return the paths of the files.

    :raises FileError: the directory cannot be written
    """
    make_directory(directory, PUBLIC)
    written = []
    for name, text in documents(kinds, expired_topic).items():
        path = directory / name
        write(path, text, PUBLIC)
        written.append(path)
    return written


def _text(document: Mapping[str, Any]) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
