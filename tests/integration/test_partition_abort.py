"""Tests conversions that are aborted, delayed by a lock, or run twice."""

import asyncio

import psycopg
import pytest

from consumer.maintenance.table_partitions import LockNotTakenError, PartitionError, abort, convert, locks
from tests.support.partitions import ALL_ROWS, assert_sound, converted, fill, leftovers, one_dialogue, properties
from tests.support.psql import catalog, execute, rows


class Interrupted(Exception):
    """Ends a conversion."""


STEPS = ("make the new table", "mirror what is written", "copy", "settle deletions", "compare", "replace the table")


@pytest.mark.parametrize("step", STEPS)
def test_an_aborted_conversion_changes_nothing(with_properties: str, step: str) -> None:
    """It is interrupted before any step and aborted: schema, rows and privileges are as before."""
    before = (catalog(with_properties), properties(with_properties), rows(with_properties, ALL_ROWS))

    def on_progress(now: str, _done: int, _total: int | None) -> None:
        if now == step:
            raise Interrupted

    with pytest.raises(Interrupted):
        converted(with_properties, on_progress=on_progress)
    asyncio.run(abort(with_properties))
    assert (catalog(with_properties), properties(with_properties), rows(with_properties, ALL_ROWS)) == before
    assert leftovers(with_properties) == []
    assert converted(with_properties).state == "done"
    assert_sound(with_properties)


def test_a_conversion_cannot_be_aborted_after_the_switch(filled: str) -> None:
    """The abort is refused with the command to run instead; continuing drops the old table."""
    fill(filled)

    def on_progress(step: str, _done: int, _total: int | None) -> None:
        if step == "drop the old table":
            raise Interrupted

    with pytest.raises(Interrupted):
        converted(filled, on_progress=on_progress)
    with pytest.raises(PartitionError, match="already been replaced"):
        asyncio.run(abort(filled))
    assert converted(filled).state == "done"
    assert_sound(filled)
    assert converted(filled).state == "already partitioned"
    assert asyncio.run(abort(filled)).state == "no conversion is under way"


def test_a_locked_table_is_not_converted(filled: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """After some tries the conversion ends and names the sessions with locks; the next run continues."""
    fill(filled)
    monkeypatch.setattr(locks, "LIMITS_MS", (50, 50))
    with psycopg.connect(filled, application_name="long report") as other:
        other.execute("SELECT count(*) FROM ai_dialogue_log")
        with pytest.raises(LockNotTakenError, match="long report"):
            converted(filled)
        execute(filled, one_dialogue())
    assert converted(filled).state == "done"
    assert_sound(filled)


async def test_two_conversions_do_not_run_together(filled: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second waits for the first, and then finds nothing to do."""
    await asyncio.to_thread(fill, filled)
    both = await asyncio.gather(*(convert(filled, months_ahead=1) for _ in range(2)))
    assert sorted(done.state for done in both) == ["already partitioned", "done"]
