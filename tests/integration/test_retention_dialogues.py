"""Tests that retention removes old dialogues, with everything that belongs to them, and that their days stay."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid4

import psycopg
import pytest

from consumer.postgres.schema_lock import LOCK_KEY
from tests.support.expiry import (
    DAYS,
    HELD,
    KEEP,
    assert_nothing_belongs_to,
    dialogues,
    expired,
    fill,
    history,
    hold,
    midnight,
    roll_up_all,
)
from tests.support.ingestion import Outgoing, as_json, environment_on, ingest, send
from tests.support.notices import acquired, insert, retention_environment
from tests.support.partitions import one_dialogue
from tests.support.psql import execute, value
from tests.support.roles import login, name_of
from tests.support.service import Environment, ServiceProcess, eventually
from tests.support.stack import Servers, Topics

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

BOTH_FORMS = pytest.mark.parametrize("months", [False, True], ids=["one table", "months"])
SETTINGS = {"RAGLEDGER_RETENTION__DIALOGUES_DAYS": str(KEEP), "RAGLEDGER_RETENTION__BATCH_ROWS": "50"}


@pytest.fixture
def environment(stack: Servers, migrated_template: str) -> Iterator[Environment]:
    """Return a database and a topic for notices, with small batches, so that a run has several."""
    with retention_environment(stack, migrated_template) as made:
        made.variables |= SETTINGS
        yield made


@BOTH_FORMS
def test_old_dialogues_are_removed_with_their_other_rows_and_their_days_stay(
    environment: Environment, months: bool
) -> None:
    """The preview is exact. Days are computed first, if that is due, and equal what they were before."""
    dsn = environment.dsn
    fill(dsn, months=months)
    over, final = expired(months=months)
    gone, stays = dialogues(dsn, over), dialogues(dsn, f"NOT {over}")
    roll_up_all(environment)
    before = history(environment)
    execute(dsn, "DELETE FROM rag_metrics_history WHERE date_part('day', date)::int % 3 = 0")
    preview = environment.run_json("retention", "preview")["dialogues"]
    assert (preview["expired"], preview["on_hold"], len(preview["months"]) > 0) == (len(gone), 0, months)
    assert dialogues(dsn) == gone | stays, "a preview changes nothing"
    done = environment.run_json("retention", "run")
    assert (done["dialogues"], done["months"], done["problems"]) == (len(gone), preview["months"], [])
    assert dialogues(dsn) == stays
    assert_nothing_belongs_to(dsn, gone, stays)
    assert history(environment, final) == [row for row in before if row["date"] < str(final)]
    environment.run_json("rollup", "--since", str(final), "--until", str(midnight(0).date()))
    assert history(environment) == before
    again = environment.run_json("retention", "run")
    assert (again["dialogues"], again["months"]) == (0, [])


@BOTH_FORMS
def test_a_late_dialogue_of_a_final_day_changes_no_day_and_is_removed_by_the_next_run(
    environment: Environment, months: bool
) -> None:
    """It comes in any age, also into a month that was dropped, and the roll-up forgets its mark."""
    dsn = environment.dsn
    fill(dsn, months=months)
    roll_up_all(environment)
    environment.run_json("retention", "run")
    before, stays = history(environment), dialogues(dsn)
    _, final = expired(months=months)
    for moment in (f"timestamp '{final}' - interval '1 second'", "'2025-03-04 05:06'", "'1999-01-01'", "'-infinity'"):
        execute(dsn, one_dialogue(moment))
    execute(dsn, "INSERT INTO touched_days (day) SELECT DISTINCT created_at::date FROM ai_dialogue_log"
            f" WHERE created_at < '{final}' AND created_at > '-infinity'")  # fmt: skip
    refused = environment.run("rollup", "--day", str(final - timedelta(days=1)))
    assert (refused.returncode, "have expired" in refused.stderr) == (1, True)
    environment.run("partition", "ensure")
    preview = environment.run_json("retention", "preview")["dialogues"]
    assert preview["expired"] == 4
    done = environment.run_json("retention", "run")
    assert done["dialogues"] == 4
    assert (dialogues(dsn), history(environment)) == (stays, before)


def test_a_topic_that_is_read_again_changes_no_final_day(
    stack: Servers, migrated_template: str, bootstrap_servers: str, tmp_path: Path
) -> None:
    """The expired dialogue comes back, and the next run removes it again, together with its verdict."""
    with environment_on(stack, migrated_template, kinds=("dialogue", "feedback")) as environment:
        topics = Topics(bootstrap_servers)
        environment.variables |= SETTINGS | {"RAGLEDGER_TOPICS__EXPIRED": topics.create(1, prefix="expired")}
        moment, id_ = midnight(KEEP + 3).isoformat(), str(uuid4())
        said = {"id": id_, "user_id": str(uuid4()), "session_id": str(uuid4()), "query": "q", "response": "r"}
        event = as_json(said | {"model_used": "m", "created_at": moment})
        verdict = as_json({"dialogue_id": id_, "user_feedback": 1, "given_at": moment})
        outgoing = [Outgoing(environment.topics["dialogue"], event), Outgoing(environment.topics["feedback"], verdict)]
        send(bootstrap_servers, outgoing)
        try:
            for number in range(2):
                environment.variables["RAGLEDGER_KAFKA__GROUP_ID"] = f"{environment.group}-{number}"
                ingest(environment, 2 * (number + 1), tmp_path / "log")
                assert dialogues(environment.dsn) == {UUID(id_)}
                done = environment.run_json("retention", "run")
                assert done["dialogues"] == 1
                assert_nothing_belongs_to(environment.dsn, {UUID(id_)}, set())
                (day,) = history(environment)
                assert (day["total_dialogues"], day["feedback_positive"]) == (1, 1)
            with ServiceProcess(environment, tmp_path / "log") as service:
                service.wait_ready()
                eventually(
                    lambda: not value(environment.dsn, "SELECT count(*) FROM touched_days"), message="no day is marked"
                )
            assert history(environment) == [day]
        finally:
            topics.delete_all()


@BOTH_FORMS
def test_the_service_removes_them_on_its_timer_while_it_reads(
    stack: Servers, migrated_template: str, bootstrap_servers: str, tmp_path: Path, months: bool
) -> None:
    """Old and new dialogues arrive meanwhile. Metrics and log count what goes."""
    with environment_on(stack, migrated_template) as environment:
        topics = Topics(bootstrap_servers)
        environment.variables |= SETTINGS | {"RAGLEDGER_TOPICS__EXPIRED": topics.create(1, prefix="expired")}
        environment.variables["RAGLEDGER_RETENTION__INTERVAL_S"] = "0.3"
        fill(environment.dsn, months=months)
        over, _ = expired(months=months)
        try:
            with ServiceProcess(environment, tmp_path / "log") as service:
                for number in range(5):
                    said = {"user_id": str(uuid4()), "session_id": str(uuid4()), "query": "q", "response": "r"}
                    moments = (midnight(KEEP + 40 + number), midnight(number))
                    events = [as_json(said | {"model_used": "m", "created_at": at.isoformat()}) for at in moments]
                    send(bootstrap_servers, [Outgoing(environment.topics["dialogue"], event) for event in events])
                eventually(lambda: environment.accounted_for() == 10, message="all records are read")
                eventually(lambda: not dialogues(environment.dsn, over), message="the dialogues are removed")
                eventually(
                    lambda: service.metric("rag_retention_dialogues_total") > 100, message="the dialogues are counted"
                )
            assert value(environment.dsn, "SELECT count(*) FROM ai_dialogue_log WHERE query = 'q'") > 5
            assert environment.run("ledger", "--check").returncode == 0
        finally:
            topics.delete_all()


@BOTH_FORMS
def test_a_hold_keeps_the_dialogues_of_a_user_until_it_ends(environment: Environment, months: bool) -> None:
    """A month with one of them is not dropped; its other dialogues go in batches. After the hold everything goes."""
    dsn = environment.dsn
    fill(dsn, months=months)
    over, _ = expired(months=months)
    held, gone = dialogues(dsn, f"{over} AND user_id = '{HELD}'"), dialogues(dsn, f"{over} AND user_id <> '{HELD}'")
    stays = dialogues(dsn, f"NOT {over}")
    hold(dsn, HELD, "now() + interval '1 day'")
    hold(dsn, None, "now() - interval '1 second'")
    preview = environment.run_json("retention", "preview")["dialogues"]
    assert (preview["expired"], preview["on_hold"], preview["months"]) == (len(gone), len(held), [])
    later = environment.run_json("retention", "preview", "--as-of", str(midnight(-2)))["dialogues"]
    assert (later["expired"] >= len(gone | held), later["on_hold"]) == (True, 0)
    done = environment.run_json("retention", "run")
    assert (done["dialogues"], done["months"]) == (len(gone), [])
    assert dialogues(dsn) == held | stays
    assert_nothing_belongs_to(dsn, gone, held | stays)
    execute(dsn, "UPDATE legal_holds SET held_until = now()")
    assert environment.run_json("retention", "run")["dialogues"] == len(held)
    assert_nothing_belongs_to(dsn, held | gone, stays)


@BOTH_FORMS
def test_a_hold_on_everything_keeps_everything(environment: Environment, months: bool) -> None:
    """It needs no user and no end."""
    fill(environment.dsn, months=months)
    before = dialogues(environment.dsn)
    hold(environment.dsn)
    done = environment.run_json("retention", "run")
    assert (done["dialogues"], done["months"], dialogues(environment.dsn)) == (0, [], before)


@BOTH_FORMS
def test_a_hold_that_is_being_placed_is_respected(environment: Environment, months: bool) -> None:
    """The run waits until the transaction of the hold has ended."""
    dsn = environment.dsn
    fill(dsn, months=months)
    over, _ = expired(months=months)
    held = dialogues(dsn, f"{over} AND user_id = '{HELD}'")
    with psycopg.connect(dsn) as officer:
        officer.execute(f"INSERT INTO legal_holds (user_id, matter) VALUES ('{HELD}', 'm')".encode())
        run = subprocess.Popen(
            [sys.executable, "-m", "consumer", "retention", "run", "--json"],
            env=os.environ | environment.variables,
            stdout=subprocess.PIPE,
        )
        waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        eventually(lambda: value(dsn, waiting), message="the run waits for the lock")
        officer.commit()
    assert json.loads(run.communicate(timeout=90)[0])["problems"] == []
    assert dialogues(dsn, over) == held


@pytest.mark.parametrize("months", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["one table", "months"])
def test_while_a_conversion_or_an_archive_works_no_dialogue_is_removed(environment: Environment, months: bool) -> None:
    """The run says so and fails, but does the rest of its work."""
    dsn = environment.dsn
    fill(dsn, months=months)
    before = dialogues(dsn)
    insert(dsn, acquired(2))
    if months:
        with psycopg.connect(dsn) as archive:
            archive.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK_KEY,))
            done = environment.run("retention", "run", "--json")
        reason = "or another run of retention is running"
    else:
        execute(dsn, "CREATE TABLE ai_dialogue_log_new (LIKE ai_dialogue_log)")
        done = environment.run("retention", "run", "--json")
        reason = "finish it with `ragledger partition convert`"
    answer = json.loads(done.stdout)
    assert (done.returncode, answer["dialogues"], answer["archived"]) == (1, 0, 2)
    assert reason in done.stderr
    assert reason in answer["problems"][0]
    assert dialogues(dsn) == before


@BOTH_FORMS
def test_a_role_without_ownership_deletes_in_batches(environment: Environment, months: bool) -> None:
    """The login of the service has the rights that the manual names. Months stay until the owner drops them, empty."""
    dsn = environment.dsn
    fill(dsn, months=months)
    over, _ = expired(months=months)
    gone, stays = dialogues(dsn, over), dialogues(dsn, f"NOT {over}")
    page = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
    granted = page.split("its role also needs:")[1].split("```sql\n")[1].split("```")[0]
    with login(dsn, "ragledger_ingest") as service:
        statements = granted.replace("ledger_service", name_of(service)).split(";")
        execute(dsn, *(statement for statement in statements if statement.strip()))
        environment.variables["RAGLEDGER_POSTGRES__DSN"] = service
        done = environment.run_json("retention", "run")
        assert (done["dialogues"], done["months"], done["problems"]) == (len(gone), [], [])
        assert_nothing_belongs_to(dsn, gone, stays)
        environment.variables["RAGLEDGER_POSTGRES__DSN"] = dsn
        assert bool(environment.run_json("retention", "run")["months"]) == months


def test_another_time_zone_than_the_one_in_force_is_refused(environment: Environment) -> None:
    """Days would end elsewhere."""
    fill(environment.dsn)
    execute(environment.dsn, "INSERT INTO rollup_basis (time_zone, objectives, adopted_at) VALUES ('UTC', '[]', now())")
    environment.variables["RAGLEDGER_ROLLUP__TIMEZONE"] = "Asia/Tokyo"
    done = environment.run("retention", "run", "--json")
    assert (done.returncode, "RAGLEDGER_ROLLUP__TIMEZONE is Asia/Tokyo here" in done.stderr) == (1, True)
    assert json.loads(done.stdout)["dialogues"] == 0


def test_rows_that_a_trigger_keeps_are_reported(environment: Environment) -> None:
    """The trigger is of the owner's; the other rows go."""
    fill(environment.dsn)
    over, _ = expired(months=False)
    kept = dialogues(environment.dsn, f"{over} AND user_id = '{HELD}'")
    execute(
        environment.dsn,
        "CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
        "CREATE TRIGGER keep BEFORE DELETE ON ai_dialogue_log FOR EACH ROW"
        f" WHEN (OLD.user_id = '{HELD}') EXECUTE FUNCTION keep()",
    )
    done = environment.run("retention", "run", "--json")
    assert (done.returncode, "expired dialogues are still there" in done.stderr) == (1, True)
    assert dialogues(environment.dsn, over) == kept


def test_nothing_is_removed_without_the_setting(environment: Environment) -> None:
    """The output has no member about it."""
    del environment.variables["RAGLEDGER_RETENTION__DIALOGUES_DAYS"]
    fill(environment.dsn)
    before = dialogues(environment.dsn)
    assert set(environment.run_json("retention", "run")) == {"deleted", "archived", "notices", "published", "found"}
    assert "dialogues" not in environment.run_json("retention", "preview")
    assert len(before) == DAYS * 3 == len(dialogues(environment.dsn))


def test_the_output_for_people(environment: Environment) -> None:
    """Tables with the counts."""
    fill(environment.dsn, months=True)
    environment.variables["COLUMNS"] = "200"
    preview, run = environment.run("retention", "preview"), environment.run("retention", "run")
    assert (preview.returncode, run.returncode) == (0, 0)
    assert "months to drop" in preview.stdout
    assert "months dropped" in run.stdout


def test_late_rows_of_archived_months_are_removed_when_they_expire(environment: Environment, tmp_path: Path) -> None:
    """The files stay, and the preview names them. A restored month goes with the next run; its days stay."""
    dsn = environment.dsn
    fill(dsn, months=True)
    over, final = expired(months=True)
    gone, stays = dialogues(dsn, over), dialogues(dsn, f"NOT {over}")
    roll_up_all(environment)
    before = history(environment)
    done = environment.run_json("partition", "archive", "--before", f"{final:%Y-%m}", "--to", str(tmp_path))
    files = sorted(path.name for path in tmp_path.glob("*.csv.gz"))
    assert len(done) == len(files) > 0
    assert value(dsn, "SELECT count(*) FROM dialogue_traces") == len(gone | stays)
    preview = environment.run_json("retention", "preview")["dialogues"]
    assert (preview["expired"], preview["months"], preview["archives"]) == (0, [], files)
    hold(dsn, HELD)
    environment.run_json("retention", "run")
    assert value(dsn, "SELECT count(*) FROM dialogue_traces") == len(gone | stays), "a hold keeps them too"
    execute(dsn, "DELETE FROM legal_holds")
    environment.run_json("retention", "run")
    for table in ("dialogue_traces", "dialogue_costs", "kept_feedback"):
        assert value(dsn, f"SELECT count(*) FROM {table}") == len(stays)
    manifest = next(tmp_path.glob("*.manifest.json"))
    restored = environment.run("partition", "archive", "--restore", str(manifest))
    assert restored.returncode == 0, restored.stderr
    assert (
        environment.run_json("retention", "run")["dialogues"]
        == len(dialogues(dsn, over)) + json.loads(manifest.read_text())["rows"]
    )
    assert (dialogues(dsn), history(environment)) == (stays, before)


def test_a_month_that_an_interrupted_archive_has_left_is_reported(environment: Environment) -> None:
    """Its dialogues stay until the archive is finished; the others go."""
    dsn = environment.dsn
    fill(dsn, months=True)
    over, _ = expired(months=True)
    left = value(dsn, "SELECT min(partition::text) FROM dialogue_partitions('ai_dialogue_log') WHERE NOT is_default")
    execute(
        dsn,
        f"ALTER TABLE ai_dialogue_log DETACH PARTITION {left}",
        f"INSERT INTO partition_archives (month, partition, phase) SELECT to_date(right('{left}', 7), 'YYYY_MM'),"
        f" '{left}', 'detached'",
    )
    done = environment.run("retention", "run", "--json")
    assert (done.returncode, left in done.stderr) == (1, True)
    assert dialogues(dsn, over) == set()
    assert value(dsn, f"SELECT count(*) FROM {left}") > 0


def test_months_that_were_made_after_the_first_run_expire_too(environment: Environment) -> None:
    """The table is converted between two runs; the boundary stays, and no day changes."""
    dsn = environment.dsn
    fill(dsn)
    over, final = expired(months=False)
    stays = dialogues(dsn, f"NOT {over}")
    roll_up_all(environment)
    before = history(environment)
    environment.run_json("retention", "run")
    assert environment.run("partition", "convert").returncode == 0
    assert environment.run_json("retention", "run")["problems"] == []
    assert dialogues(dsn) == stays
    environment.variables["RAGLEDGER_RETENTION__DIALOGUES_DAYS"] = "1"
    assert environment.run_json("retention", "run")["problems"] == []
    environment.variables["RAGLEDGER_RETENTION__DIALOGUES_DAYS"] = "90"
    environment.run_json("retention", "run")
    assert str(value(dsn, "SELECT expired_before::date FROM dialogue_retention")) >= str(final)
    assert history(environment) == before


def test_a_business_day_that_a_month_divides_stays_whole_in_the_history(environment: Environment) -> None:
    """In Tokyo, the last business day of a month ends hours after the month in UTC. It is computed before the month
    goes, and final although a part of its dialogues stays.
    """
    dsn = environment.dsn
    environment.variables["RAGLEDGER_ROLLUP__TIMEZONE"] = "Asia/Tokyo"
    fill(dsn, months=True)
    roll_up_all(environment)
    before = history(environment)
    execute(dsn, "DELETE FROM rag_metrics_history WHERE date < now() - interval '20 days'")
    assert environment.run_json("retention", "run")["problems"] == []
    boundary = value(dsn, "SELECT expired_before FROM dialogue_retention")
    assert boundary == boundary.replace(day=1, hour=0, minute=0) > midnight(DAYS)
    divided = boundary.date()  # it begins nine hours before the month in UTC
    assert history(environment, divided + timedelta(days=1)) == [
        row for row in before if row["date"][:10] <= f"{divided}"
    ]
    execute(dsn, one_dialogue(f"'{boundary}'"), f"INSERT INTO touched_days (day) VALUES ('{divided}')")
    assert environment.run("rollup", "--day", str(divided)).returncode == 1
    after = str(divided + timedelta(days=1)), str(midnight(0).date())
    assert environment.run("rollup", "--since", after[0], "--until", after[1]).returncode == 0
    assert history(environment) == before
