"""The growing table: PostgreSQL itself fills it, then the benchmark copies rows into it as ragledger would."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from statistics import median
from uuid import UUID

import psycopg

from bench import usage
from bench.events import COLUMNS, DIALOGUE_TABLE, DIALOGUES, events
from bench.servers import Connection, Servers
from consumer.postgres.queries import load

COPIED, ROWS_A_TRANSACTION, ROWS_A_DAY = 50_000, 5_000, 100_000
_FILL = (Path(__file__).parent / "fill.sql").read_text()
_STEP = 250_000
FIRST_DAY = datetime(2025, 5, 1)  # noqa: DTZ001 - naive UTC, as the column is
_BETWEEN = timedelta(days=1) / ROWS_A_DAY
_ID, _CREATED_AT = map(COLUMNS[DIALOGUE_TABLE].index, ("id", "created_at"))
# PostgreSQL makes both. Time-ordered ids follow RFC 9562 §5.7; their random part comes from the row's number.
IDS: Mapping[str, str] = {
    "time-ordered": (
        "encode(substring(int8send((extract(epoch FROM moment) * 1000)::bigint) FROM 3) "
        "|| '\\x7000'::bytea || '\\x80'::bytea || substring(decode(md5(n::text), 'hex') FROM 1 FOR 7), 'hex')::uuid"
    ),
    "random": "gen_random_uuid()",
}
_REPETITIONS = 3
_OF_DAY = "WHERE created_at BETWEEN %(begin)s AND %(end)s"
# The three queries of the review, and the query that its composite index is for.
QUERIES: Mapping[str, str] = {
    "citations of a day": (
        "SELECT avg(CASE WHEN citations IS NOT NULL AND jsonb_array_length(citations) > 0 THEN 100.0 ELSE 0.0 END), "
        "sum(CASE WHEN citations IS NOT NULL THEN jsonb_array_length(citations) ELSE 0 END) "
        f"FROM ai_dialogue_log {_OF_DAY}"
    ),
    "latency of a day": (
        "SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY latency_ms), "
        "percentile_cont(0.95) WITHIN GROUP (ORDER BY latency_ms), "
        f"percentile_cont(0.99) WITHIN GROUP (ORDER BY latency_ms) FROM ai_dialogue_log {_OF_DAY} "
        "AND latency_ms IS NOT NULL"
    ),
    "users of a day": f"SELECT count(DISTINCT user_id) FROM ai_dialogue_log {_OF_DAY}",
    "history of a user": (
        "SELECT id, created_at, query FROM ai_dialogue_log WHERE user_id = md5('user7')::uuid "
        "ORDER BY created_at DESC LIMIT 50"
    ),
}
ROLL_UP = "roll-up of a day"


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of rows that are copied into a table with `rows` existing rows.

    :param postgres_us: CPU of all of PostgreSQL's processes for each row
    :param wal_bytes: bytes of the write-ahead log for each row
    :param milliseconds: the median time of each query, and of the roll-up of a day
    """

    rows: int
    postgres_us: float
    rows_per_s: float
    wal_bytes: float
    milliseconds: Mapping[str, float]


class GrowingTable:
    """The dialogues of one database, from empty to large."""

    def __init__(self, servers: Servers, ids: str) -> None:
        """:param ids: a key of :data:`IDS`"""
        self._servers, self._ids, self._rows, self._copies = servers, ids, 0, 0

    def grow_to(self, rows: int) -> None:
        """Add rows up to this number, in two sessions at a time."""
        steps = [(first, min(first + _STEP, rows) - 1) for first in range(self._rows, rows, _STEP)]
        with ThreadPoolExecutor(2) as sessions:
            list(sessions.map(self._fill, steps))
        self._rows = rows
        with psycopg.connect(self._servers.postgres.dsn, autocommit=True) as connection:
            connection.execute("VACUUM ANALYZE ai_dialogue_log")

    def _fill(self, step: tuple[int, int]) -> None:
        first, last = step
        statement = _FILL.format(first=first, last=last, id=IDS[self._ids])
        with psycopg.connect(self._servers.postgres.dsn) as connection:
            if _keeps_ids(connection):
                statement = f"WITH filled AS ({statement} RETURNING id) INSERT INTO known_ids SELECT id FROM filled"
            connection.execute(statement.encode())

    def measure(self) -> Cost:
        """Copy rows in transactions as large as ragledger's, then run the queries."""
        chunks, connection = self._chunks(), self._servers.connection
        connection.execute("CHECKPOINT")
        pid, own = self._servers.postgres.pid, {self._servers.backend_pid}
        with psycopg.connect(self._servers.postgres.dsn, autocommit=True) as writer:
            before, wal, start = usage.family_cpu_seconds(pid, own), _wal(connection), time.monotonic()
            for chunk in chunks:
                _copy(writer, chunk)
            seconds, written = time.monotonic() - start, _wal(connection) - wal
            cpu = usage.family_cpu_seconds(pid, own) - before
        return Cost(self._rows, cpu * 1e6 / COPIED, COPIED / seconds, written / COPIED, self._ask())

    def _chunks(self) -> Sequence[Sequence[str]]:
        """Return new dialogues of the benchmark. Their ids and times continue those of the existing rows."""
        self._copies += 1
        rows = (event for event in events(2 * COPIED, 100 + self._copies, DIALOGUES) if event.row is not None)
        made = enumerate(islice(rows, COPIED), self._rows)
        chance = random.Random(self._copies)  # noqa: S311 - samples, not secrets
        lines = [_moved(event.line, FIRST_DAY + number * _BETWEEN, self._ids, chance) for number, event in made]
        return [lines[start : start + ROWS_A_TRANSACTION] for start in range(0, COPIED, ROWS_A_TRANSACTION)]

    def _ask(self) -> Mapping[str, float]:
        """Run the queries for the newest complete day; in a table that was empty, for the day of the copied rows."""
        begin = FIRST_DAY + timedelta(days=max(self._rows // ROWS_A_DAY - 1, 0))
        bounds = {"begin": begin, "end": begin + timedelta(days=1, microseconds=-1)}
        found = {name: self._time(query, bounds) for name, query in QUERIES.items()}
        day = {"begins_at": begin, "ends_at": begin + timedelta(days=1)}
        roll_up = load("figures_of_day").replace("%", "%%").replace("$1", "%(begins_at)s").replace("$2", "%(ends_at)s")
        return found | {ROLL_UP: self._time(roll_up, day)}

    def _time(self, query: str, parameters: Mapping[str, datetime]) -> float:
        return median(self._once(query.encode(), parameters) for _ in range(_REPETITIONS)) * 1000

    def _once(self, query: bytes, parameters: Mapping[str, datetime]) -> float:
        start = time.monotonic()
        self._servers.connection.execute(query, parameters).fetchall()
        return time.monotonic() - start


def _moved(line: str, moment: datetime, ids: str, chance: random.Random) -> str:
    """Return a row of COPY's text format with another time and an id of the given sort."""
    fields = line.split("\t")
    by_chance = UUID(int=chance.getrandbits(128), version=4)
    fields[_ID] = str(by_chance if ids == "random" else _at(moment, by_chance))
    fields[_CREATED_AT] = moment.isoformat(" ")
    return "\t".join(fields)


def _at(moment: datetime, by_chance: UUID) -> str:
    """Return an id of version 7: the time, then random bits."""
    milliseconds = (moment - datetime(1970, 1, 1)) // timedelta(milliseconds=1)  # noqa: DTZ001 - naive UTC
    return f"{milliseconds:012x}7{by_chance.hex[13:]}"


def _copy(writer: psycopg.Connection[tuple[object, ...]], lines: Sequence[str]) -> None:
    """Copy in one transaction. If the table keeps ids separately, copy these first, as ragledger does."""
    with writer.transaction():
        if _keeps_ids(writer):
            _copy_lines(writer, "known_ids (id)", [line.partition("\t")[0] for line in lines])
        _copy_lines(writer, f"ai_dialogue_log ({', '.join(COLUMNS[DIALOGUE_TABLE])})", lines)


def _copy_lines(writer: psycopg.Connection[tuple[object, ...]], into: str, lines: Sequence[str]) -> None:
    with writer.cursor().copy(f"COPY {into} FROM STDIN".encode()) as copy:
        copy.write("".join(f"{line}\n" for line in lines).encode())


def _keeps_ids(connection: psycopg.Connection[tuple[object, ...]]) -> bool:
    statement = load("how_to_insert").replace("$1", "'ai_dialogue_log'").replace("$2", "'{}'").replace("$3", "'{}'")
    row = connection.execute(statement.encode()).fetchone()
    assert row is not None
    return bool(row[0])


def _wal(connection: Connection) -> int:
    row = connection.execute("SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint").fetchone()
    assert row is not None
    return int(row[0])
