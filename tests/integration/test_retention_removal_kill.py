"""Tests `ragledger retention run` with a kill at every step, and two runs at once: old dialogues and dead letters go,
their days stay.
"""

import os
import subprocess
import sys
from collections.abc import Iterator

import psycopg
import pytest

from tests.support.expiry import (
    HELD,
    KEEP,
    assert_nothing_belongs_to,
    dialogues,
    expired,
    fill,
    history,
    hold,
    letters,
    roll_up_all,
)
from tests.support.notices import retention_environment, run_killed
from tests.support.partitions import assert_sound
from tests.support.psql import execute, rows, value
from tests.support.service import Environment, eventually
from tests.support.stack import Servers

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

MOST_STEPS = 250
UNMARKED = "DELETE FROM touched_days"


@pytest.fixture
def environment(stack: Servers, migrated_template: str) -> Iterator[Environment]:
    """Return a database and a topic for notices, with batches that are large enough for few steps."""
    with retention_environment(stack, migrated_template, RAGLEDGER_RETENTION__BATCH_ROWS="100") as made:
        made.variables["RAGLEDGER_RETENTION__DIALOGUES_DAYS"] = str(KEEP)
        made.variables["RAGLEDGER_RETENTION__DEAD_LETTERS_DAYS"] = str(KEEP)
        yield made


@pytest.mark.parametrize("months", [False, True], ids=["one table", "months"])
def test_killed_at_every_step_the_next_run_continues(environment: Environment, months: bool) -> None:
    """Each time, the days stay, nothing that stays is lost, and the last run leaves nothing behind."""
    dsn = environment.dsn
    fill(dsn, months=months)
    letters(dsn, 150, "40 days")
    over, _ = expired(months=months)
    gone, stays = dialogues(dsn, over), dialogues(dsn, f"NOT {over}")
    roll_up_all(environment)
    before = history(environment)
    for step in range(1, MOST_STEPS):
        code = run_killed(environment, step, "retention", "run")
        assert dialogues(dsn) >= stays
        assert history(environment) == before
        if code == 0:
            break
        gone_in_day = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name ~ '^ragledger'"
        eventually(lambda: not rows(dsn, gone_in_day), message="the server has noticed the kill")  # noqa: B023
        if step % 10 == 0:  # a run starts over
            back = "INSERT INTO ai_dialogue_log (user_id, session_id, query, response, model_used, created_at) SELECT"
            execute(dsn, f"{back} gen_random_uuid(), gen_random_uuid(), 'q', 'r', 'm', now() - interval '77 days'")
    else:
        pytest.fail(f"a run has more than {MOST_STEPS} steps")
    assert step > 10
    assert dialogues(dsn) == stays
    assert_nothing_belongs_to(dsn, gone, stays)
    assert value(dsn, "SELECT count(*) FROM dead_letters") == 0
    if months:
        assert_sound(dsn)
        assert rows(dsn, "SELECT FROM partition_archives WHERE phase <> 'expired' OR dropped_at IS NULL") == []


@pytest.mark.parametrize("months", [False, True], ids=["one table", "months"])
def test_two_runs_at_once_remove_everything_once(environment: Environment, months: bool) -> None:
    """Their counts add up."""
    dsn = environment.dsn
    fill(dsn, months=months)
    letters(dsn, 500, "40 days")
    over, _ = expired(months=months)
    gone, stays = dialogues(dsn, over), dialogues(dsn, f"NOT {over}")
    command = [sys.executable, "-m", "consumer", "retention", "run", "--json"]
    both = [
        subprocess.Popen(command, env=os.environ | environment.variables, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    import json

    answers = [json.loads(process.communicate(timeout=120)[0]) for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sum(answer["dialogues"] for answer in answers) == len(gone)
    assert sum(answer["dead_letters"] for answer in answers) == 500
    assert dialogues(dsn) == stays
    assert_nothing_belongs_to(dsn, gone, stays)


def test_a_hold_puts_dialogues_of_a_half_removed_month_back(environment: Environment) -> None:
    """The run was killed after it took the month out of the table, and the hold comes before the next run."""
    dsn = environment.dsn
    fill(dsn, months=True)
    over, _ = expired(months=True)
    held = dialogues(dsn, f"{over} AND user_id = '{HELD}'")
    stays = dialogues(dsn, f"NOT {over}")
    half_removed = "SELECT partition FROM partition_archives WHERE phase = 'expired' AND dropped_at IS NULL"
    with psycopg.connect(dsn) as barrier:
        barrier.execute("LOCK TABLE kept_feedback IN SHARE MODE")
        command = [sys.executable, "-m", "consumer", "retention", "run"]
        process = subprocess.Popen(command, env=os.environ | environment.variables)
        eventually(lambda: rows(dsn, half_removed), message="the month has left the table")
        process.kill()
        process.wait(30)
    (finding,) = [one for one in environment.run_json("doctor")["findings"] if one["check"] == "copies"]
    assert (finding["severity"], "a run of retention was interrupted" in finding["found"]) == ("warning", True)
    refused = environment.run("partition", "archive", "--before", "2020-01")
    assert refused.returncode == 0, "an archive does not continue it"
    hold(dsn, HELD)
    done = environment.run_json("retention", "run")
    assert done["problems"] == []
    assert dialogues(dsn, over) == held
    assert dialogues(dsn) == held | stays
    assert_sound(dsn)
    assert {row["id"] for row in rows(dsn, "SELECT dialogue_id AS id FROM dialogue_costs")} == held | stays
