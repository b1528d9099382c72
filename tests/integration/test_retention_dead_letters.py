"""Tests that retention removes old dead letters, open ones too, and that the ledger is not touched."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from tests.support.expiry import HELD, KEEP, OTHER, hold, letters
from tests.support.notices import retention_environment
from tests.support.psql import ONE_LEDGER_ROW, execute, rows, value
from tests.support.service import Environment
from tests.support.stack import Servers

pytestmark = pytest.mark.timeout(120)

COUNT = "SELECT count(*) FROM dead_letters"


@pytest.fixture
def environment(stack: Servers, migrated_template: str) -> Iterator[Environment]:
    """Return a database and a topic for notices, with small batches, so that a run has several."""
    with retention_environment(stack, migrated_template, RAGLEDGER_RETENTION__BATCH_ROWS="4") as made:
        made.variables["RAGLEDGER_RETENTION__DEAD_LETTERS_DAYS"] = str(KEEP)
        yield made


def test_old_dead_letters_are_removed_and_open_ones_are_counted(environment: Environment) -> None:
    """The preview is exact; the ledger's equation is not touched."""
    dsn = environment.dsn
    execute(dsn, ONE_LEDGER_ROW)
    books = rows(dsn, "SELECT * FROM ingest_ledger")
    old, young = f"{KEEP} days 1 second", f"{KEEP} days -1 minute"
    for partition, (count, state) in enumerate([(9, "open"), (5, "replayed"), (3, "discarded")]):
        letters(dsn, count, old, state, partition=partition)
        letters(dsn, 2, young, state, partition=partition + 10)
    preview = environment.run_json("retention", "preview")["dead_letters"]
    assert (preview["expired"], preview["open"], preview["on_hold"]) == (17, 9, 0)
    later = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    assert environment.run_json("retention", "preview", "--as-of", later)["dead_letters"]["expired"] == 23
    assert value(dsn, COUNT) == 23
    done = environment.run_json("retention", "run")
    assert (done["dead_letters"], done["open_dead_letters"]) == (17, 9)
    assert value(dsn, COUNT) == 6
    assert rows(dsn, "SELECT * FROM ingest_ledger") == books
    assert environment.run("ledger", "--check").returncode in (0, 3)
    again = environment.run_json("retention", "run")
    assert (again["dead_letters"], again["open_dead_letters"]) == (0, 0)


def test_a_hold_on_a_user_keeps_the_dead_letters_that_name_the_user(environment: Environment) -> None:
    """As an erasure, it finds the user in broken records too. A hold that has ended keeps nothing."""
    dsn = environment.dsn
    letters(dsn, 6, "40 days", text=f'{{"user_id": "{HELD}", broken', partition=1)
    letters(dsn, 5, "40 days", "discarded", text=f"{OTHER}", partition=2)
    letters(dsn, 3, "40 days", "replayed", text=HELD.hex.upper(), partition=3)
    hold(dsn, HELD)
    hold(dsn, OTHER, "now() - interval '1 second'")
    preview = environment.run_json("retention", "preview")["dead_letters"]
    assert (preview["expired"], preview["open"], preview["on_hold"]) == (5, 0, 9)
    assert environment.run_json("retention", "run")["dead_letters"] == 5
    assert {row["partition"] for row in rows(dsn, "SELECT DISTINCT partition FROM dead_letters")} == {1, 3}
    execute(dsn, "DELETE FROM legal_holds")
    done = environment.run_json("retention", "run")
    assert (done["dead_letters"], done["open_dead_letters"]) == (9, 6)


def test_a_hold_on_everything_keeps_everything(environment: Environment) -> None:
    """Until it ends."""
    letters(environment.dsn, 6, "40 days")
    hold(environment.dsn, None, "now() + interval '1 hour'")
    preview = environment.run_json("retention", "preview")["dead_letters"]
    assert (preview["expired"], preview["on_hold"]) == (0, 6)
    assert environment.run_json("retention", "run")["dead_letters"] == 0
    assert value(environment.dsn, COUNT) == 6


def test_the_output_for_people(environment: Environment) -> None:
    """It says how many records are given up for good."""
    letters(environment.dsn, 6, "40 days")
    for command in ("preview", "run"):
        shown = environment.run("retention", command)
        assert (shown.returncode, "open, given up for good" in shown.stdout) == (0, True)
