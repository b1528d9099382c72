"""Tests the whole service as a process with a real Kafka and a real PostgreSQL."""

import json
import random
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.producers import CODECS, Published, bad_value, dialogue, produce, produce_transactions, provenance
from tests.support.service import Environment, ServiceProcess, eventually

pytestmark = pytest.mark.timeout(300)

PLAIN_PER_CODEC = 2000
TRANSACTIONS = 40


@pytest.fixture
def environment(database: str, bootstrap_servers: str, topic_factory: Callable[..., str]) -> Environment:
    """Return an environment with three partitions in both topics."""
    topics = {kind: topic_factory(partitions=3, prefix=kind) for kind in ("dialogue", "provenance")}
    return Environment(database, bootstrap_servers, topics)


def publish_everything(bootstrap_servers: str, environment: Environment, seed: int) -> Published:
    """Publish both kinds in every codec, plain and in transactions of which some abort, with duplicates and bad
    records.
    """
    chance, published = random.Random(seed), Published()
    for codec in CODECS:
        records = list(mixed(environment, chance, published, PLAIN_PER_CODEC))
        produce(bootstrap_servers, records, {"compression.type": codec})
    produce_transactions(bootstrap_servers, f"tx-{environment.group}", transactions(environment, chance, published))
    return published


def mixed(
    environment: Environment, chance: random.Random, published: Published, count: int
) -> Iterator[tuple[str, bytes | None]]:
    """Publish records of both kinds, and note them as committed."""
    makers = {"dialogue": dialogue, "provenance": provenance}
    previous: tuple[str, bytes | None] | None = None
    for _ in range(count):
        dice = chance.random()
        if dice < 0.02:
            published.bad += 1
            yield environment.topics["dialogue"], bad_value(chance)
        elif dice < 0.05 and previous:
            published.duplicates += 1
            yield previous
        else:
            kind = chance.choice(["dialogue", "dialogue", "provenance"])
            event = makers[kind](chance)
            published.rows[event["id"]] = kind
            previous = environment.topics[kind], json.dumps(event).encode()
            yield previous


def transactions(
    environment: Environment, chance: random.Random, published: Published
) -> Iterator[tuple[bool, list[tuple[str, bytes | None]]]]:
    """Publish batches of which a third is aborted, also the last one, so that a topic ends with markers."""
    for number in range(TRANSACTIONS):
        commit = number % 3 != 0 and number != TRANSACTIONS - 1
        yield commit, list(mixed(environment, chance, published if commit else Published(), 50))


def assert_exact(environment: Environment, published: Published) -> None:
    """Assert that every committed record is one row, one duplicate or one dead letter."""
    wanted = {"dialogue": set[str](), "provenance": set[str]()}
    for event_id, kind in published.rows.items():
        wanted[kind].add(str(event_id))
    for kind, table in (("dialogue", "ai_dialogue_log"), ("provenance", "provenance")):
        found = {str(row["id"]) for row in environment.query(f"SELECT id FROM {table}")}
        assert found == wanted[kind]
    assert environment.value("SELECT count(*) FROM dead_letters") == published.bad
    totals = environment.query(
        "SELECT sum(inserted) AS inserted, sum(duplicates) AS duplicates, sum(dead_lettered) AS dead, bool_and("
        " next_offset - start_offset = inserted + duplicates + amended + dead_lettered + ignored + gaps) AS holds"
        " FROM ingest_ledger"
    )[0]
    assert totals == {
        "inserted": len(published.rows),
        "duplicates": published.duplicates,
        "dead": published.bad,
        "holds": True,
    }


def test_every_committed_record_is_one_row_one_duplicate_or_one_dead_letter(
    environment: Environment, bootstrap_servers: str, tmp_path: Path
) -> None:
    """With all codecs, aborted transactions, duplicates and malformed records, the counts are exact."""
    published = publish_everything(bootstrap_servers, environment, seed=1)
    with ServiceProcess(environment, tmp_path / "log") as service:
        wait_for_records(environment, published.records)
        environment.assert_caught_up()
        assert_exact(environment, published)
        assert_metrics_agree(service, published)
        assert service.stop() == 0


def wait_for_records(environment: Environment, count: int) -> None:
    """Wait until the ledger covers so many records."""
    eventually(lambda: environment.accounted_for() >= count, message=f"{count} processed")


def assert_metrics_agree(service: ServiceProcess, published: Published) -> None:
    """Assert that the counters equal the tables."""
    service.wait_metric("rag_records_total", len(published.rows), outcome="inserted")
    service.wait_metric("rag_records_total", published.duplicates, outcome="duplicate")
    service.wait_metric("rag_records_total", published.bad, outcome="dead_lettered")
    service.wait_metric("rag_dead_letters_total", published.bad)
    dialogues = sum(kind == "dialogue" for kind in published.rows.values())
    service.wait_metric("rag_dialogues_total", dialogues)
    service.wait_metric("rag_dialogue_latency_seconds_count", dialogues)
    service.wait_metric("rag_provenance_total", len(published.rows) - dialogues)


@pytest.mark.slow
def test_a_kill_in_the_middle_changes_nothing(environment: Environment, bootstrap_servers: str, tmp_path: Path) -> None:
    """After several SIGKILLs at random times, the counts are exact."""
    published = publish_everything(bootstrap_servers, environment, seed=2)
    for share in (0.1, 0.3, 0.6):
        with ServiceProcess(environment, tmp_path / "log", RAGLEDGER_BATCH__MAX_ROWS="300") as service:
            wait_for_records(environment, round(share * published.records))
            service.kill()
    with ServiceProcess(environment, tmp_path / "log") as service:
        environment.assert_caught_up()
        assert service.stop() == 0
    assert_exact(environment, published)


def test_sigterm_under_load_writes_the_open_batch_and_reads_nothing_again(
    environment: Environment, bootstrap_servers: str, tmp_path: Path
) -> None:
    """A graceful stop commits: Kafka's offsets equal the ledger, and no duplicate follows."""
    published = publish_everything(bootstrap_servers, environment, seed=3)
    with ServiceProcess(environment, tmp_path / "log", RAGLEDGER_BATCH__MAX_ROWS="300") as service:
        wait_for_records(environment, published.records // 4)
        service.send(signal.SIGTERM)
        assert service.running.wait(60) == 0
    with ServiceProcess(environment, tmp_path / "log") as service:
        environment.assert_caught_up()
    assert_exact(environment, published)


def test_two_replicas_share_the_work_without_duplicates(
    environment: Environment, bootstrap_servers: str, tmp_path: Path
) -> None:
    """One replica joins and one leaves during the work: the counts are exact."""
    published = publish_everything(bootstrap_servers, environment, seed=4)
    slow = {"RAGLEDGER_BATCH__MAX_ROWS": "200"}
    with ServiceProcess(environment, tmp_path / "one", **slow) as first:
        wait_for_records(environment, 1)
        with ServiceProcess(environment, tmp_path / "two", **slow) as second:
            second.wait_ready()
            assert first.stop() == 0
            environment.assert_caught_up()
    assert_exact(environment, published)


def test_the_day_equals_the_queries_over_the_rows(
    environment: Environment, bootstrap_servers: str, tmp_path: Path
) -> None:
    """The day's row equals the three queries, and a late event corrects its day."""
    chance = random.Random(5)
    topic = environment.topics["dialogue"]
    days = ["2026-02-03T23:59:59.999999Z", "2026-02-04T00:00:00Z", "2026-02-04T12:00:00+09:00"]

    def publish(count: int) -> None:
        events = [dialogue(chance, created_at=chance.choice(days)) for _ in range(count)]
        produce(bootstrap_servers, [(topic, json.dumps(event).encode()) for event in events])

    with ServiceProcess(environment, tmp_path / "log"):
        for total in (300, 310):
            publish(300 if total == 300 else 10)
            wait_for_records(environment, total)
            eventually(lambda: environment.value("SELECT count(*) FROM touched_days") == 0)
            for day in ("2026-02-03", "2026-02-04"):
                assert_day_equals_queries(environment, day)


def assert_day_equals_queries(environment: Environment, day: str) -> None:
    """Compare one row of rag_metrics_history with the queries that define it."""
    row = environment.query("SELECT * FROM rag_metrics_history WHERE date = %s::timestamp", day)[0]
    queries = environment.query(
        """
        SELECT
            round(AVG(CASE WHEN citations IS NOT NULL AND jsonb_array_length(citations) > 0
                THEN 100.0 ELSE 0.0 END), 2) AS citation_rate,
            SUM(CASE WHEN citations IS NOT NULL THEN jsonb_array_length(citations) ELSE 0 END) AS citation_count,
            PERCENTILE_CONT(0.5) WITHIN GROUP (ORDER BY latency_ms) AS latency_p50,
            PERCENTILE_CONT(0.95) WITHIN GROUP (ORDER BY latency_ms) AS latency_p95,
            PERCENTILE_CONT(0.99) WITHIN GROUP (ORDER BY latency_ms) AS latency_p99,
            COUNT(DISTINCT user_id) AS unique_users,
            COUNT(*) AS total_dialogues,
            SUM(token_cost_jpy) AS total_cost,
            SUM(total_tokens) AS total_tokens,
            COUNT(*) FILTER (WHERE user_feedback = -1) AS feedback_negative
        FROM ai_dialogue_log WHERE created_at >= %s::date AND created_at < %s::date + 1
        """,
        day,
        day,
    )[0]
    assert {name: row[name] for name in queries} == queries
