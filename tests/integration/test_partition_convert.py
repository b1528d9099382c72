"""Tests `ragledger partition convert`: the partitioned table has everything that the table had."""

import psycopg
import pytest

from tests.support.partitions import (
    ALL_ROWS,
    MONTHS_AHEAD,
    assert_sound,
    converted,
    one_dialogue,
    own_lines,
    properties,
)
from tests.support.psql import execute, rows, value


def test_everything_of_the_table_is_kept(with_properties: str) -> None:
    """Columns, checks, indexes, foreign keys, triggers, comments, privileges, policies, views, and every row."""
    before, properties_before, rows_before = (
        own_lines(with_properties),
        properties(with_properties),
        rows(with_properties, ALL_ROWS),
    )
    done = converted(with_properties)
    assert (done.state, done.rows) == ("done", len(rows_before))
    assert_sound(with_properties)
    assert rows(with_properties, ALL_ROWS) == rows_before
    assert properties(with_properties) == properties_before
    key = "constraint ai_dialogue_log ai_dialogue_log_pkey t PRIMARY KEY (id"
    changed = {
        line.replace(", created_at)", ")") if line.startswith(key) else line for line in own_lines(with_properties)
    }
    key_index = "index t CREATE UNIQUE INDEX ai_dialogue_log_pkey ON "
    gone = {line for line in set(before) - changed if not line.startswith(key_index)}
    assert {line for line in gone if " ON public.ai_dialogue_log USING" not in line} == set()
    assert {line.replace(" ON public.", " ON ONLY public.") for line in gone} <= changed


def test_partitions_are_made_for_months_with_rows_and_for_months_ahead(with_properties: str) -> None:
    """All other rows are in the default partition; each partition has the settings, the policies and a comment."""
    converted(with_properties)
    months = value(
        with_properties,
        "SELECT count(DISTINCT date_trunc('month', created_at)) FROM ai_dialogue_log WHERE query <> 'outside'",
    )
    partitions = rows(
        with_properties,
        "SELECT relname, relrowsecurity, reloptions, relacl::text AS acl, is_default,"
        " obj_description(pg_class.oid) AS comment"
        " FROM dialogue_partitions('ai_dialogue_log') JOIN pg_class ON pg_class.oid = partition",
    )
    assert months + MONTHS_AHEAD <= len(partitions) - 1 <= months + MONTHS_AHEAD + 1
    assert all(one["relrowsecurity"] and one["reloptions"] == ["fillfactor=90"] for one in partitions)
    assert all(one["comment"].startswith("Partition of ai_dialogue_log: dialogues of ") for one in partitions)
    assert all("partition_reader" not in (one["acl"] or "") for one in partitions)
    [default] = [one["relname"] for one in partitions if one["is_default"]]
    assert value(with_properties, f"SELECT count(*) FROM {default}") == 4


def test_the_policies_apply_to_the_parent_and_the_partitions(with_properties: str) -> None:
    """A reader sees its own rows of the parent, and nothing of a partition."""
    converted(with_properties)
    partition = value(with_properties, "SELECT max(partition::text) FROM dialogue_partitions('ai_dialogue_log')")
    with psycopg.connect(with_properties, autocommit=True) as connection:
        connection.execute("SET ROLE partition_reader")
        assert connection.execute("SELECT count(*) FROM ai_dialogue_log").fetchone() == (0,)
        connection.execute("SET app.current_user_id = '00000000-0000-0000-0000-000000000003'")
        seen = connection.execute("SELECT count(*), count(DISTINCT user_id) FROM ai_dialogue_log").fetchone()
        assert seen == (42, 1)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(f"SELECT count(*) FROM {partition}".encode())


def test_views_read_the_new_table(with_properties: str) -> None:
    """This includes a view on another view, with options and privileges."""
    converted(with_properties)
    execute(with_properties, "ALTER TABLE ai_dialogue_log DISABLE ROW LEVEL SECURITY")
    execute(with_properties, "INSERT INTO users VALUES ('99999999-0000-0000-0000-000000000000')")
    execute(
        with_properties,
        one_dialogue().replace(
            "gen_random_uuid(), gen_random_uuid(), 'q'",
            "'99999999-0000-0000-0000-000000000000', gen_random_uuid(), 'q'",
        ),
    )
    count = value(with_properties, "SELECT count(*) FROM ai_dialogue_log")
    assert (
        value(with_properties, "SELECT count(*) FROM recent") == value(with_properties, "SELECT n FROM beyond") == count
    )
    assert value(with_properties, "SELECT count(*) FROM audit") == 1


def test_deleting_a_user_still_deletes_the_dialogues(with_properties: str) -> None:
    """The foreign key deletes them, with their ids; an unknown user is rejected."""
    converted(with_properties)
    execute(with_properties, "DELETE FROM users WHERE id = '00000000-0000-0000-0000-000000000003'")
    assert (
        value(
            with_properties,
            "SELECT count(*) FROM ai_dialogue_log WHERE user_id = '00000000-0000-0000-0000-000000000003'",
        )
        == 0
    )
    assert_sound(with_properties)
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        execute(with_properties, one_dialogue())
