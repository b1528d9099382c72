"""The JSON Schema of the notice to an owner. The query `retention_end_run` writes the notices."""

from __future__ import annotations

from typing import Any

from consumer.events.provenance import CONTENT_TYPE, LICENSE_TYPE

_UUID = {"type": "string", "format": "uuid"}
_TIME = {"type": "string", "format": "date-time"}
_CONTENT = {
    "type": "object",
    "properties": {
        "id": _UUID | {"description": "Identity of the acquisition, as it was in provenance"},
        "content_id": _UUID,
        "content_type": CONTENT_TYPE.json_schema(),
        "license_type": {"enum": list(LICENSE_TYPE.values)},
        "acquired_at": _TIME,
        "retention_years": {"type": "integer", "minimum": 0},
        "retention_ended_at": _TIME,
    },
}
_CONTENT["required"] = list(_CONTENT["properties"])

NOTICE_SCHEMA: dict[str, Any] = {
    "title": "expired notice",
    "description": "Provenance of one owner that one run of retention has archived and deleted.",
    "type": "object",
    "properties": {
        "notice_id": _UUID | {"description": "Identity of the notice, and the id of its CloudEvent"},
        "run_id": _UUID | {"description": "The run; retention_archive holds everything that it archived"},
        "owner": {"anyOf": [_UUID, {"type": "null"}], "description": "acquired_by of every piece; null: unknown"},
        "total": {"type": "integer", "minimum": 1, "description": "Pieces of provenance that were archived"},
        "first_ended_at": _TIME,
        "last_ended_at": _TIME,
        "archived_at": _TIME,
        "contents": {"type": "array", "items": _CONTENT, "description": "The pieces whose retention ended first"},
        "contents_are_complete": {"type": "boolean", "description": "Whether contents lists every piece"},
    },
}
NOTICE_SCHEMA["required"] = list(NOTICE_SCHEMA["properties"])
