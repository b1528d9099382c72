"""Tests that a day is exact although a mark is visible on the coordinator before its rows are on the workers."""

from datetime import date

import pytest
from pydantic import SecretStr

from consumer.ingest.ports import Cause, Unavailable
from consumer.ingest.rollup_basis import Basis
from consumer.postgres import workers
from consumer.postgres.client import Database
from consumer.postgres.history import PostgresHistory
from consumer.settings.servers import Postgres
from tests.support.citus import distributed_schema, on_worker, shard_of
from tests.support.psql import execute, value

pytestmark = pytest.mark.timeout(180)

DAY = date(2026, 1, 5)
ROW = "('{id}', gen_random_uuid(), gen_random_uuid(), 'q', 'r', 'm', '2026-01-05 12:00')"
COLUMNS = "(id, user_id, session_id, query, response, model_used, created_at)"
FIRST, LATE = "00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000002"


async def test_a_mark_is_kept_until_its_rows_are_visible(monkeypatch: pytest.MonkeyPatch) -> None:
    """The row of a late event is prepared on its worker, its mark is committed here. The day waits, then is exact."""
    monkeypatch.setattr(workers, "LONGEST_WAIT_SECONDS", 0.3)
    with distributed_schema("distributed_by_id") as dsn:
        execute(dsn, f"INSERT INTO ai_dialogue_log {COLUMNS} VALUES {ROW.format(id=FIRST)}")
        database = Database(Postgres(dsn=SecretStr(dsn)))
        await database.open()
        history = PostgresHistory(database, Basis("UTC", ()), "me")
        await history.begin()
        await history.roll_up(DAY)
        shard = shard_of(dsn, "ai_dialogue_log", LATE)
        insert = f"INSERT INTO {shard.table} {COLUMNS} VALUES {ROW.format(id=LATE)}"
        on_worker(dsn, shard, f"BEGIN; {insert}; PREPARE TRANSACTION 'citus_77_test'")
        execute(dsn, f"INSERT INTO touched_days (day) VALUES ('{DAY}')")
        with pytest.raises(Unavailable) as waiting:
            await history.roll_up_due(DAY, 0.0)
        assert waiting.value.cause is Cause.LOCK
        assert value(dsn, "SELECT count(*) FROM touched_days") == 1
        on_worker(dsn, shard, "COMMIT PREPARED 'citus_77_test'")
        assert await history.roll_up_due(DAY, 0.0)
        assert value(dsn, "SELECT total_dialogues FROM rag_metrics_history") == 2
        await database.close(5)
