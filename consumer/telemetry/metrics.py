"""Declares every metric with its meaning. `docs/metrics.md` is generated from this file."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, disable_created_metrics
from prometheus_client.exposition import choose_encoder

from consumer.telemetry.histogram import BulkHistogram, Series


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric: its full name as Prometheus shows it, its meaning, its labels."""

    type: type[Counter] | type[Gauge] | type[BulkHistogram]
    name: str
    meaning: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


class Quantiles(Gauge):
    """Quantiles that are set and not computed here. Prometheus allows the label `quantile` only in summaries."""

    _type = "summary"


def kind(metric: Metric) -> str:
    """The metric's type, as Prometheus names it."""
    return {Counter: "counter", Gauge: "gauge", Quantiles: Quantiles._type}.get(metric.type, "histogram")


OUTCOMES = ("inserted", "duplicate", "amended", "dead_lettered", "ignored")
TOKEN_TYPES = ("prompt", "completion")
FEEDBACK = {-1: "negative", 0: "neutral", 1: "positive"}

# Objectives are likely to use these bounds, and a ratio is exact only at a bound.
LATENCY_SECONDS = (0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 7.5, 10.0, 15.0, 30.0, 60.0)
WRITE_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
DELAY_SECONDS: tuple[float, ...] = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 30.0, 60.0)
DELAY_SECONDS += (120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0, 86400.0)
BATCH_ROWS = (1, 10, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 25000)

RECORDS = Metric(
    Counter,
    "rag_records_total",
    "Records with a committed outcome: inserted, duplicate, amended, dead_lettered or ignored.",
    ("topic", "outcome"),
)
BATCH_ROWS_WRITTEN = Metric(
    BulkHistogram, "rag_batch_rows", "Records in one committed batch.", (), tuple(map(float, BATCH_ROWS))
)
BATCH_WRITE = Metric(
    BulkHistogram,
    "rag_batch_write_seconds",
    "Time to write one batch, from its first attempt to its commit, including outages.",
    (),
    WRITE_SECONDS,
)
EVENT_DELAY = Metric(
    BulkHistogram,
    "rag_event_delay_seconds",
    "Age of a record at its commit: the time from its Kafka timestamp until queries can see it.",
    (),
    DELAY_SECONDS,
)
LAG_RECORDS = Metric(
    Gauge,
    "rag_consumer_lag_records",
    "Offsets from the ledger's position up to the high watermark of the partition.",
    ("topic", "partition"),
)
HELD_BACK_RECORDS = Metric(
    Gauge,
    "rag_open_transaction_records",
    "Offsets of the lag that cannot be read yet, because they are at or after the start of an open transaction.",
    ("topic", "partition"),
)
HELD_BACK_SECONDS = Metric(
    Gauge,
    "rag_open_transaction_seconds",
    "Time for which this replica has seen the same transaction hold back acknowledged records; 0 if none does.",
    ("topic", "partition"),
)
LAG_SECONDS = Metric(
    Gauge,
    "rag_consumer_lag_seconds",
    "Age of the newest written record (before the first write: of the first record read); 0 if no records wait.",
    ("topic", "partition"),
)
SPANS = Metric(
    Counter,
    "rag_spans_total",
    "Spans and log events of committed records, by outcome (staged, duplicate or skipped) and by reason.",
    ("outcome", "reason"),
)
TRACES = Metric(
    Counter,
    "rag_traces_total",
    "Folds of traces, by outcome: inserted, updated, unchanged, duplicate, dead_lettered or skipped, and why.",
    ("outcome", "reason"),
)
TRACES_WAITING = Metric(
    Gauge, "rag_traces_waiting", "Traces with spans that are not folded yet, as this replica last counted them."
)
FOLD_SUCCESS = Metric(
    Gauge,
    "rag_fold_last_success_timestamp_seconds",
    "Time at which this replica last found no trace to fold, or folded all of them, in seconds since 1970.",
)
DEAD_LETTERS = Metric(
    Counter, "rag_dead_letters_total", "Records kept as dead letters, by reason.", ("topic", "reason")
)
UNKNOWN_FIELDS = Metric(
    Counter,
    "rag_unknown_fields_total",
    "Members of stored events that are not fields of their kind, such as newer or misspelt ones.",
    ("topic",),
)
REBALANCES = Metric(
    Counter, "rag_rebalances_total", "Assignments of partitions that this replica has received from the group."
)
FENCED = Metric(Counter, "rag_fenced_total", "Batches rolled back because another replica had claimed the partition.")
WRITE_RETRIES = Metric(
    Counter,
    "rag_write_retries_total",
    "Failed attempts to use the database that are repeated, by cause.",
    ("cause",),
)
SPLIT_WRITES = Metric(
    Counter, "rag_split_writes_total", "Extra writes to isolate the records that the database rejects."
)
BACKPRESSURE = Metric(Counter, "rag_backpressure_seconds_total", "Time for which reading has waited for the writer.")
LAST_COMMIT = Metric(
    Gauge, "rag_last_commit_timestamp_seconds", "Time of the last committed batch, in seconds since 1970."
)
ASSIGNED = Metric(Gauge, "rag_assigned_partitions", "Partitions that the group has assigned to this replica.")
STOPPED = Metric(
    Gauge,
    "rag_stopped_partitions",
    "1 for a partition that cannot be read from the ledger's position; a person has to decide.",
    ("topic", "partition"),
)
LEADERLESS = Metric(
    Gauge,
    "rag_leaderless_partitions",
    "1 for a partition whose leader does not answer; it is not read until one does.",
    ("topic", "partition"),
)
REFUSED = Metric(
    Gauge,
    "rag_kafka_refused",
    "1 for a topic or the group that Kafka does not allow this replica to use; the log gives the reason.",
    ("type", "resource"),
)
UP = Metric(Gauge, "rag_up", "1 while this replica can use the server: database or kafka.", ("server",))
CLIENT_ERRORS = Metric(
    Counter,
    "rag_client_errors_total",
    "Warnings and errors of client libraries, including repetitions that the log leaves out.",
)
BUILD_INFO = Metric(Gauge, "rag_build_info", "Always 1; the labels name the versions in use.", ("version", "python"))

DIALOGUES = Metric(
    Counter,
    "rag_dialogues_total",
    "Stored dialogues, by model and by whether they cite a source.",
    ("model", "cited"),
)
CITATIONS = Metric(Counter, "rag_citations_total", "Citations in stored dialogues.", ("model",))
DIALOGUE_LATENCY = Metric(
    BulkHistogram,
    "rag_dialogue_latency_seconds",
    "Time that the RAG service took to answer, if the event states it (latency_ms).",
    ("model",),
    LATENCY_SECONDS,
)
TOKENS = Metric(Counter, "rag_tokens_total", "Tokens in stored dialogues.", ("model", "type"))
PRICED = Metric(
    Counter, "rag_priced_dialogues_total", "Stored dialogues whose cost is known, including a cost of 0.", ("model",)
)
COST = Metric(Counter, "rag_cost_jpy_total", "Cost of stored dialogues, in Japanese yen.", ("model",))
COSTS = Metric(
    Counter,
    "rag_costs_total",
    "Stored dialogues by the source of their cost: stated, converted, computed or unpriced.",
    ("source",),
)
COSTS_RECOMPUTED = Metric(
    Counter, "rag_costs_recomputed_total", "Costs of stored dialogues that this replica has changed, after new prices."
)
PRICES_VALID = Metric(
    Gauge, "rag_price_file_valid", "1 if the price file was valid when it was last read, 0 if not; 0 without a file."
)
FEEDBACK_GIVEN = Metric(
    Counter,
    "rag_feedback_total",
    "Users' verdicts, each counted once: in stored dialogues, and in feedback newer than the known verdict.",
    ("value",),
)
PROVENANCE = Metric(Counter, "rag_provenance_total", "Stored provenance records.", ("content_type", "license_type"))

DAY_CITATION_RATE = Metric(
    Gauge, "rag_day_citation_rate", "Share of the newest day's dialogues that cite a source, in percent."
)
DAY_USERS = Metric(Gauge, "rag_day_unique_users", "Distinct users of the newest day.")
DAY_LATENCY = Metric(
    Quantiles, "rag_day_latency_seconds", "Exact latency percentiles of the newest day.", ("quantile",)
)
DAY_COST = Metric(Gauge, "rag_day_cost_jpy", "Cost of the newest day, in Japanese yen.")
SLO_MET = Metric(Gauge, "rag_slo_met", "1 if the newest day meets the objective, 0 if it misses it.", ("slo",))
ROLLUP_TIMESTAMP = Metric(
    Gauge,
    "rag_rollup_timestamp_seconds",
    "Time at which any replica last computed the newest day, in seconds since 1970.",
)
ROLLUP_SUCCESS = Metric(
    Gauge,
    "rag_rollup_last_success_timestamp_seconds",
    "Time at which this replica last found no due day, or computed all of them, in seconds since 1970.",
)
RETENTION_ROWS = Metric(
    Counter, "rag_retention_rows_total", "Rows of provenance that this replica has archived and deleted."
)
RETENTION_NOTICES = Metric(
    Counter, "rag_retention_notices_total", "Notices to owners of archived provenance that this replica has published."
)
RETENTION_DIALOGUES = Metric(
    Counter, "rag_retention_dialogues_total", "Expired dialogues that this replica has removed."
)
RETENTION_DEAD_LETTERS = Metric(
    Counter,
    "rag_retention_dead_letters_total",
    "Expired dead letters that this replica has removed: settled, or open and so given up for good.",
    ("state",),
)
RETENTION_TIMESTAMP = Metric(
    Gauge,
    "rag_retention_timestamp_seconds",
    "Time at which this replica last ended a run of retention without an error, in seconds since 1970; 0 if never.",
)

ALL: Sequence[Metric] = tuple(value for value in list(globals().values()) if isinstance(value, Metric))


class Metrics:
    """The declared metrics in a registry of their own."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # it adds a series to each counter; no dashboard uses it
        self.registry = CollectorRegistry()
        self.made: Mapping[Metric, Counter | Gauge | BulkHistogram] = {metric: self._make(metric) for metric in ALL}

    def _make(self, metric: Metric) -> Counter | Gauge | BulkHistogram:
        if metric.type is BulkHistogram:
            histogram = BulkHistogram(metric.name, metric.meaning, metric.labels, metric.buckets)
            self.registry.register(histogram)
            return histogram
        plain: Any = metric.type
        made: Counter | Gauge = plain(metric.name, metric.meaning, metric.labels, registry=self.registry)
        return made

    def render(self, accept: str) -> tuple[bytes, str]:
        """Return the body of a scrape and its content type, for the Accept header of a client."""
        encode, content_type = choose_encoder(accept)
        return encode(self.registry), content_type

    def counter(self, metric: Metric, *labels: str) -> Counter:
        """Return the counter for these label values."""
        made = self.made[metric]
        assert isinstance(made, Counter)
        return made.labels(*labels) if labels else made

    def gauge(self, metric: Metric, *labels: str) -> Gauge:
        """Return the gauge for these label values."""
        made = self.made[metric]
        assert isinstance(made, Gauge)
        return made.labels(*labels) if labels else made

    def histogram(self, metric: Metric, *labels: str) -> Series:
        """Return the histogram series for these label values."""
        made = self.made[metric]
        assert isinstance(made, BulkHistogram)
        return made.labels(*labels)

    def keep(self, metric: Metric, values: Collection[str]) -> None:
        """Remove every series of a one-label metric whose label value is not among these."""
        made = self.made[metric]
        assert isinstance(made, Counter | Gauge)
        for labels in list(made._metrics):
            if labels[0] not in values:
                made.remove(*labels)

    def remove(self, metric: Metric, *labels: str) -> None:
        """Remove a series if it exists."""
        made = self.made[metric]
        assert isinstance(made, Counter | Gauge)
        if labels in made._metrics:
            made.remove(*labels)
