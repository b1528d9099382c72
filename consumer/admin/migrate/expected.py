"""The schema that `verify` expects after all files have run.

`python -m tests.support.expected_schema` writes most of it to `expected.json` from a migrated database. A test compares
them. Types are written as PostgreSQL's format_type prints them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

_DESCRIBED: Mapping[str, Any] = json.loads(files(__package__ or "").joinpath("expected.json").read_text())

COLUMNS: Mapping[str, Mapping[str, str]] = _DESCRIBED["columns"]
"""Table to its columns, each with its type."""

INDEXES: Mapping[str, str] = _DESCRIBED["indexes"]
"""Index to its table, without indexes of constraints."""

VIEWS: tuple[str, ...] = tuple(_DESCRIBED["views"])
"""Views. Each runs with the rights of the caller; otherwise row-level security would not apply in it."""

ENUMS: Mapping[str, tuple[str, ...]] = {name: tuple(labels) for name, labels in _DESCRIBED["enums"].items()}
"""Enum to its labels, in order."""

CONSTRAINTS: Mapping[str, str] = _DESCRIBED["constraints"]
"""Constraint to its table."""

POLICIES: Mapping[str, tuple[str, str, str | None]] = {
    name: (policy["table"], policy["command"], policy["role"]) for name, policy in _DESCRIBED["policies"].items()
}
"""Policy to its table, its command as in pg_policy, and its only role; None: every role."""

GRANTS: Mapping[str, Mapping[str, Mapping[str, list[str]]]] = _DESCRIBED["grants"]
"""Role to its tables, each with privileges; a privilege with its columns, none for the whole table."""

TRIGGERS: Mapping[str, str] = {
    "ai_dialogue_log": "update_ai_dialogue_log_updated_at_base",
    "provenance": "update_provenance_updated_at",
    "plugin_registry": "update_plugin_registry_updated_at",
}
"""Table to its only trigger for updated_at."""

FOREIGN_KEYS: Mapping[str, str] = {
    "fk_ai_dialogue_user": "ai_dialogue_log",
    "fk_provenance_content": "provenance",
    "fk_provenance_acquired_by": "provenance",
}
"""Foreign keys of the optional version 4, to their table."""

DELETE_TRIGGERS: Mapping[str, str] = {"ai_dialogue_log": "mark_days_of_deleted_dialogues"}
"""Table to the trigger that marks the days of its deleted rows."""
# A caller would act with the rights of the tables' owner, or create and change tables.
CLOSED_FUNCTIONS: tuple[str, ...] = (
    "admit_dialogue_writers",
    "await_retention",
    "dialogue_partitions",
    "dress_dialogue_partition",
    "ensure_dialogue_partition",
    "keep_dialogue_id",
    "make_default_dialogue_partition",
    "make_dialogue_partition",
    "mark_days_of_deleted_dialogues",
    "raise_erasure_version",
    "retype_model_used",
    "wanted_dialogue_months",
    "watch_dialogue_ids",
)
# They read no table and have no rights of their own; row constraints and views of the caller need them.
OPEN_FUNCTIONS: tuple[str, ...] = (
    "is_on_legal_hold",
    "named_uuid",
    "plugin_config_is_valid",
    "retention_ends_at",
    "session_id_of",
    "spdx_license_id",
    "update_updated_at_column",
    "usage_problems",
    "user_id_of",
)

ID_KEEPERS = 4
"""Number of triggers that keep the ids of a partitioned ai_dialogue_log unique."""
