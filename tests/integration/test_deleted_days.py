"""Tests that deleting dialogues marks their days, which are then recomputed."""

from pathlib import Path
from uuid import UUID

import psycopg
import pytest

from tests.support.ingestion import dialogues, environment_on, send, wait_for_records
from tests.support.psql import APPLICATION_TABLES, FILES, PARTITIONED_TABLE, execute, one_file, rows, run_files, value
from tests.support.roles import login, name_of
from tests.support.service import ServiceProcess, eventually
from tests.support.stack import Servers

ANNA, BEN = UUID("5018c5a3-91f3-46af-94ff-2f9d15565fb4"), UUID("11111111-1111-4111-8111-111111111111")
MARKS = "SELECT DISTINCT day::text AS day FROM touched_days ORDER BY 1"


def dialogue(moment: str, user: UUID = ANNA) -> str:
    return (
        "INSERT INTO ai_dialogue_log (user_id, session_id, query, response, model_used, created_at)"
        f" VALUES ('{user}', gen_random_uuid(), 'q', 'r', 'm', '{moment}')"
    )


def computed(*days: str) -> list[str]:
    """Return the computed days that have no mark."""
    return [f"INSERT INTO rag_metrics_history (date) VALUES ('{day}')" for day in days] + ["DELETE FROM touched_days"]


def marked(dsn: str) -> list[str]:
    return [row["day"] for row in rows(dsn, MARKS)]


@pytest.mark.parametrize(
    ("history", "wanted"),
    [
        (["2026-01-31"], ["2026-01-31"]),
        (["2026-02-01"], ["2026-02-01"]),
        (["2026-01-30", "2026-01-31", "2026-02-01"], ["2026-01-30", "2026-01-31", "2026-02-01"]),
        (["2026-01-29", "2026-02-02"], []),
        ([], []),
    ],
)
def test_the_day_is_marked_and_no_new_day_appears(filled: str, history: list[str], wanted: list[str]) -> None:
    """The database does not know the business time zone, so the days around it are marked too if they exist."""
    execute(filled, dialogue("2026-01-31 20:00"), *computed(*history), "DELETE FROM ai_dialogue_log")
    assert marked(filled) == wanted


def test_a_day_that_is_marked_already_is_marked_again(filled: str) -> None:
    """Otherwise a roll-up that has read the first mark and not committed would miss the later deletion."""
    execute(filled, dialogue("2026-01-31"), "INSERT INTO touched_days (day) VALUES ('2026-01-31')")
    with psycopg.connect(filled) as rollup:
        rollup.execute("DELETE FROM touched_days")
        rollup.execute("INSERT INTO rag_metrics_history (date, total_dialogues) VALUES ('2026-01-31', 1)")
        execute(filled, "DELETE FROM ai_dialogue_log")
        rollup.commit()
    assert marked(filled) == ["2026-01-31"]


def test_a_rolled_back_delete_leaves_no_mark(filled: str) -> None:
    """Rows and marks are in one transaction; without a deleted row there is no mark."""
    execute(filled, dialogue("2026-01-31"), *computed("2026-01-31"))
    with psycopg.connect(filled) as connection:
        connection.execute("DELETE FROM ai_dialogue_log")
        connection.rollback()
    execute(filled, "DELETE FROM ai_dialogue_log WHERE false")
    assert marked(filled) == []


def test_deleting_a_user_needs_no_right_on_our_tables(filled: str) -> None:
    """The foreign key deletes the dialogues, and their days are marked, for many users and days at once."""
    execute(filled, *APPLICATION_TABLES, f"INSERT INTO users VALUES ('{ANNA}'), ('{BEN}')")
    run_files(filled, one_file("0004"))
    execute(filled, dialogue("2026-01-30", BEN), dialogue("2026-01-31"), dialogue("2026-02-01", BEN))
    execute(filled, *computed("2026-01-30", "2026-02-01"))
    with login(filled) as application:
        execute(filled, f"GRANT SELECT, DELETE ON users TO {name_of(application)}")
        execute(application, "SET search_path = ''; DELETE FROM public.users")
    assert value(filled, "SELECT count(*) FROM ai_dialogue_log") == 0
    assert marked(filled) == ["2026-01-30", "2026-02-01"]


def test_it_works_on_a_partitioned_table(blank: str) -> None:
    """The parent has one trigger for all partitions."""
    execute(
        blank,
        PARTITIONED_TABLE,
        "CREATE TABLE january PARTITION OF ai_dialogue_log FOR VALUES FROM ('2026-01-01') TO ('2026-02-01')",
        "CREATE TABLE rest PARTITION OF ai_dialogue_log DEFAULT",
    )
    run_files(blank, *(file for file in FILES if not file.name.startswith("0003")))
    execute(blank, dialogue("2026-01-10"), dialogue("2026-05-05"), *computed("2026-01-10", "2026-05-05"))
    execute(blank, "DELETE FROM ai_dialogue_log")
    assert marked(blank) == ["2026-01-10", "2026-05-05"]


def test_inserts_do_not_run_the_trigger(filled: str) -> None:
    """It runs for each DELETE statement only; COPY is as fast as before."""
    found = rows(filled, "SELECT tgtype FROM pg_trigger WHERE tgname = 'mark_days_of_deleted_dialogues'")
    for_each_statement, on_delete = 0, 8
    assert [row["tgtype"] for row in found] == [for_each_statement + on_delete]


def test_no_other_role_can_use_the_function_for_a_trigger(filled: str) -> None:
    """It runs with the owner's rights, so only the owner may attach it to a table."""
    with login(filled) as stranger:
        execute(filled, f"CREATE SCHEMA theirs AUTHORIZATION {name_of(stranger)}")
        execute(stranger, "CREATE TABLE theirs.bait (created_at TIMESTAMP)")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            execute(
                stranger,
                "CREATE TRIGGER t AFTER DELETE ON theirs.bait REFERENCING OLD TABLE AS deleted_dialogues"
                " FOR EACH STATEMENT EXECUTE FUNCTION public.mark_days_of_deleted_dialogues()",
            )


@pytest.mark.timeout(120)
def test_a_deleted_user_is_removed_from_the_days(stack: Servers, migrated_template: str, tmp_path: Path) -> None:
    """In a business time zone east of UTC, the running service recomputes the day from the remaining rows."""
    moment = "2026-01-30T20:00:00Z"  # in Tokyo it is the 31st
    with environment_on(stack, migrated_template, RAGLEDGER_ROLLUP__TIMEZONE="Asia/Tokyo") as environment:
        topic = environment.topics["dialogue"]
        of_anna = dialogues(topic, 5, seed=1, user_id=str(ANNA), created_at=moment)
        of_ben = dialogues(topic, 3, seed=2, user_id=str(BEN), created_at=moment)
        execute(environment.dsn, *APPLICATION_TABLES, f"INSERT INTO users VALUES ('{ANNA}'), ('{BEN}')")
        run_files(environment.dsn, one_file("0004"))
        send(stack.bootstrap_servers, [*of_anna.values(), *of_ben.values()])
        day = "SELECT (total_dialogues, unique_users)::text FROM rag_metrics_history WHERE DATE(date) = '2026-01-31'"
        with ServiceProcess(environment, tmp_path / "log") as service:
            wait_for_records(environment, 8)
            eventually(lambda: rows(environment.dsn, day) == [{"row": "(8,2)"}], message="the day is computed")
            execute(environment.dsn, f"DELETE FROM users WHERE id = '{ANNA}'")
            eventually(lambda: rows(environment.dsn, day) == [{"row": "(3,1)"}], message="the day is recomputed")
            assert service.stop() == 0
        assert value(environment.dsn, "SELECT count(*) FROM rag_metrics_history") == 1
