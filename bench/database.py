"""Resets the tables between rounds, and counts and checks their rows."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from bench.events import COLUMNS, DIALOGUE_TABLE
from bench.servers import Connection

# The tables that a round fills.
_FILLED = (
    *COLUMNS,
    "kept_feedback",
    "dead_letters",
    "touched_days",
    "rag_metrics_history",
    "rollup_buckets",
    "ingest_ledger",
)


def reset(connection: Connection) -> None:
    """Empty every table and make a checkpoint, so that all rounds start from the same state."""
    connection.execute(f"TRUNCATE {', '.join(_FILLED)} RESTART IDENTITY")
    connection.execute("CHECKPOINT")


def count(connection: Connection, tables: Collection[str]) -> int:
    """The number of visible rows in these tables."""
    return sum(_integer(connection, f"SELECT count(*) FROM {table}") for table in tables)


def has_rows(connection: Connection, tables: Collection[str]) -> bool:
    """Whether any row is visible. The cost is small for any number of rows."""
    looks = " OR ".join(f"EXISTS (SELECT FROM {table})" for table in tables)
    return bool(_integer(connection, f"SELECT ({looks})::int"))


def has_all(connection: Connection, table: str, ids: Sequence[str]) -> bool:
    """Whether every one of these few ids is visible."""
    found = connection.execute(f"SELECT count(*) FROM {table} WHERE id = ANY(%s::uuid[])", [list(ids)]).fetchone()
    return found == (len(ids),)


def checksum(connection: Connection, table: str) -> str:
    """A checksum over all rows and every column that an event fills. It does not depend on the order of the rows."""
    row = f"ROW({', '.join(COLUMNS[table])})::text"
    found = connection.execute(f"SELECT count(*), sum(hashtextextended({row}, 0)::numeric) FROM {table}").fetchone()
    assert found is not None
    return f"{found[0]}:{found[1]}"


def apply_verdicts(connection: Connection, verdicts: Sequence[tuple[str, int]]) -> None:
    """Write feedback into its dialogues, with SQL of the benchmark instead of ragledger's."""
    ids, values = [id for id, _ in verdicts], [value for _, value in verdicts]
    connection.execute(
        f"UPDATE {DIALOGUE_TABLE} SET user_feedback = verdict.value "
        "FROM unnest(%s::uuid[], %s::int[]) AS verdict (id, value) WHERE ai_dialogue_log.id = verdict.id",
        [ids, values],
    )


def records_accounted(connection: Connection, group: str) -> int:
    """The number of records that the ledger of a consumer group accounts for."""
    query = "SELECT coalesce(sum(next_offset - start_offset), 0)::int FROM ingest_ledger WHERE consumer_group = %s"
    row = connection.execute(query, [group]).fetchone()
    assert row is not None
    return int(row[0])


def _integer(connection: Connection, sql: str) -> int:
    row = connection.execute(sql.encode()).fetchone()
    assert row is not None
    assert isinstance(row[0], int)
    return row[0]
