"""Days whose dialogues are deleted: marked by whoever deletes, and computed anew."""

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
    """Days that have been computed and are marked no more."""
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
def test_the_day_is_marked_and_no_day_is_made_up(filled: str, history: list[str], wanted: list[str]) -> None:
    """The database does not know the business time zone: the days around count too, but only where they exist."""
    execute(filled, dialogue("2026-01-31 20:00"), *computed(*history), "DELETE FROM ai_dialogue_log")
    assert marked(filled) == wanted


def test_a_day_that_is_marked_but_not_computed_yet_is_marked_again(filled: str) -> None:
    """A roll-up that has taken the first mark and not committed would miss what is deleted meanwhile."""
    execute(filled, dialogue("2026-01-31"), "INSERT INTO touched_days (day) VALUES ('2026-01-31')")
    with psycopg.connect(filled) as rollup:
        rollup.execute("DELETE FROM touched_days")
        rollup.execute("INSERT INTO rag_metrics_history (date, total_dialogues) VALUES ('2026-01-31', 1)")
        execute(filled, "DELETE FROM ai_dialogue_log")
        rollup.commit()
    assert marked(filled) == ["2026-01-31"]


def test_a_delete_that_is_taken_back_leaves_no_mark(filled: str) -> None:
    """Rows and marks are one transaction; nothing deleted is nothing marked."""
    execute(filled, dialogue("2026-01-31"), *computed("2026-01-31"))
    with psycopg.connect(filled) as connection:
        connection.execute("DELETE FROM ai_dialogue_log")
        connection.rollback()
    execute(filled, "DELETE FROM ai_dialogue_log WHERE false")
    assert marked(filled) == []


def test_who_deletes_a_user_needs_no_right_on_our_tables(filled: str) -> None:
    """The foreign key deletes the dialogues, and their days are marked, many users and days at once."""
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
    """One trigger on the parent, whatever partition the rows are in."""
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


def test_inserts_never_meet_it(filled: str) -> None:
    """For each statement, for deletes alone: COPY stays as fast as it was."""
    found = rows(filled, "SELECT tgtype FROM pg_trigger WHERE tgname = 'mark_days_of_deleted_dialogues'")
    for_each_statement, on_delete = 0, 8
    assert [row["tgtype"] for row in found] == [for_each_statement + on_delete]


def test_nobody_can_use_the_function_for_a_trigger_of_their_own(filled: str) -> None:
    """It runs with the owner's rights, so only the owner may put it on a table."""
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
def test_a_deleted_user_is_gone_from_the_days(stack: Servers, migrated_template: str, tmp_path: Path) -> None:
    """In a business time zone east of UTC: the running service computes the day anew from the rows that are left."""
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
            eventually(lambda: rows(environment.dsn, day) == [{"row": "(3,1)"}], message="the day is computed anew")
            assert service.stop() == 0
        assert value(environment.dsn, "SELECT count(*) FROM rag_metrics_history") == 1
