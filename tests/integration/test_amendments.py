"""Tests feedback, verifications and reports of plugins through the service, in any order, with a replica killed."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.ingestion import Outgoing, as_json, send, small_dialogue
from tests.support.producers import provenance, random_uuid
from tests.support.service import Environment, ServiceProcess, eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

DIALOGUES, PIECES, NEVER = 600, 200, 20
START = datetime(2026, 3, 4)
SMALL_BATCHES = {"RAGLEDGER_BATCH__MAX_ROWS": "60", "RAGLEDGER_BATCH__MAX_DELAY_MS": "30"}


@pytest.fixture
def environment(database: str, bootstrap_servers: str, topic_factory: Callable[..., str]) -> Environment:
    """Return an environment with a topic of every kind, each with three partitions."""
    kinds = ("dialogue", "provenance", "feedback", "verification", "plugin")
    return Environment(database, bootstrap_servers, {kind: topic_factory(partitions=3, prefix=kind) for kind in kinds})


@dataclass
class Expected:
    """The published events, and the expected content of the tables."""

    topics: dict[str, str]
    chance: random.Random
    records: list[Outgoing] = field(default_factory=list)
    feedback: dict[str, int | None] = field(default_factory=dict)
    checks: dict[str, dict[str, Any]] = field(default_factory=dict)
    amendments: int = 0

    def add(self, kind: str, members: dict[str, Any]) -> None:
        self.records.append(Outgoing(self.topics[kind], as_json(members), partition=self.chance.randrange(3)))
        self.amendments += kind not in ("dialogue", "provenance")

    def dialogue(self) -> None:
        """Return a dialogue with up to three feedback events; the newest one counts, otherwise its own value."""
        event = small_dialogue(self.chance, created_at=self.moment())
        self.add("dialogue", event)
        verdicts = {self.moment(): self.chance.choice((-1, 0, 1)) for _ in range(self.chance.randrange(4))}
        for given_at, value in verdicts.items():
            self.add("feedback", {"dialogue_id": event["id"], "user_feedback": value, "given_at": given_at})
        self.feedback[event["id"]] = verdicts[max(verdicts)] if verdicts else event["user_feedback"]

    def piece(self) -> None:
        """Return provenance with up to three checks; for each field the newest check that states it counts."""
        event = provenance(self.chance, license_type="unknown", permission_flag=None)
        self.add("provenance", event)
        checks = {self.moment(): self.check() for _ in range(self.chance.randrange(4))}
        for verified_at, stated in checks.items():
            self.add("verification", {"provenance_id": event["id"], "verified_at": verified_at, **stated})
        final: dict[str, Any] = {"license_type": "unknown", "permission_flag": None}
        for verified_at in sorted(checks):
            final |= checks[verified_at] | {"last_verified_at": datetime.fromisoformat(verified_at)}
        self.checks[event["id"]] = final

    def check(self) -> dict[str, Any]:
        return {
            name: self.chance.choice(values)
            for name, values in {"license_type": ("mit", "cc0"), "permission_flag": (True, False)}.items()
            if self.chance.random() < 0.6
        }

    def moment(self) -> str:
        return (START + timedelta(seconds=self.chance.randrange(10**6))).isoformat()


def everything(environment: Environment, seed: int) -> Expected:
    """Return rows and amendments in random order, some amendments without a row, and some reports of plugins."""
    expected = Expected(environment.topics, random.Random(seed))
    for _ in range(DIALOGUES):
        expected.dialogue()
    for _ in range(PIECES):
        expected.piece()
    for number in range(NEVER):
        nobody = str(random_uuid(expected.chance))
        expected.add("feedback", {"dialogue_id": nobody, "user_feedback": 1, "given_at": expected.moment()})
        report = {"name": "wiki", "source": "s", "capabilities": [], "version": str(number)}
        expected.add("plugin", report | {"reported_at": (START + timedelta(hours=number)).isoformat()})
    expected.chance.shuffle(expected.records)
    return expected


def assert_as_expected(environment: Environment, expected: Expected) -> None:
    """Compare every row with the expected one, and the amendments with the ledger."""
    verdicts = environment.query("SELECT id::text, user_feedback FROM ai_dialogue_log")
    assert {row["id"]: row["user_feedback"] for row in verdicts} == expected.feedback
    for row in environment.query("SELECT * FROM provenance"):
        wanted = expected.checks[str(row["id"])]
        assert {name: row[name] for name in wanted} == wanted
    assert environment.value("SELECT version FROM plugin_registry WHERE name = 'wiki'") == str(NEVER - 1)
    assert environment.value("SELECT sum(amended) FROM ingest_ledger") == expected.amendments
    assert environment.value("SELECT count(*) FROM dead_letters") == 0
    assert environment.value("SELECT count(*) FROM kept_feedback WHERE applied_at IS NULL") == NEVER


def settled(environment: Environment) -> bool:
    """Return whether every amendment whose row exists is applied, and every day is computed."""
    waiting = "SELECT count(*) FROM kept_feedback f JOIN ai_dialogue_log d ON d.id = f.dialogue_id"
    checks = "SELECT count(*) FROM kept_verifications v JOIN provenance p ON p.id = v.provenance_id"
    return not any(
        environment.value(question)
        for question in (
            f"{waiting} WHERE f.applied_at IS NULL",
            f"{checks} WHERE v.applied_at IS NULL",
            "SELECT count(*) FROM touched_days",
        )
    )


def test_amendments_in_any_order_have_the_same_result(environment: Environment, tmp_path: Path) -> None:
    """Two replicas run and one is killed: rows, ledger, days and metrics are as expected."""
    expected = everything(environment, seed=1)
    send(environment.variables["RAGLEDGER_KAFKA__BOOTSTRAP_SERVERS"], expected.records)
    with (
        ServiceProcess(environment, tmp_path / "one", **SMALL_BATCHES) as first,
        ServiceProcess(environment, tmp_path / "two", **SMALL_BATCHES) as second,
    ):
        eventually(lambda: environment.accounted_for() > len(expected.records) // 3)
        first.kill()
        environment.assert_caught_up()
        eventually(lambda: settled(environment), message="amendments are settled and days are computed")
        assert_as_expected(environment, expected)
        days = environment.query(
            "SELECT sum(feedback_positive) AS yes, sum(feedback_negative) AS no FROM rag_metrics_history"
        )
        rows = environment.query(
            "SELECT count(*) FILTER (WHERE user_feedback = 1) AS yes, count(*) FILTER (WHERE user_feedback = -1) AS no"
            " FROM ai_dialogue_log"
        )
        assert days == rows
        second.wait_metric_above("rag_records_total", 0, outcome="amended")


def test_a_dead_amendment_can_be_replayed(environment: Environment, tmp_path: Path) -> None:
    """It is a report of an unknown plugin; the replay works after the plugin has announced itself."""
    servers = environment.variables["RAGLEDGER_KAFKA__BOOTSTRAP_SERVERS"]
    topic = environment.topics["plugin"]
    health = {"name": "wiki", "health_status": "degraded", "reported_at": "2026-03-04T12:00:00Z"}
    announcement = {
        "name": "wiki",
        "source": "s",
        "capabilities": {},
        "version": "1",
        "reported_at": "2026-03-04T11:00:00Z",
    }
    with ServiceProcess(environment, tmp_path / "log"):
        send(servers, [Outgoing(topic, as_json(health))])
        eventually(lambda: environment.value("SELECT count(*) FROM dead_letters") == 1)
        send(servers, [Outgoing(topic, as_json(announcement))])
        eventually(lambda: environment.accounted_for() == 2)
    replayed = environment.run_json("dead-letters", "replay")
    assert {name: count for name, count in replayed.items() if count} == {"amended": 1}
    assert environment.value("SELECT health_status FROM plugin_registry") == "degraded"
