"""Tests that `ragledger migrate down` checks every file first, and keeps data that no topic contains."""

from uuid import uuid4

import pytest

from consumer.admin import migrate
from consumer.ingest.erased import Key
from consumer.maintenance.table_partitions import convert
from tests.support.psql import (
    ONE_DEAD_LETTER,
    ONE_DIALOGUE,
    ONE_LEDGER_ROW,
    ROLLBACKS,
    catalog,
    execute,
    one_rollback,
    psql,
    rows,
    run_files,
    value,
)

pytestmark = pytest.mark.timeout(120)

DELETE = "PGOPTIONS", "-cragledger.delete_data=on"
DECISION = """
INSERT INTO ledger_decisions (consumer_group, topic, partition, decided_by, from_offset, to_offset, begins_anew,
  start_offset, inserted, duplicates, amended, dead_lettered, gaps)
VALUES ('g', 't', 0, 'somebody', 0, 0, true, 0, 0, 0, 0, 0, 0)
"""
FEEDBACK = "INSERT INTO kept_feedback (dialogue_id, user_feedback, given_at) VALUES (gen_random_uuid(), 1, now())"
TRACE = """
INSERT INTO dialogue_traces (dialogue_id, trace_id, user_id, created_at, spans, model_calls, retrievals, tool_calls,
  embeddings, errors, mapping, content_hash)
VALUES (gen_random_uuid(), 'a', gen_random_uuid(), now(), 1, 1, 0, 0, 0, 0, 1, 'x')
"""
COST = """
INSERT INTO dialogue_costs (dialogue_id, created_at, source, price_version)
VALUES (gen_random_uuid(), now(), 'unpriced', 'p')
"""
NOTICE = "INSERT INTO retention_notices (run_id, notice) VALUES (gen_random_uuid(), '{}')"


def remember_an_erased_user(dsn: str, key_id: str) -> None:
    """Record an erased user."""
    execute(dsn, f"INSERT INTO erased_users (user_hash, key_id) VALUES (sha256('{uuid4()}'::bytea), '{key_id}')")


def own_key_id(dsn: str) -> str:
    """Return the id of the key in the database, as the service computes it."""
    return Key(bytes(value(dsn, "SELECT key FROM erasure_version"))).id


def test_the_guarded_files_are_tested() -> None:
    """A new table with rows that no topic contains needs a guard, and a case in this test."""
    guarded = {file.name[9:13] for file in ROLLBACKS if "ragledger.delete_data" in file.read_text()}
    assert guarded >= {"0005", "0007", "0009", "0011", "0013", "0015", "0021", "0022", "0023"}


@pytest.mark.parametrize(
    ("number", "data", "said"),
    [
        ("0005", ONE_DEAD_LETTER, "1 dead letters are open"),
        ("0007", FEEDBACK, "1 verdicts and checks wait"),
        ("0009", NOTICE, "0 users were erased, 0 rows of provenance are archived, 1 notices wait"),
        ("0013", DECISION, "1 decisions are recorded"),
        (
            "0013",
            f"{ONE_LEDGER_ROW}; UPDATE ingest_ledger SET stopped_at = now(), stopped_because = 'x'",
            "1 partitions have stopped",
        ),
        ("0021", TRACE, "the traces of 1 dialogues are recorded"),
        ("0022", "UPDATE erasure_version SET namespace_hash = 'x'", "users were erased under a namespace"),
        ("0022", COST, "the source of 1 costs is recorded"),
        ("0023", "INSERT INTO legal_holds (matter) VALUES ('m')", "1 legal holds are in force"),
        ("0023", "UPDATE dialogue_retention SET expired_before = '2026-01-01'", "were removed by retention"),
    ],
)
async def test_one_refusing_file_stops_the_whole_plan(filled: str, number: str, data: str, said: str) -> None:
    """Nothing is undone, not even by files that would not refuse; psql is refused too."""
    execute(filled, data)
    await migrate.up(filled)
    before = catalog(filled)
    with pytest.raises(migrate.RollbackRefusedError) as caught:
        await migrate.down(filled, to=2)
    assert said in str(caught.value)
    assert "Nothing was rolled back." in str(caught.value)
    assert catalog(filled) == before
    refused = psql(filled, "-f", one_rollback(number), check=False)
    assert (refused.returncode, said in refused.stderr) == (3, True)
    assert catalog(filled) == before
    steps = await migrate.down(filled, to=2, delete_data=True)
    assert {step.action for step in steps} == {"rolled back"}


async def test_the_key_of_erased_users_is_kept(filled: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is kept while a user is erased with it, even if a key is set elsewhere. psql keeps it too."""
    await migrate.up(filled)
    key = value(filled, "SELECT key FROM erasure_version")
    remember_an_erased_user(filled, Key(b"k" * 32).id)
    await migrate.down(filled, to=14)
    await migrate.up(filled)
    assert value(filled, "SELECT key FROM erasure_version") != key
    remember_an_erased_user(filled, own_key_id(filled))
    key = value(filled, "SELECT key FROM erasure_version")
    for to in (14, 9):
        with pytest.raises(migrate.RollbackRefusedError, match="1 users were erased under the key"):
            await migrate.down(filled, to=to)
    assert psql(filled, "-f", one_rollback("0015"), check=False).returncode == 3
    assert value(filled, "SELECT key FROM erasure_version") == key
    with pytest.raises(migrate.RollbackRefusedError, match=r"(?s)0015.*key.*0009.*2 users were erased"):
        await migrate.down(filled, to=0)
    monkeypatch.setenv(*DELETE)
    run_files(filled, *ROLLBACKS)


async def test_a_lost_key_is_reported(filled: str) -> None:
    """Verify names its id and the fix, unless the key is set."""
    lost = Key(b"l" * 32)
    await migrate.up(filled)
    remember_an_erased_user(filled, own_key_id(filled))
    assert await failed(filled) == {}
    remember_an_erased_user(filled, lost.id)
    assert f"1 with key id {lost.id}" in (await failed(filled))["keys of erased users"]
    assert await failed(filled, lost) == {}


async def failed(dsn: str, *keys: Key) -> dict[str, str]:
    """Return the failed checks of verify."""
    return {check.name: check.detail for check in await migrate.verify(dsn, keys) if not check.ok}


async def test_ids_of_a_partitioned_table_are_kept(filled: str) -> None:
    """Otherwise an id could be stored twice; without rows there is nothing to keep."""
    execute(filled, ONE_DIALOGUE)
    await migrate.up(filled)
    await convert(filled, months_ahead=1)
    with pytest.raises(migrate.RollbackRefusedError, match="1 ids are kept apart"):
        await migrate.down(filled, to=10)
    assert rows(filled, "SELECT version FROM schema_migrations WHERE version > 10")
    execute(filled, "DELETE FROM ai_dialogue_log")
    await migrate.down(filled, to=10)
