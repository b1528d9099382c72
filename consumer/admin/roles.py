"""The expected rights of the roles of migration 0008, for `migrate verify` and `doctor`.

ragledger_owner owns the tables, and ragledger_migrator is a member of it; their rights are not grants.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

OWNER, MIGRATOR, INGEST = "ragledger_owner", "ragledger_migrator", "ragledger_ingest"
READER, COMPLIANCE, DASHBOARDS = "ragledger_reader", "ragledger_compliance", "ragledger_dashboards"
ROLES = (OWNER, MIGRATOR, INGEST, READER, COMPLIANCE, DASHBOARDS)

_COUNTED = (
    "id",
    "user_id",
    "model_used",
    "created_at",
    "citations",
    "latency_ms",
    "token_cost_jpy",
    "prompt_tokens",
    "completion_tokens",
    "total_tokens",
    "relevance_score",
    "user_feedback",
    "ingested_at",
)
_VERIFIED = ("last_verified_at", "permission_flag", "external_share_consent", "license_type")
_MOVED = ("next_offset", "inserted", "duplicates", "amended", "dead_lettered", "gaps", "epoch", "owner", "updated_at")
_COMPARED = ("leader_epoch", "leader_epoch_at")
_STOPPED = ("resume_from", "unreadable_from", "unreadable_until", "diverges_at")
_DECIDED = ("start_offset", "topic_id", "stopped_at", "stopped_because", *_STOPPED)
_SETTLED = ("reason", "detail", "sqlstate", "replayed_at", "discarded_at")
_EMPTIED = ("key", "value", "headers")


@dataclass(frozen=True, slots=True, order=True)
class Grant:
    """One privilege on one table, such as SELECT; only on `columns` if there are any."""

    table: str
    privilege: str
    columns: tuple[str, ...] = ()

    def sql(self, role: str) -> str:
        """Return the statement that grants it."""
        return f"GRANT {self._privilege} ON {self.table} TO {role}"

    def revoke_sql(self, role: str) -> str:
        """Return the statement that revokes it."""
        return f"REVOKE {self._privilege} ON {self.table} FROM {role}"

    @property
    def _privilege(self) -> str:
        return f"{self.privilege} ({', '.join(self.columns)})" if self.columns else self.privilege

    def __str__(self) -> str:
        return f"{self._privilege} on {self.table}"


def _grants(table: str, privileges: str, **on_columns: Iterable[str]) -> Iterator[Grant]:
    yield from (Grant(table, privilege) for privilege in privileges.split())
    yield from (Grant(table, privilege, tuple(sorted(columns))) for privilege, columns in on_columns.items())


GRANTS: Mapping[str, frozenset[Grant]] = {
    INGEST: frozenset(
        (
            *_grants("ai_dialogue_log", "INSERT", SELECT=_COUNTED, UPDATE=("token_cost_jpy", "user_feedback")),
            *_grants("provenance", "INSERT", SELECT=("id", *_VERIFIED), UPDATE=_VERIFIED),
            *_grants("kept_feedback", "SELECT INSERT UPDATE"),
            *_grants("kept_verifications", "SELECT INSERT UPDATE"),
            *_grants("plugin_registry", "SELECT INSERT UPDATE"),
            *_grants("erased_users", "SELECT"),
            *_grants("erasure_version", "SELECT", UPDATE=("version",)),
            *_grants("known_ids", "SELECT INSERT"),
            *_grants("dialogue_costs", "SELECT INSERT UPDATE"),
            *_grants("price_versions", "SELECT INSERT UPDATE"),
            *_grants("partition_archives", "SELECT"),
            *_grants("rollup_basis", "SELECT INSERT UPDATE"),
            *_grants("computed_days", "SELECT INSERT UPDATE"),
            *_grants("rag_metrics_history", "SELECT INSERT UPDATE"),
            *_grants("ingest_ledger", "SELECT INSERT", UPDATE=(*_MOVED, *_COMPARED, *_DECIDED)),
            *_grants("ledger_decisions", "SELECT INSERT"),
            *_grants("dead_letters", "SELECT INSERT", UPDATE=(*_SETTLED, *_EMPTIED)),
            *_grants("touched_days", "SELECT INSERT DELETE"),
            *_grants("schema_migrations", "SELECT"),
        )
    ),
    READER: frozenset((*_grants("ai_dialogue_log", "SELECT"), *_grants("provenance", "SELECT"))),
    COMPLIANCE: frozenset(
        Grant(table, "SELECT")
        for table in (
            "ai_dialogue_log",
            "provenance",
            "rag_metrics_history",
            "plugin_registry",
            "ingest_ledger",
            "ledger_decisions",
            "dead_letters",
            "kept_feedback",
            "kept_verifications",
            "retention_runs",
            "retention_archive",
            "retention_notices",
            "erased_users",
            "erasures",
            "rollup_basis",
            "computed_days",
            "price_versions",
            "dialogue_costs",
        )
    ),
    DASHBOARDS: frozenset((*_grants("rag_metrics_history", "SELECT"), *_grants("plugin_registry", "SELECT"))),
}
"""Role to exactly the grants that it has."""


def differences(role: str, held: Collection[Grant], tables: Collection[str]) -> tuple[list[Grant], list[Grant]]:
    """Return the grants that a role lacks and those it has in excess; only of existing `tables`."""
    wanted = {grant for grant in GRANTS[role] if grant.table in tables}
    return sorted(wanted.difference(held)), sorted(set(held) - wanted)
