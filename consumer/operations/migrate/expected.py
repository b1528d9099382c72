"""What the database looks like once every file has run, written down a second time for `verify`.

Types are as PostgreSQL's format_type prints them.
"""

from __future__ import annotations

from collections.abc import Mapping

_UTC = "timestamp without time zone"
_AWARE = "timestamp with time zone"

COLUMNS: Mapping[str, Mapping[str, str]] = {
    "ai_dialogue_log": {
        "id": "uuid not null",
        "user_id": "uuid not null",
        "session_id": "uuid not null",
        "query": "text not null",
        "response": "text not null",
        "model_used": "character varying(100) not null",
        "created_at": f"{_UTC} not null",
        "updated_at": f"{_UTC} not null",
        "citations": "jsonb",
        "latency_ms": "integer",
        "token_cost_jpy": "numeric(8,2)",
        "citation_rate": "numeric(5,2)",
        "prompt_tokens": "integer",
        "completion_tokens": "integer",
        "total_tokens": "integer",
        "relevance_score": "numeric(3,2)",
        "user_feedback": "integer",
        "context_window_size": "integer",
        "temperature": "numeric(3,2)",
        "ingested_at": _UTC,
    },
    "provenance": {
        "id": "uuid not null",
        "content_id": "uuid not null",
        "content_type": "content_type not null",
        "source_uri": "text not null",
        "license_type": "license_type not null",
        "acquisition_method": "acquisition_method not null",
        "acquired_at": f"{_UTC} not null",
        "retention_years": "integer",
        "acquired_by": "uuid",
        "external_share_consent": "boolean",
        "permission_flag": "boolean",
        "last_verified_at": _UTC,
        "access_policy": "jsonb",
        "created_at": f"{_UTC} not null",
        "updated_at": f"{_UTC} not null",
    },
    "rag_metrics_history": {
        "id": "uuid not null",
        "date": f"{_UTC} not null",
        "total_dialogues": "integer not null",
        "unique_users": "integer not null",
        "citation_rate": "numeric(5,2)",
        "citation_count": "bigint",
        "latency_p50": "double precision",
        "latency_p95": "double precision",
        "latency_p99": "double precision",
        "total_cost": "numeric(16,2)",
        "cost_per_answer": "numeric(10,2)",
        "prompt_tokens": "bigint",
        "completion_tokens": "bigint",
        "total_tokens": "bigint",
        "avg_relevance_score": "numeric(3,2)",
        "feedback_positive": "integer not null",
        "feedback_neutral": "integer not null",
        "feedback_negative": "integer not null",
        "slo_compliance": "jsonb",
        "computed_at": _UTC,
        "created_at": f"{_UTC} not null",
    },
    "plugin_registry": {
        "id": "uuid not null",
        "name": "character varying(255) not null",
        "source": "text not null",
        "capabilities": "jsonb not null",
        "version": "text not null",
        "enabled": "boolean not null",
        "health_status": "character varying(20) not null",
        "last_health_check": _UTC,
        "config": "jsonb",
        "created_at": f"{_UTC} not null",
        "updated_at": f"{_UTC} not null",
        "reported_at": _UTC,
    },
    "kept_feedback": {
        "dialogue_id": "uuid not null",
        "user_feedback": "integer not null",
        "given_at": f"{_UTC} not null",
        "applied_at": _AWARE,
    },
    "kept_verifications": {
        "provenance_id": "uuid not null",
        "verified_at": f"{_UTC} not null",
        "is_statement": "boolean not null",
        "permission_flag": "boolean",
        "external_share_consent": "boolean",
        "license_type": "text",
        "applied_at": _AWARE,
    },
    "ingest_ledger": {
        "consumer_group": "text not null",
        "topic": "text not null",
        "partition": "integer not null",
        "start_offset": "bigint not null",
        "next_offset": "bigint not null",
        "inserted": "bigint not null",
        "duplicates": "bigint not null",
        "amended": "bigint not null",
        "dead_lettered": "bigint not null",
        "gaps": "bigint not null",
        "epoch": "bigint not null",
        "owner": "text",
        "updated_at": f"{_AWARE} not null",
    },
    "dead_letters": {
        "id": "bigint not null",
        "topic": "text not null",
        "partition": "integer not null",
        "record_offset": "bigint not null",
        "record_timestamp": f"{_AWARE} not null",
        "key": "bytea",
        "value": "bytea",
        "headers": "jsonb not null",
        "reason": "text not null",
        "detail": "jsonb not null",
        "sqlstate": "text",
        "dead_lettered_at": f"{_AWARE} not null",
        "replayed_at": _AWARE,
        "discarded_at": _AWARE,
    },
    "touched_days": {
        "id": "bigint not null",
        "day": "date not null",
        "touched_at": f"{_AWARE} not null",
    },
    "rollup_basis": {
        "id": "bigint not null",
        "time_zone": "text not null",
        "objectives": "jsonb not null",
        "adopted_at": _AWARE,
        "adopted_by": "text",
        "created_at": f"{_AWARE} not null",
    },
    "computed_days": {
        "day": "date not null",
        "basis_id": "bigint not null",
        "left_under": "bigint",
        "ingest_delay_p95": "double precision",
    },
    "known_ids": {
        "id": "uuid not null",
    },
    "partition_conversions": {
        "id": "bigint not null",
        "phase": "text not null",
        "next_block": "bigint not null",
        "end_block": "bigint not null",
        "rows_copied": "bigint not null",
        "started_at": f"{_AWARE} not null",
        "updated_at": f"{_AWARE} not null",
        "finished_at": _AWARE,
    },
    "partition_archives": {
        "month": "date not null",
        "partition": "text not null",
        "phase": "text not null",
        "row_count": "bigint",
        "file": "text",
        "sha256": "text",
        "detached_at": f"{_AWARE} not null",
        "dropped_at": _AWARE,
    },
    "retention_runs": {
        "id": "uuid not null",
        "begun_at": f"{_AWARE} not null",
        "ended_at": _AWARE,
    },
    "retention_archive": {
        "id": "uuid not null",
        "run_id": "uuid not null",
        "retention_ended_at": f"{_UTC} not null",
        "archived_at": f"{_AWARE} not null",
        "provenance": "jsonb not null",
    },
    "retention_notices": {
        "id": "uuid not null",
        "run_id": "uuid not null",
        "owner": "uuid",
        "notice": "jsonb not null",
        "created_at": f"{_AWARE} not null",
        "sent_from": "jsonb",
        "published_at": _AWARE,
    },
    "erased_users": {
        "user_hash": "bytea not null",
        "key_id": "text not null",
        "erased_at": f"{_AWARE} not null",
    },
    "erasure_version": {
        "only_row": "boolean not null",
        "version": "bigint not null",
    },
    "erasures": {
        "id": "bigint not null",
        "user_hash": "bytea not null",
        "key_id": "text not null",
        "requested_by": "text not null",
        "reference": "text",
        "begun_at": f"{_AWARE} not null",
        "finished_at": _AWARE,
        "dialogues": "bigint not null",
        "feedback": "bigint not null",
        "dead_letters": "bigint not null",
        "provenance": "bigint not null",
        "archived_provenance": "bigint not null",
        "notices": "bigint not null",
        "days": "date[] not null",
    },
}

INDEXES: Mapping[str, str] = {
    "idx_ai_dialogue_user": "ai_dialogue_log",
    "idx_ai_dialogue_session": "ai_dialogue_log",
    "idx_ai_dialogue_created_at": "ai_dialogue_log",
    "idx_ai_dialogue_citation_rate": "ai_dialogue_log",
    "idx_provenance_content": "provenance",
    "idx_provenance_source": "provenance",
    "idx_provenance_license": "provenance",
    "idx_provenance_retention": "provenance",
    "idx_rag_metrics_date": "rag_metrics_history",
    "idx_rag_metrics_compliance": "rag_metrics_history",
    "idx_plugin_name": "plugin_registry",
    "idx_plugin_enabled": "plugin_registry",
    "idx_ai_dialogue_user_created": "ai_dialogue_log",
    "idx_provenance_expiring": "provenance",
    "idx_rag_metrics_date_unique": "rag_metrics_history",
    "idx_plugin_enabled_healthy": "plugin_registry",
    "idx_dead_letters_open": "dead_letters",
    "idx_kept_feedback_waiting": "kept_feedback",
    "idx_kept_verifications_waiting": "kept_verifications",
    "idx_rollup_basis_content": "rollup_basis",
    "idx_partition_conversions_open": "partition_conversions",
    "idx_retention_runs_open": "retention_runs",
    "idx_retention_archive_run": "retention_archive",
    "idx_retention_archive_source": "retention_archive",
    "idx_retention_notices_waiting": "retention_notices",
    "idx_erasures_open": "erasures",
}
"""Index to its table."""

VIEWS: tuple[str, ...] = ("source_usability", "answers_citing_unusable_sources")
"""Views, each with the rights of whoever asks, or row-level security would not hold in it."""

ENUMS: Mapping[str, tuple[str, ...]] = {
    "content_type": ("material", "creation_log", "generated", "note_article", "ai_response"),
    "acquisition_method": ("api_fetch", "manual_upload", "ai_generated", "user_created", "system_import"),
    "license_type": (
        "cc0",
        "cc_by",
        "cc_by_sa",
        "cc_by_nc",
        "cc_by_nd",
        "mit",
        "apache_2_0",
        "proprietary",
        "unknown",
    ),
}

TRIGGERS: Mapping[str, str] = {
    "ai_dialogue_log": "update_ai_dialogue_log_updated_at_base",
    "provenance": "update_provenance_updated_at",
    "plugin_registry": "update_plugin_registry_updated_at",
}
"""Table to the one trigger that keeps its updated_at."""

CONSTRAINTS: Mapping[str, str] = {
    "ai_dialogue_log_user_feedback_check": "ai_dialogue_log",
    "plugin_registry_name_key": "plugin_registry",
    "plugin_registry_config_check": "plugin_registry",
    "kept_feedback_pkey": "kept_feedback",
    "kept_verifications_pkey": "kept_verifications",
    "ingest_ledger_pkey": "ingest_ledger",
    "ingest_ledger_balanced": "ingest_ledger",
    "dead_letters_record_key": "dead_letters",
    "known_ids_pkey": "known_ids",
    "retention_archive_pkey": "retention_archive",
    "erased_users_pkey": "erased_users",
    "erasure_version_one_row": "erasure_version",
}
"""Constraints that the service or its promises rest on, to their table."""

FOREIGN_KEYS: Mapping[str, str] = {
    "fk_ai_dialogue_user": "ai_dialogue_log",
    "fk_provenance_content": "provenance",
    "fk_provenance_acquired_by": "provenance",
}
"""Foreign keys of the optional version 4, to their table."""

POLICIES: Mapping[str, tuple[str, str, str | None]] = {
    "ai_dialogue_user_isolation": ("ai_dialogue_log", "r", None),
    "provenance_read_policy": ("provenance", "r", None),
    "ai_dialogue_ingest": ("ai_dialogue_log", "*", "ragledger_ingest"),
    "provenance_ingest": ("provenance", "*", "ragledger_ingest"),
    "ai_dialogue_compliance": ("ai_dialogue_log", "r", "ragledger_compliance"),
    "provenance_compliance": ("provenance", "r", "ragledger_compliance"),
}
"""Policy to its table, its command as pg_policy has it, and the one role it is for; None: for everybody."""

DELETE_TRIGGERS: Mapping[str, str] = {"ai_dialogue_log": "mark_days_of_deleted_dialogues"}
"""Table to the trigger that marks the days of its deleted rows."""
ID_KEEPERS = 4
"""Triggers that keep the ids of ai_dialogue_log apart where it is partitioned."""
