"""Tests the service and its days: restarts with other settings, killed replicas, an interrupted back-fill."""

import os
import pty
import random
import signal
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from tests.support.days import assert_day_equals_queries, at_the_edges, insert_dialogues
from tests.support.ingestion import Outgoing, as_json, environment_on, log_lines, send, small_dialogue, wait_for_records
from tests.support.service import Environment, ServiceProcess, eventually
from tests.support.stack import Servers

pytestmark = pytest.mark.timeout(180)

DAY = date(2026, 1, 10)
TOKYO = {"RAGLEDGER_ROLLUP__TIMEZONE": "Asia/Tokyo"}
SLO = "objectives:\n- {name: cheap, figure: total_cost, operator: '<=', target: 0.01}\n"


def publish(environment: Environment, moments: list[datetime], seed: int) -> None:
    """Publish a dialogue for each time."""
    chance = random.Random(seed)
    events = [small_dialogue(chance, created_at=f"{moment.isoformat()}Z") for moment in moments]
    bootstrap = environment.variables["RAGLEDGER_KAFKA__BOOTSTRAP_SERVERS"]
    send(bootstrap, [Outgoing(environment.topics["dialogue"], as_json(event)) for event in events])


def test_a_restart_with_other_settings_recomputes_every_day(
    stack: Servers, migrated_template: str, tmp_path: Path
) -> None:
    """Time zone and objectives change at once, without a command, and late events still correct their day."""
    slo = tmp_path / "slo.yml"
    slo.write_text(SLO)
    with environment_on(stack, migrated_template) as environment:
        publish(environment, at_the_edges(DAY, "UTC") * 5, seed=1)
        with ServiceProcess(environment, tmp_path / "before") as service:
            wait_for_records(environment, 25)
            eventually(lambda: environment.value("SELECT count(*) FROM touched_days") == 0)
            assert service.stop() == 0
        assert_day_equals_queries(environment, DAY, "UTC")
        with ServiceProcess(environment, tmp_path / "after", **TOKYO, RAGLEDGER_SLO__FILE=str(slo)) as service:
            eventually(
                lambda: environment.value("SELECT count(*) FROM rollup_basis") == 2,
                message="the other settings are stored",
            )
            settled = "SELECT count(*) = 0 AND NOT EXISTS (SELECT FROM touched_days) FROM computed_days"
            settled += " WHERE basis_id <> (SELECT max(id) FROM rollup_basis)"
            eventually(lambda: environment.value(settled), message="every day is computed")
            for day in (DAY, DAY + timedelta(days=1)):
                row = assert_day_equals_queries(environment, day, "Asia/Tokyo")
                assert row["slo_compliance"].keys() == {"cheap"}
            eventually(lambda: 'rag_slo_met{slo="cheap"}' in service.get("/metrics")[1])
            eventually(lambda: 'slo="latency_p95"' not in service.get("/metrics")[1], message="the old basis is gone")
            publish(environment, at_the_edges(DAY, "Asia/Tokyo"), seed=2)
            wait_for_records(environment, 30)
            eventually(lambda: environment.value("SELECT count(*) FROM touched_days") == 0)
            assert_day_equals_queries(environment, DAY, "Asia/Tokyo")
        assert log_lines(tmp_path / "after", "rollup_settings_differ") == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_today_is_computed_when_a_replica_has_died(
    stack: Servers, migrated_template: str, tmp_path: Path, number: signal.Signals
) -> None:
    """It is killed or frozen: the other replica computes today, and there is still one row."""
    with environment_on(stack, migrated_template) as environment:
        now = datetime.now(UTC).replace(tzinfo=None)
        publish(environment, [now] * 20, seed=3)
        newest = "SELECT max(computed_at) FROM rag_metrics_history"
        with (
            ServiceProcess(environment, tmp_path / "one") as one,
            ServiceProcess(environment, tmp_path / "two") as two,
        ):
            wait_for_records(environment, 20)
            two.wait_ready()
            eventually(lambda: environment.value(newest))
            one.send(number)
            gone = environment.value("SELECT now() AT TIME ZONE 'UTC'")
            eventually(lambda: environment.value(newest) > gone, message="the day is computed again")
            two.wait_page("/healthz", 200)
            assert environment.value("SELECT count(*) = count(DISTINCT date(date)) FROM rag_metrics_history")
            assert_day_equals_queries(environment, now.date())


def test_a_back_fill_can_be_interrupted_and_continued(database: str, tmp_path: Path) -> None:
    """Ctrl-C comes in the middle of ten years: computed days stay, the command for the others is printed, and a
    terminal shows progress.
    """
    environment = Environment(database, "127.0.0.1:9", {})
    insert_dialogues(environment, [datetime(2020, 1, 1, 12)], seed=4)
    command = [sys.executable, "-m", "consumer", "rollup", "--since", "2020-01-01", "--until", "2029-12-31", "--json"]
    ours, theirs = pty.openpty()
    with (tmp_path / "out").open("wb") as out:
        running = subprocess.Popen(command, env=os.environ | environment.variables, stdout=out, stderr=theirs)
        os.close(theirs)
        eventually(lambda: environment.value("SELECT count(*) FROM rag_metrics_history") >= 20)
        running.send_signal(signal.SIGINT)
        shown = b""
        while True:  # until the other end is closed
            try:
                shown += os.read(ours, 65536)
            except OSError:
                break
        assert running.wait(60) == 1
    os.close(ours)
    computed = environment.value("SELECT count(*) FROM rag_metrics_history")
    assert 20 <= computed < 3653
    said = " ".join(shown.decode().split())
    assert "/3653" in said
    follows = date(2020, 1, 1) + timedelta(days=computed)
    assert f"{computed} of 3653 days are computed" in said
    assert f"--since {follows} --until 2029-12-31" in said
    assert_day_equals_queries(environment, date(2020, 1, 1))
    rest = environment.run_json("rollup", "--since", str(follows), "--until", str(follows + timedelta(days=3)))
    assert len(rest) == 4
    assert environment.value("SELECT count(*) FROM rag_metrics_history") == computed + 4


def test_a_back_fill_and_the_service_can_run_together(stack: Servers, migrated_template: str, tmp_path: Path) -> None:
    """Both compute one after the other; nothing fails, and every day is correct at the end."""
    with environment_on(stack, migrated_template, RAGLEDGER_ROLLUP__INTERVAL_S="0.1") as environment:
        days = [DAY + timedelta(days=number) for number in range(30)]
        with ServiceProcess(environment, tmp_path / "log"):
            publish(environment, [moment for day in days for moment in at_the_edges(day, "UTC")[1:4]], seed=5)
            printed = environment.run_json("rollup", "--since", str(days[0]), "--until", str(days[-1]))
            assert len(printed) == 30
            wait_for_records(environment, 90)
            eventually(lambda: environment.value("SELECT count(*) FROM touched_days") == 0)
            for day in days:
                assert_day_equals_queries(environment, day)
        assert log_lines(tmp_path / "log", "rollup_failed") == []
