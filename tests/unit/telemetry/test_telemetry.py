"""Tests telemetry: metrics of committed batches, and log lines for people."""

from __future__ import annotations

import pytest
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from structlog.testing import capture_logs

from consumer import __version__
from consumer.decode.rows import Row
from consumer.events.dialogue import DIALOGUE
from consumer.events.provenance import PROVENANCE
from consumer.events.rejection import Reason, Rejected
from consumer.ingest.batch import Batch, DeadLetter
from consumer.ingest.offsets import Claim, StopReason
from consumer.ingest.ports import Cause, Fenced, Written
from consumer.telemetry.domain import MAX_MODELS
from consumer.telemetry.metrics import FEEDBACK, OUTCOMES
from tests.support.builders import DIALOGUE_TOPIC, PROVENANCE_TOPIC, ROOMY, dialogue, provenance, record
from tests.support.fakes import WALL_START
from tests.support.scope import TOPICS, Scope, rows_of
from tests.support.world import A, B


@pytest.fixture
def scope() -> Scope:
    """Return telemetry of two topics."""
    return Scope()


def test_every_known_series_starts_at_zero(scope: Scope) -> None:
    """So Prometheus sees its first increase, and an alert on it can fire."""
    assert scope.series("rag_records_total") == {(topic, outcome): 0 for topic in TOPICS for outcome in OUTCOMES}
    assert scope.series("rag_dead_letters_total") == {(topic, reason): 0 for topic in TOPICS for reason in Reason}
    assert scope.series("rag_unknown_fields_total") == {(topic,): 0 for topic in TOPICS}
    assert scope.series("rag_feedback_total") == {(verdict,): 0 for verdict in FEEDBACK.values()}
    for name in ("rag_rebalances_total", "rag_fenced_total", "rag_backpressure_seconds_total"):
        assert scope.value(name) == 0


def test_the_build_is_shown(scope: Scope) -> None:
    """The value is always 1; the labels name the versions."""
    ((labels, value),) = scope.series("rag_build_info").items()
    assert (labels[0], value) == (__version__, 1)


# ── batches ──


def test_records_are_counted_by_topic_and_outcome(scope: Scope) -> None:
    """Each record counts once, by its outcome."""
    duplicates = rows_of(DIALOGUE, dialogue(), dialogue())
    letters = [DeadLetter(record(b"x"), Rejected.whole(Reason.NOT_JSON, "not JSON"))]
    scope.write(dialogue(), dialogue(), dialogue(), duplicates=duplicates, dead_letters=letters)
    scope.write(provenance(), kind=PROVENANCE)
    counted = {labels: count for labels, count in scope.series("rag_records_total").items() if count}
    assert counted == {
        (DIALOGUE_TOPIC, "inserted"): 3,
        (DIALOGUE_TOPIC, "duplicate"): 2,
        (DIALOGUE_TOPIC, "dead_lettered"): 1,
        (PROVENANCE_TOPIC, "inserted"): 1,
    }
    assert scope.value("rag_dead_letters_total", topic=DIALOGUE_TOPIC, reason="not_json") == 1


def test_a_batch_is_measured(scope: Scope) -> None:
    """Its number of records, its duration, and the time of its commit are measured."""
    scope.write(dialogue(), dialogue())
    assert (scope.value("rag_batch_rows_count"), scope.value("rag_batch_rows_sum")) == (1, 2)
    assert scope.value("rag_batch_write_seconds_sum") == pytest.approx(0.2)
    assert scope.value("rag_batch_write_seconds_bucket", le="0.25") == 1
    assert scope.value("rag_last_commit_timestamp_seconds") == WALL_START + 1000


def test_the_delay_of_events_is_from_record_to_commit(scope: Scope) -> None:
    """It is not negative if a producer's clock is ahead. A record without a timestamp has none."""
    now = int((WALL_START + 1000) * 1000)
    scope.write(dialogue(), dialogue(), timestamp=now - 3000)
    scope.write(dialogue(), timestamp=now + 60_000)
    scope.write(dialogue(created_at="2026-01-01T00:00:00Z"), timestamp=-1)
    assert scope.value("rag_event_delay_seconds_count") == 3
    assert scope.value("rag_event_delay_seconds_sum") == pytest.approx(6.0)


def test_unknown_fields_are_counted(scope: Scope) -> None:
    """Only those of new rows count."""
    scope.write(dialogue(a=1, b=2), dialogue(c=3), duplicates=rows_of(DIALOGUE, dialogue(d=4)))
    assert scope.value("rag_unknown_fields_total", topic=DIALOGUE_TOPIC) == 3


def test_an_empty_batch_counts_nothing(scope: Scope) -> None:
    """A gap only moves the ledger."""
    scope.telemetry.written(Written(Batch(ROOMY), {}, (), ()), 0.1)
    scope.write()
    assert scope.value("rag_batch_rows_count") == 2


# ── the content of events ──


def test_dialogues_are_counted_by_model(scope: Scope) -> None:
    """Dialogues, citations, tokens, cost, feedback and latency are counted."""
    said = {"model_used": "a", "prompt_tokens": 10, "completion_tokens": 5, "token_cost_jpy": "1.25"}
    scope.write(
        dialogue(**said, citations=[{"source": "x"}, {"source": "y"}], latency_ms=3000, user_feedback=1),
        dialogue(**said, citations=[], latency_ms=3001, user_feedback=-1),
        dialogue(model_used="a", user_feedback=0),
        dialogue(model_used="b"),
        dialogue(model_used="b", token_cost_jpy=0),
    )
    dialogues = {("a", "true"): 1, ("a", "false"): 2, ("b", "true"): 0, ("b", "false"): 2}
    assert scope.series("rag_dialogues_total") == dialogues
    assert scope.series("rag_citations_total") == {("a",): 2, ("b",): 0}
    tokens = {("a", "prompt"): 20, ("a", "completion"): 10, ("b", "prompt"): 0, ("b", "completion"): 0}
    assert scope.series("rag_tokens_total") == tokens
    assert scope.series("rag_cost_jpy_total") == {("a",): 2.5, ("b",): 0}
    assert scope.series("rag_priced_dialogues_total") == {("a",): 2, ("b",): 1}
    assert scope.series("rag_feedback_total") == {("positive",): 1, ("neutral",): 1, ("negative",): 1}
    latency = {le: scope.value("rag_dialogue_latency_seconds_bucket", model="a", le=le) for le in ("2.5", "3.0", "4.0")}
    assert latency == {"2.5": 0, "3.0": 1, "4.0": 2}
    assert scope.value("rag_dialogue_latency_seconds_count", model="a") == 2
    assert scope.value("rag_dialogue_latency_seconds_sum", model="a") == pytest.approx(6.001)


def test_duplicates_and_dead_letters_do_not_count_as_content(scope: Scope) -> None:
    """A retry or a second reading never counts twice."""
    letters = [DeadLetter(record(dialogue()), Rejected.whole(Reason.REFUSED_BY_DATABASE, "refused"))]
    scope.write(duplicates=rows_of(DIALOGUE, dialogue(user_feedback=1)), dead_letters=letters)
    assert scope.series("rag_dialogues_total") == {}
    assert scope.value("rag_feedback_total", value="positive") == 0


def test_models_beyond_a_bound_become_other(scope: Scope) -> None:
    """A hostile producer must not flood Prometheus. Known models keep their names."""
    (row,) = rows_of(DIALOGUE, dialogue())
    models = [f"model {number}" for number in range(MAX_MODELS + 50)]
    rows = [Row(row.record, row.id, row.encoded, (model, *row.facts[1:]), 0, 0) for model in models]
    for some in (rows[:70], rows[70:], rows[:3]):
        scope.telemetry.written(Written(Batch(ROOMY), {DIALOGUE: some}, (), ()), 0.1)
    counted = scope.series("rag_dialogues_total")
    assert len(counted) == 2 * (MAX_MODELS + 1)
    assert counted["other", "false"] == 50
    assert counted["model 0", "false"] == 2
    assert sum(counted.values()) == len(models) + 3


def test_any_model_name_can_be_scraped(scope: Scope) -> None:
    """Quotes, backslashes, line breaks and emoji are escaped."""
    names = ['"', "\\", "a\nb", "{}", "モデル😀", "a,b=c", "x" * 100]
    scope.write(*(dialogue(model_used=name) for name in names))
    text = openmetrics(scope.metrics.registry).decode()  # type: ignore[no-untyped-call]
    families = text_string_to_metric_families(text)  # type: ignore[no-untyped-call]
    samples = [sample for family in families for sample in family.samples]
    assert {sample.labels["model"] for sample in samples if sample.name == "rag_citations_total"} == set(names)


def test_provenance_is_counted_by_content_and_licence(scope: Scope) -> None:
    """Both are enums, so the labels are bounded."""
    scope.write(provenance(), provenance(license_type="CC0-1.0"), provenance(), kind=PROVENANCE)
    assert scope.series("rag_provenance_total") == {("material", "mit"): 2, ("material", "cc0"): 1}


# ── the group and the ledger ──


def test_lag_is_shown_by_partition_and_removed_after_a_revoke(scope: Scope) -> None:
    """Two replicas must not show the same partition."""
    scope.telemetry.lag(A, 5, 1.5)
    scope.telemetry.lag(B, 0, 0.0)
    assert scope.series("rag_consumer_lag_records") == {(DIALOGUE_TOPIC, "0"): 5, (DIALOGUE_TOPIC, "1"): 0}
    assert scope.value("rag_consumer_lag_seconds", topic=DIALOGUE_TOPIC, partition="0") == 1.5
    scope.telemetry.stopped(A, StopReason("a problem"))
    assert scope.series("rag_stopped_partitions") == {(DIALOGUE_TOPIC, "0"): 1}
    scope.telemetry.revoked([A, B])
    for name in ("rag_consumer_lag_records", "rag_consumer_lag_seconds", "rag_stopped_partitions"):
        assert scope.series(name) == {}


def test_assignments_fences_and_backpressure_are_counted(scope: Scope) -> None:
    """Each has its own counter."""
    scope.telemetry.assigned([A, B])
    assert scope.value("rag_assigned_partitions") == 2
    scope.telemetry.revoked([A, B])
    scope.telemetry.fenced(Fenced([A]))
    scope.telemetry.backpressure(1.5)
    scope.telemetry.claimed([Claim(A, 1, 0)])
    scope.telemetry.drain_timed_out(20.0)
    names = ("rag_assigned_partitions", "rag_rebalances_total", "rag_fenced_total", "rag_backpressure_seconds_total")
    assert [scope.value(name) for name in names] == [0, 1, 1, 1.5]


# ── the store ──


def test_an_outage_is_counted_on_each_try_and_logged_once(scope: Scope) -> None:
    """The log has its cause, and at the end its duration."""
    with capture_logs() as lines:
        for _ in range(5):
            scope.telemetry.unavailable(Cause.CONNECTION, "refused")
        scope.clock.now += 90
        scope.telemetry.available()
        scope.telemetry.available()
    assert scope.value("rag_write_retries_total", cause="connection") == 5
    assert [line["event"] for line in lines] == ["database_unavailable", "database_available"]
    assert lines[1]["outage_seconds"] == 90.0


def test_dead_letters_are_logged_by_reason_once_in_a_batch(scope: Scope) -> None:
    """The line has the number for each reason, and no event text."""
    letters = [DeadLetter(record(b"secret"), Rejected.whole(Reason.NOT_JSON, "not JSON"))] * 3
    with capture_logs() as lines:
        scope.write(dead_letters=letters)
    (line,) = lines
    assert (line["event"], line["log_level"], line["not_json"]) == ("dead_letters", "warning", 3)
    assert "secret" not in repr(line)
