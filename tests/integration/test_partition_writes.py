"""Tests writes of others during a conversion, and to partitions after it."""

import psycopg
import pytest

from tests.support.partitions import ALL_ROWS, assert_sound, converted, fill, is_partitioned, one_dialogue
from tests.support.psql import execute, rows, value


def test_an_id_is_unique_for_every_writer(filled: str) -> None:
    """This holds for any month. The id of a deleted row can be used again, and so can all ids after a TRUNCATE."""
    fill(filled)
    converted(filled)
    taken = value(filled, "SELECT id::text FROM ai_dialogue_log WHERE query = 'question 7'")
    for moment in ("now() AT TIME ZONE 'UTC'", "'2199-01-01'", "now() AT TIME ZONE 'UTC' - interval '40 days'"):
        with pytest.raises(psycopg.errors.UniqueViolation):
            execute(filled, one_dialogue(moment, f"'{taken}'"))
    execute(filled, f"UPDATE ai_dialogue_log SET created_at = created_at + interval '1 month' WHERE id = '{taken}'")
    execute(filled, "UPDATE ai_dialogue_log SET id = gen_random_uuid() WHERE query = 'question 8'")
    assert_sound(filled)
    execute(filled, f"DELETE FROM ai_dialogue_log WHERE id = '{taken}'", one_dialogue("'2199-01-01'", f"'{taken}'"))
    assert_sound(filled)
    execute(filled, "TRUNCATE ai_dialogue_log", one_dialogue("'2020-01-01'", f"'{taken}'"))
    assert_sound(filled)


def test_feedback_by_id_and_erasure_by_user_work_on_both_forms(filled: str) -> None:
    """An update by id and a deletion by user find their rows in any partition."""
    fill(filled)
    feedback = (
        "UPDATE ai_dialogue_log SET user_feedback = 1"
        " WHERE id = ANY (SELECT id FROM ai_dialogue_log WHERE latency_ms % 50 = 0)"
    )
    erasure = "DELETE FROM ai_dialogue_log WHERE user_id = '00000000-0000-0000-0000-00000000000{}'"
    for user in (2, 3):
        with psycopg.connect(filled, autocommit=True) as connection:
            assert connection.execute(feedback.encode()).rowcount == 8
            assert connection.execute(erasure.format(user).encode()).rowcount == 42
        converted(filled)
    assert_sound(filled)
    stale = "updated_at < now() AT TIME ZONE 'UTC' - interval '1 hour'"
    assert value(filled, f"SELECT count(*) FROM ai_dialogue_log WHERE user_feedback = 1 AND {stale}") == 0


ANY_ROW = "(SELECT id FROM ai_dialogue_log WHERE isfinite(created_at) ORDER BY random() LIMIT 1)"
OF_OTHERS = (
    one_dialogue(),
    one_dialogue("'2199-01-01'"),
    f"UPDATE ai_dialogue_log SET user_feedback = 1 WHERE id = {ANY_ROW}",
    f"UPDATE ai_dialogue_log SET created_at = created_at - interval '1 month' WHERE id = {ANY_ROW}",
    f"UPDATE ai_dialogue_log SET id = gen_random_uuid() WHERE id = {ANY_ROW}",
    f"DELETE FROM ai_dialogue_log WHERE id = {ANY_ROW}",
    # Deleted, and inserted again in another month.
    f"CREATE TABLE aside AS SELECT * FROM ai_dialogue_log WHERE id = {ANY_ROW};"
    " DELETE FROM ai_dialogue_log WHERE id = (SELECT id FROM aside);"
    " UPDATE aside SET created_at = created_at - interval '2 months'; INSERT INTO ai_dialogue_log SELECT * FROM aside;"
    " DROP TABLE aside",
)


def test_writes_of_others_work_at_every_step(filled: str) -> None:
    """They change rows that are copied and rows that are not: the state before the switch is the state after it."""
    fill(filled)
    last: list[object] = []
    steps = []

    def on_progress(step: str, _done: int, _total: int | None) -> None:
        if is_partitioned(filled):
            assert rows(filled, ALL_ROWS) == last
        execute(filled, *OF_OTHERS)
        steps.append(step)
        last[:] = rows(filled, ALL_ROWS)

    converted(filled, on_progress=on_progress)
    assert len(set(steps)) == 7
    assert rows(filled, ALL_ROWS) == last
    assert_sound(filled)


def test_truncating_the_table_during_a_conversion_truncates_both(filled: str) -> None:
    """TRUNCATE is mirrored too."""
    fill(filled)

    def on_progress(step: str, _done: int, _total: int | None) -> None:
        if step == "compare":
            execute(filled, "TRUNCATE ai_dialogue_log", one_dialogue())

    assert converted(filled, on_progress=on_progress).rows == 1
    assert_sound(filled)
