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
        "topic_id": "uuid",
        "stopped_at": _AWARE,
        "stopped_because": "text",
    },
    "ledger_decisions": {
        "id": "bigint not null",
        "consumer_group": "text not null",
        "topic": "text not null",
        "partition": "integer not null",
        "decided_at": f"{_AWARE} not null",
        "decided_by": "text not null",
        "reason": "text",
        "problem": "text",
        "from_offset": "bigint not null",
        "to_offset": "bigint not null",
        "begins_anew": "boolean not null",
        "start_offset": "bigint not null",
        "inserted": "bigint not null",
        "duplicates": "bigint not null",
        "amended": "bigint not null",
        "dead_lettered": "bigint not null",
        "gaps": "bigint not null",
        "topic_id_before": "uuid",
        "topic_id_after": "uuid",
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
    "idx_ledger_decisions_partition": "ledger_decisions",
}
"""Index to its table."""

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
    "ingest_ledger_pkey": "ingest_ledger",
    "ingest_ledger_balanced": "ingest_ledger",
    "dead_letters_record_key": "dead_letters",
    "ledger_decisions_balanced": "ledger_decisions",
}
"""Constraints that the service or its promises rest on, to their table."""

FOREIGN_KEYS: Mapping[str, str] = {
    "fk_ai_dialogue_user": "ai_dialogue_log",
    "fk_provenance_content": "provenance",
    "fk_provenance_acquired_by": "provenance",
}
"""Foreign keys of the optional version 4, to their table."""
