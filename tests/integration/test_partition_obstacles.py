"""Tests the obstacles to a conversion."""

import asyncio

import pytest

from consumer.admin import migrate
from consumer.maintenance.table_partitions import ObstacleError, PartitionError, abort, convert
from tests.support.partitions import converted, fill, is_partitioned, leftovers, one_dialogue
from tests.support.psql import catalog, execute

OBSTACLES = [
    ("CREATE TABLE other (dialogue UUID REFERENCES ai_dialogue_log)", "other refers to it"),
    ("CREATE UNIQUE INDEX once ON ai_dialogue_log (session_id)", "once cannot be unique"),
    ("CREATE MATERIALIZED VIEW totals AS SELECT count(*) FROM ai_dialogue_log", "materialized view totals rests on it"),
    ("CREATE VIEW whole AS SELECT ai_dialogue_log FROM ai_dialogue_log", "view whole rests on it"),
    (
        "CREATE FUNCTION f(ai_dialogue_log) RETURNS INT LANGUAGE sql AS 'SELECT 1'",
        "function f(ai_dialogue_log) rests on it",
    ),
    ("CREATE TABLE child () INHERITS (ai_dialogue_log)", "child inherits from it"),
    ("CREATE PUBLICATION everything FOR TABLE ai_dialogue_log", "publication everything has it"),
    ("ALTER TABLE ai_dialogue_log ADD CHECK (query <> 'x') NOT VALID", "is not validated"),
    ("CREATE RULE no AS ON DELETE TO ai_dialogue_log DO INSTEAD NOTHING", "rule no"),
    ("ALTER TABLE ai_dialogue_log ADD number INT GENERATED ALWAYS AS IDENTITY", "column number is an identity column"),
    ("ALTER TABLE ai_dialogue_log REPLICA IDENTITY FULL", "replica identity"),
    ("ALTER TABLE ai_dialogue_log DROP CONSTRAINT ai_dialogue_log_pkey", "primary key must be (id)"),
    (
        "DROP VIEW answers_citing_unusable_sources; ALTER TABLE ai_dialogue_log ALTER created_at TYPE timestamptz",
        "created_at must be a TIMESTAMP",
    ),
]


@pytest.mark.parametrize(("statement", "obstacle"), OBSTACLES)
def test_an_unsupported_property_is_an_obstacle(filled: str, statement: str, obstacle: str) -> None:
    """The conversion names it, and changes nothing."""
    execute(filled, statement)
    before = catalog(filled)
    with pytest.raises(ObstacleError) as refused:
        converted(filled)
    assert obstacle in str(refused.value)
    assert catalog(filled) == before


async def test_grants_on_a_dropped_column_are_not_an_obstacle(filled: str) -> None:
    """PostgreSQL keeps them with the column, and the new table has no such column."""
    execute(
        filled,
        "ALTER TABLE ai_dialogue_log ADD COLUMN note text",
        "GRANT SELECT (note) ON ai_dialogue_log TO pg_monitor",
        "ALTER TABLE ai_dialogue_log DROP COLUMN note",
    )
    await convert(filled, months_ahead=1)
    assert is_partitioned(filled)


def test_a_column_that_is_added_during_the_conversion_stops_it(filled: str) -> None:
    """The column would be lost; the table stays in use, and the conversion can be aborted."""
    fill(filled)

    def on_progress(step: str, _done: int, _total: int | None) -> None:
        if step == "replace the table":
            execute(filled, "ALTER TABLE ai_dialogue_log ADD COLUMN extra INT")

    with pytest.raises(PartitionError, match="definition of extra was changed"):
        converted(filled, on_progress=on_progress)
    execute(filled, one_dialogue())
    asyncio.run(abort(filled))
    assert leftovers(filled) == []


def test_a_copy_that_differs_never_replaces_the_table(filled: str) -> None:
    """If a row of the copy was changed or lost, the comparison finds it."""
    fill(filled)

    def on_progress(step: str, _done: int, _total: int | None) -> None:
        if step == "compare":
            execute(filled, "UPDATE ai_dialogue_log_new SET query = 'another' WHERE latency_ms = 33")

    with pytest.raises(PartitionError, match="not equal"):
        converted(filled, on_progress=on_progress)
    assert not is_partitioned(filled)


async def test_without_the_migration_nothing_is_converted(blank: str) -> None:
    """The message names the command."""
    await migrate.up(blank, to=3)
    with pytest.raises(PartitionError, match="ragledger migrate up"):
        await convert(blank, months_ahead=1)
