"""Tests `ragledger retention`: expired rows are archived, held rows stay, and each owner gets one notice."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import jsonschema
import psycopg
import pytest

from consumer.postgres.queries import load
from tests.support.ingestion import Outgoing, as_json, environment_on, ids, ingest, log_lines, send
from tests.support.notices import ALICE, BOB, acquired, insert, published, retention_environment
from tests.support.psql import execute
from tests.support.service import Environment, ServiceProcess, eventually
from tests.support.stack import Servers, Topics

pytestmark = pytest.mark.timeout(120)

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "events" / "expired.schema.json").read_text())
INT_MAX = 2_147_483_647
NOTHING = {"deleted": 0, "archived": 0, "notices": 0, "published": 0, "found": 0}


@pytest.fixture
def environment(stack: Servers, migrated_template: str) -> Iterator[Environment]:
    """Return a database and a topic for notices, with small batches, so that a run has several."""
    with retention_environment(stack, migrated_template, RAGLEDGER_RETENTION__BATCH_ROWS="4") as made:
        yield made


def archived(environment: Environment) -> set[UUID]:
    """Return the ids in the archive."""
    return {row["id"] for row in environment.query("SELECT id FROM retention_archive")}


def kept(environment: Environment) -> set[UUID]:
    """Return the ids in the table."""
    return ids(environment, "provenance")


def ago(**span: float) -> str:
    """Return a time before now, in the form of the column."""
    return (datetime.now(UTC) - timedelta(**span)).replace(tzinfo=None).isoformat()


def test_expired_rows_are_archived_and_deleted_and_each_owner_gets_one_notice(environment: Environment) -> None:
    """There are several batches and owners, one of them unknown; other rows stay."""
    over = insert(environment.dsn, acquired(9, ALICE), acquired(3, BOB, license_type="unknown"), acquired(2))
    stays = insert(environment.dsn, acquired(2, ALICE, retention_years=None), acquired(2, ALICE, retention_years=5000))
    before = {row["id"]: row["row"] for row in environment.query("SELECT id, to_jsonb(p) AS row FROM provenance AS p")}
    done = environment.run_json("retention", "run")
    assert done == {"deleted": 14, "archived": 14, "notices": 3, "published": 3, "found": 0}
    assert (archived(environment), kept(environment)) == (over, stays)
    rows = environment.query("SELECT id, provenance FROM retention_archive")
    assert {row["id"]: row["provenance"] for row in rows} == {id_: before[id_] for id_ in over}
    notices = {notice.body["owner"]: notice for notice in published(environment)}
    assert {owner: notice.body["total"] for owner, notice in notices.items()} == {str(ALICE): 9, str(BOB): 3, None: 2}
    named = {content["id"] for notice in notices.values() for content in notice.body["contents"]}
    assert named == set(map(str, over))
    assert environment.run_json("retention", "run") == NOTHING
    assert len(published(environment)) == 3


def test_notices_do_not_count_as_waiting_records(environment: Environment) -> None:
    """The service does not read them, and doctor does not report that."""
    insert(environment.dsn, acquired())
    assert environment.run_json("retention", "run")["published"] == 1
    findings = environment.run_json("doctor")["findings"]
    assert [(one["severity"], one["found"]) for one in findings if one["check"] == "ledger"] == [
        ("ok", "nothing has been read yet")
    ]


def test_a_notice_matches_its_schema(environment: Environment) -> None:
    """It is a CloudEvent with the notice's id and the owner as key; it lists at most a hundred pieces."""
    insert(environment.dsn, acquired(101, ALICE), acquired(1))
    environment.variables["RAGLEDGER_RETENTION__BATCH_ROWS"] = "1000"
    environment.run_json("retention", "run")
    validator = jsonschema.Draft202012Validator(SCHEMA, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER)
    one, other = sorted(published(environment), key=lambda notice: notice.body["total"])
    for notice in (one, other):
        validator.validate(notice.body)
        assert notice.headers["ce_id"] == notice.body["notice_id"].encode()
        assert notice.headers["ce_type"] == b"rag.provenance.expired"
        assert notice.headers["ce_source"] == f"/ragledger/{environment.group}".encode()
    assert (one.key, other.key) == (None, str(ALICE).encode())
    assert (one.body["contents_are_complete"], other.body["contents_are_complete"]) == (True, False)
    assert (other.body["total"], len(other.body["contents"])) == (101, 100)
    content = one.body["contents"][0]
    assert (content["acquired_at"], content["retention_ended_at"]) == (
        "2019-02-03T04:05:06.000007Z",
        "2020-02-03T04:05:06.000007Z",
    )


@pytest.mark.parametrize(
    ("acquired_at", "years", "over"),
    [
        ("0001-01-01T00:00:00", 0, True),
        ("0001-01-01T00:00:00", INT_MAX, False),
        ("9999-12-31T23:59:59.999999", INT_MAX, False),
        ("9999-12-31T23:59:59.999999", 0, False),
        ("0001-01-01T00:00:00", 9998, False),
        ("0001-01-01T00:00:00", 1000, True),
        ("2024-02-29T12:00:00", 1, True),
        ("infinity", 1, False),
        ("-infinity", 1, True),
    ],
)
def test_extreme_times_and_years_are_handled(
    environment: Environment, acquired_at: str, years: int, over: bool
) -> None:
    """Every possible value is judged correctly and does not block the run."""
    row = insert(environment.dsn, acquired(1, acquired_at=acquired_at, retention_years=years))
    other = insert(environment.dsn, acquired(1))
    assert environment.run_json("retention", "preview")["expired"] == 1 + over
    assert environment.run_json("retention", "run")["archived"] == 1 + over
    assert archived(environment) == other | (row if over else set())


def test_a_year_ends_on_its_day(environment: Environment) -> None:
    """It ends exactly at acquired_at + retention_years, also on a leap day and for a row acquired now."""
    years = datetime.now(UTC).year - 2004
    over = insert(environment.dsn, acquired(1, acquired_at=ago(seconds=2), retention_years=0))
    sql = "SELECT (now() AT TIME ZONE 'UTC' - make_interval(years => %s) + make_interval(secs => %s))::text AS at"
    just = environment.value(sql, years, -2)
    later = environment.value(sql, years, 3600)
    over |= insert(environment.dsn, acquired(1, acquired_at=just, retention_years=years))
    stays = insert(environment.dsn, acquired(1, acquired_at=later, retention_years=years))
    environment.run_json("retention", "run")
    assert (archived(environment), kept(environment)) == (over, stays)


@pytest.mark.parametrize("hold", [True, {"matter": "2026-17"}, "yes", 1, []])
def test_a_legal_hold_is_respected(environment: Environment, hold: Any) -> None:
    """Every value except false and null is a hold; after its release the next run archives the row."""
    held = insert(environment.dsn, acquired(2, ALICE, access_policy={"legal_hold": hold}))
    free = insert(
        environment.dsn,
        acquired(1, ALICE, access_policy={"legal_hold": False}),
        acquired(1, ALICE, access_policy={"legal_hold": None, "groups": ["staff"]}),
    )
    preview = environment.run_json("retention", "preview")
    assert (preview["expired"], preview["on_hold"]) == (2, 2)
    assert environment.run_json("retention", "run")["archived"] == 2
    assert (archived(environment), kept(environment)) == (free, held)
    execute(environment.dsn, "UPDATE provenance SET access_policy = access_policy - 'legal_hold'")
    assert environment.run_json("retention", "run")["archived"] == 2
    assert kept(environment) == set()


def start(environment: Environment, *arguments: str) -> "subprocess.Popen[bytes]":
    """Start a command and do not wait for it."""
    command = [sys.executable, "-m", "consumer", *arguments]
    return subprocess.Popen(command, env=os.environ | environment.variables, stdout=subprocess.PIPE)


def waiting_for_locks(environment: Environment) -> int:
    """Return how many sessions of this database wait for a lock."""
    sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    return int(environment.value(sql))


def test_a_hold_that_is_set_while_the_run_waits_for_the_row_is_respected(environment: Environment) -> None:
    """The run has chosen the row and waits for its lock; then it checks the row again."""
    (held,) = insert(environment.dsn, acquired(1, ALICE))
    with psycopg.connect(environment.dsn) as officer:
        officer.execute("UPDATE provenance SET access_policy = '{\"legal_hold\": true}'")
        run = start(environment, "retention", "run", "--json")
        eventually(lambda: waiting_for_locks(environment) == 1, message="the run waits for the row")
        officer.commit()
    assert json.loads(run.communicate(timeout=60)[0])["deleted"] == 0
    assert kept(environment) == {held}


def test_preview_counts_by_licence_owner_and_month(environment: Environment) -> None:
    """It prints JSON or tables, also for a time in the future, and changes nothing."""
    insert(
        environment.dsn,
        acquired(3, ALICE),
        acquired(2, BOB, license_type="unknown", acquired_at="2020-05-05T00:00:00"),
        acquired(1, None, license_type="unknown", access_policy={"legal_hold": True}),
        acquired(4, ALICE, acquired_at=ago(days=300)),
    )
    found = environment.run_json("retention", "preview")
    assert (found["expired"], found["on_hold"], found["waiting_notices"], found["open_run"]) == (5, 1, 0, None)
    by_license = {group["license_type"]: (group["expired"], group["on_hold"]) for group in found["by_license"]}
    assert by_license == {"cc_by": (3, 0), "unknown": (2, 1)}
    by_owner = {group["acquired_by"]: (group["expired"], group["on_hold"]) for group in found["by_owner"]}
    assert by_owner == {str(ALICE): (3, 0), str(BOB): (2, 0), None: (0, 1)}
    assert [(group["month"], group["expired"]) for group in found["by_month"]] == [("2020-02-01", 3), ("2021-05-01", 2)]
    later = (datetime.now(UTC) + timedelta(days=100)).date().isoformat()
    assert environment.run_json("retention", "preview", "--as-of", later)["expired"] == 9
    environment.variables["COLUMNS"] = "200"
    shown = environment.run("retention", "preview")
    assert shown.returncode == 0
    assert "By licence" in shown.stdout
    assert str(ALICE) in shown.stdout
    assert len(kept(environment)) == 10


@pytest.mark.parametrize("arguments", [("preview", "--as-of", "2020-01-01"), ("preview", "--as-of", "soon"), ("runs",)])
def test_wrong_use_is_reported(environment: Environment, arguments: tuple[str, ...]) -> None:
    """A time in the past, an invalid time, an unknown command."""
    done = environment.run("retention", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr


def test_a_missing_topic_is_created(environment: Environment) -> None:
    """No preparation is needed, with or without notices."""
    topics = Topics(environment.variables["RAGLEDGER_KAFKA__BOOTSTRAP_SERVERS"])
    environment.variables["RAGLEDGER_TOPICS__EXPIRED"] = topics.later()
    try:
        assert environment.run_json("retention", "run") == NOTHING
        insert(environment.dsn, acquired(2, ALICE))
        assert environment.run_json("retention", "run")["published"] == 1
    finally:
        topics.delete_all()


def test_without_kafka_nothing_is_deleted(environment: Environment) -> None:
    """The row still exists."""
    rows = insert(environment.dsn, acquired(1))
    environment.variables["RAGLEDGER_KAFKA__BOOTSTRAP_SERVERS"] = "127.0.0.1:9"
    assert environment.run("retention", "run").returncode == 1
    assert (kept(environment), archived(environment)) == (rows, set())


def test_the_output_of_a_run_for_people(environment: Environment) -> None:
    """A table, and the place of the archived rows."""
    insert(environment.dsn, acquired(2, ALICE))
    done = environment.run("retention", "run")
    assert (done.returncode, done.stderr) == (0, "")
    assert "retention_archive" in done.stdout


def test_two_concurrent_runs_send_each_notice_once(environment: Environment) -> None:
    """Together they archive everything; Kafka lets only one of them publish at a time."""
    over = insert(environment.dsn, acquired(120, ALICE), acquired(40))
    both = [start(environment, "retention", "run", "--json") for _ in range(2)]
    for process in both:
        process.communicate(timeout=90)
    environment.run_json("retention", "run")
    assert archived(environment) == over
    totals: dict[str | None, int] = {}
    for notice in published(environment):
        totals[notice.body["owner"]] = totals.get(notice.body["owner"], 0) + notice.body["total"]
    assert totals == {str(ALICE): 120, None: 40}


def test_the_index_finds_expired_rows(environment: Environment) -> None:
    """idx_provenance_expiring is scanned once for each number of years; the table is not scanned as a whole."""
    sql = load("retention_archive")
    fill = """
        INSERT INTO provenance (id, content_id, content_type, source_uri, license_type, acquisition_method, acquired_at,
                                retention_years)
        SELECT gen_random_uuid(), gen_random_uuid(), 'material', 'https://x.example/' || n, 'mit', 'api_fetch',
               now() AT TIME ZONE 'UTC' - make_interval(days => n % 3600), (ARRAY[1, 3, 5, 10, NULL, 7])[1 + n % 6]
        FROM generate_series(1, 30000) AS n
    """
    execute(environment.dsn, fill, "ANALYZE provenance")
    with psycopg.connect(environment.dsn) as connection:
        statement = "EXPLAIN (ANALYZE, FORMAT JSON) " + sql.replace("$1", f"'{uuid4()}'").replace("$2", "100")
        (plan,) = connection.execute(statement.encode()).fetchone() or ()
        connection.rollback()
    nodes = list(plan_nodes(plan[0]["Plan"]))
    assert any(node.get("Index Name") == "idx_provenance_expiring" for node in nodes)
    assert [node for node in nodes if node["Node Type"] == "Seq Scan" and node["Relation Name"] == "provenance"] == []


def plan_nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Return every node of a plan."""
    yield node
    for part in node.get("Plans", []):
        yield from plan_nodes(part)


def test_a_row_that_is_read_again_is_archived_again_without_a_second_notice(
    stack: Servers, migrated_template: str, bootstrap_servers: str, tmp_path: Path
) -> None:
    """Another group reads the topic from its start: the row returns and is archived again, and its owner gets no
    new notice.
    """
    with environment_on(stack, migrated_template) as environment:
        expired = environment.topics["expired"] = environment.topics["dialogue"]
        environment.variables |= {"RAGLEDGER_TOPICS__EXPIRED": expired, "RAGLEDGER_TOPICS__DIALOGUE": "nothing"}
        (event,) = acquired(1, ALICE)
        members = {
            name: str(value) for name, value in event.items() if name not in ("access_policy", "retention_years")
        }
        value = as_json(members | {"content_type": "material", "acquisition_method": "api_fetch", "retention_years": 1})
        send(bootstrap_servers, [Outgoing(environment.topics["provenance"], value)])
        for number in range(2):
            environment.variables["RAGLEDGER_KAFKA__GROUP_ID"] = f"{environment.group}-{number}"
            ingest(environment, number + 1, tmp_path / "log")
            assert kept(environment) == {event["id"]}
            done = environment.run_json("retention", "run")
            assert (done["deleted"], done["archived"], done["notices"]) == (1, 1 - number, 1 - number)
        assert len(published(environment)) == 1


def test_the_service_runs_retention_on_a_timer(stack: Servers, migrated_template: str, tmp_path: Path) -> None:
    """It is off by default; with an interval, one of the replicas runs it; metrics and log report it."""
    topics = environment_on(stack, migrated_template), retention_environment(stack, migrated_template)
    with topics[0] as environment, topics[1] as other:
        environment.topics["expired"] = other.topics["expired"]
        environment.variables["RAGLEDGER_TOPICS__EXPIRED"] = other.topics["expired"]
        over = insert(environment.dsn, acquired(5, ALICE))
        with ServiceProcess(environment, tmp_path / "off") as service:
            service.wait_ready()
            eventually(lambda: log_lines(tmp_path / "off", "claimed"), message="the service reads")
            assert kept(environment) == over
        environment.variables["RAGLEDGER_RETENTION__INTERVAL_S"] = "0.2"
        with ServiceProcess(environment, tmp_path / "a") as a, ServiceProcess(environment, tmp_path / "b") as b:
            eventually(lambda: not kept(environment), message="the rows are archived")
            late = insert(environment.dsn, acquired(2, BOB))
            eventually(lambda: archived(environment) == over | late, message="a later run has archived the rows")
            both = (a, b)
            eventually(
                lambda: sum(s.metric("rag_retention_rows_total") for s in both) == 7, message="the rows are counted"
            )
            eventually(
                lambda: sum(s.metric("rag_retention_notices_total") for s in both) == 2,
                message="the notices are counted",
            )
        totals = {notice.body["owner"]: notice.body["total"] for notice in published(environment)}
        assert totals == {str(ALICE): 5, str(BOB): 2}
        logs = (tmp_path / "a", tmp_path / "b")
        eventually(lambda: any(log_lines(log, "retention_done") for log in logs), message="the run is logged")


def test_archived_provenance_can_be_put_back(environment: Environment) -> None:
    """The statement of the documentation inserts the same row with a hold, so that it stays."""
    insert(environment.dsn, acquired(1, ALICE, access_policy={"groups": ["staff"], "n": 1.10}))
    (before,) = environment.query("SELECT to_jsonb(p) AS row FROM provenance AS p")
    environment.run_json("retention", "run")
    page = (Path(__file__).parents[2] / "docs" / "compliance.md").read_text()
    statement = page.split("<!-- restore -->")[1].split("```sql\n")[1].split("```")[0]
    (run,) = environment.query("SELECT id::text AS id FROM retention_runs")
    execute(environment.dsn, statement.replace("0197c9a2-6f3e-7b1a-9c4d-5e6f70819203", run["id"]))
    (after,) = environment.query("SELECT to_jsonb(p) AS row FROM provenance AS p")
    policy = {**before["row"]["access_policy"], "legal_hold": True}
    assert after["row"] == {**before["row"], "access_policy": policy}
    assert archived(environment) == set()
    assert environment.run_json("retention", "run") == NOTHING


def test_a_waiting_notice_does_not_name_an_erased_user(environment: Environment, tmp_path: Path) -> None:
    """This holds even if the user is erased while the notice is written: the owner is checked last."""
    erased = environment.run("erase", "--user", str(ALICE), "--receipt", str(tmp_path))
    assert erased.returncode == 0, erased.stderr
    insert(environment.dsn, acquired(2, ALICE), acquired(1, BOB))
    assert environment.run_json("retention", "run")["published"] == 2
    assert {notice.body["owner"] for notice in published(environment)} == {None, str(BOB)}
    assert {notice.key for notice in published(environment)} == {None, str(BOB).encode()}
    assert environment.query("SELECT id FROM retention_notices WHERE owner = %s", ALICE) == []
