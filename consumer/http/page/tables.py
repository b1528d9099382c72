"""The tables of the page, rendered from a snapshot. PURE."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from consumer.http.page.html import Html, join, tag
from consumer.http.page.snapshot import DAYS, MOST_DEAD_LETTERS, MOST_PARTITIONS, DeadLetters, Reading, Snapshot
from consumer.http.page.words import NOTHING, ago, money, number, plural, stamp, whole

_UNKNOWN = "Unknown while the database is unavailable."


class Words(NamedTuple):
    """A cell of text, aligned to the left."""

    text: str


def state(snapshot: Snapshot) -> str:
    """Return the state as a sentence. It changes only with the state, because a screen reader speaks each new one."""
    if snapshot.problem:
        return "The database is unavailable."
    if not snapshot.partitions:
        return "No partition has been read yet."
    if snapshot.kafka_problem:
        return "Kafka does not answer; the lag is unknown."
    waiting = sum(bool(one.lag) for one in snapshot.partitions)
    return f"Records wait in {plural(waiting, 'partition')}." if waiting else "Up to date."


def ingestion(snapshot: Snapshot) -> Html:
    """Render throughput and lag, in total and for each partition."""
    heading = tag("h2", "Ingestion", id="reading")
    rows = [_partition(one, snapshot) for one in snapshot.partitions]
    if not rows:
        says = _UNKNOWN if snapshot.problem else "No partition has been claimed yet: do the topics exist?"
        return join(heading, tag("p", says))
    columns = ("Partition", "Records a second", "Lag", "Processed", "Read by", "Last written")
    most = f"The first {MOST_PARTITIONS} partitions." if len(rows) == MOST_PARTITIONS else None
    caption = "Throughput and lag of each partition, of all replicas"
    return join(
        heading, tag("dl", *_totals(snapshot), class_="tiles"), table("partitions", caption, columns, rows, most)
    )


def _totals(snapshot: Snapshot) -> Iterable[Html]:
    rates = [one.rate for one in snapshot.partitions if one.rate is not None]
    lags = [one.lag for one in snapshot.partitions if one.lag is not None]
    yield _tile("Records a second", _rate(sum(rates)) if rates else "measuring…")
    yield _tile("Records waiting", whole(sum(lags)) if lags else NOTHING)
    yield _tile("Processed", whole(sum(one.records for one in snapshot.partitions)))


def _tile(name: str, value: str) -> Html:
    return tag("div", tag("dt", name), tag("dd", value))


def _rate(rate: float | None) -> str:
    return whole(rate) if rate is not None and rate >= 10 else number(rate, decimals=1)


def _partition(one: Reading, snapshot: Snapshot) -> Sequence[object]:
    written = ago(one.updated_at, snapshot.taken_at)
    return str(one.partition), _rate(one.rate), whole(one.lag), whole(one.records), Words(one.owner or NOTHING), written


def dead_letters(snapshot: Snapshot) -> Html:
    """Render the newest open dead letters by reason."""
    heading = tag("h2", "Dead letters", id="dead-letters")
    if not snapshot.dead_letters:
        says = _UNKNOWN if snapshot.problem else "No dead letter is open."
        return join(heading, tag("p", says))
    counted = sum(one.records for one in snapshot.dead_letters)
    most = f"Only the newest {MOST_DEAD_LETTERS:,}; there are more." if counted >= MOST_DEAD_LETTERS else None
    columns = ("Topic", "Reason", "Records", "Newest", "Oldest")
    rows = [_letters(one, snapshot) for one in snapshot.dead_letters]
    hint = tag("p", "To see them: ", tag("code", "ragledger dead-letters list"), class_="note")
    return join(heading, table("letters", "Open dead letters by topic and reason", columns, rows, most), hint)


def _letters(one: DeadLetters, snapshot: Snapshot) -> Sequence[object]:
    newest = tag("time", ago(one.last, snapshot.taken_at), datetime=one.last.isoformat())
    return one.topic, Words(one.reason), whole(one.records), newest, stamp(one.first)


def days(snapshot: Snapshot) -> Html | None:
    """Render every figure of the charts, newest day first."""
    if not snapshot.days:
        return None
    columns = (
        *("Day", "Dialogues", "Users", "Cite a source", "p50", "p95", "p99", "Cost", "Cost of an answer"),
        "Objectives missed",
    )
    caption = (
        f"The newest {DAYS} days that have dialogues; latencies in milliseconds; business time zone {snapshot.timezone}"
    )
    heading = tag("h2", "Day by day", id="days-table")
    return join(heading, table("days", caption, columns, [_day(day) for day in snapshot.days]))


def _day(day: Mapping[str, Any]) -> Sequence[object]:
    missed = [name for name, judged in day["slo_compliance"].items() if judged["met"] is False]
    return (
        day["day"].isoformat(),
        whole(day["total_dialogues"]),
        whole(day["unique_users"]),
        number(day["citation_rate"], "%"),
        *(whole(day[name]) for name in ("latency_p50", "latency_p95", "latency_p99")),
        money(day["total_cost"]),
        money(day["cost_per_answer"]),
        Words(", ".join(missed) or "none"),
    )


def table(
    name: str, caption: str, columns: Sequence[str], rows: Sequence[Sequence[object]], note: str | None = None
) -> Html:
    """Render a table that scrolls on its own if it is too wide, also with the keyboard."""
    head = tag("thead", tag("tr", *(_head(column, cell) for column, cell in zip(columns, rows[0], strict=True))))
    body = tag("tbody", *(_row(row) for row in rows))
    drawn = tag("table", tag("caption", tag("span", caption, id=f"{name}-caption")), head, body)
    region = tag("div", drawn, class_="scroll", role="region", aria_labelledby=f"{name}-caption", tabindex="0")
    return join(region, tag("p", note, class_="note") if note else None)


def _head(column: str, cell: object) -> Html:
    return tag("th", column, scope="col", class_="words" if isinstance(cell, Words) else None)


def _row(cells: Sequence[object]) -> Html:
    return tag("tr", tag("th", cells[0], scope="row"), *map(_cell, cells[1:]))


def _cell(cell: object) -> Html:
    """Render a cell; text is aligned to the left."""
    return tag("td", cell.text, class_="words") if isinstance(cell, Words) else tag("td", cell)
