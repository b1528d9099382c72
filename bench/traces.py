"""Measures the cost of a dialogue from a trace, from the record to the committed row: `python -m bench.traces`.

A trace has four spans (root, retrieval, embedding, model call) and about 7.5 KB. A record has a hundred spans, like the
Collector's batches. Each round stages traces with the ordinary store and folds them, first one after the other, which
gives the CPU time of each step, then at the same time, which gives the speed. Kafka is not used.
"""

from __future__ import annotations

import asyncio
import gc
import json
import random
import sys
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from statistics import median
from typing import Annotated, Any, NamedTuple
from uuid import UUID

import psycopg
import typer
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, TracesData
from pydantic import SecretStr

from bench.servers import POSTGRES_SETTINGS
from bench.usage import family_cpu_seconds
from consumer.admin import migrate
from consumer.cli.service import tune_gc
from consumer.decode.lanes import decode_all
from consumer.devstack import PostgresServer, Workspace
from consumer.events.otlp.fold import Folding
from consumer.events.otlp.kinds import Signal, signal_kind
from consumer.events.record import Partition, StoredRecord
from consumer.generator.chance import Chance
from consumer.generator.texts import Writer
from consumer.ingest.batch import Batch, BatchLimits
from consumer.ingest.clock import SystemClock
from consumer.ingest.days import BusinessDays
from consumer.ingest.ports import Bounds
from consumer.postgres.client import Database
from consumer.postgres.dead_letter_limit import DeadLetterLimit
from consumer.postgres.ledger import PostgresLedger
from consumer.postgres.store import PostgresStore
from consumer.postgres.traces import PostgresTraces
from consumer.settings.model import BatchSettings, DeadLetters
from consumer.settings.servers import Postgres
from consumer.telemetry.ingest import PrometheusTelemetry
from consumer.telemetry.metrics import Metrics

TOPIC = Partition("otlp_spans", 0)
DATABASE = "bench_traces"
TRACES, ROUNDS = 10_000, 3
FOLD_EVERY_S = 0.1
TRACES_A_RECORD = 25
DOCUMENTS = 4
_START = 1_770_000_000_000_000_000


@dataclass(frozen=True, slots=True)
class TraceCosts:
    """The cost of a dialogue from a trace: medians of the rounds.

    :param traces: the number of traces in a round
    :param mean_bytes: the mean bytes of a trace
    :param stage: CPU time of ragledger for staging, in microseconds
    :param fold: the same for folding
    :param postgres: CPU time of PostgreSQL for both, in microseconds
    :param to_postgres: CPU time of ragledger, divided by that of PostgreSQL in the same round
    :param per_second: dialogues a second if one process stages and folds at the same time
    """

    traces: int
    mean_bytes: float
    stage: float
    fold: float
    postgres: float
    to_postgres: float
    per_second: float


class _Round(NamedTuple):
    """The figures of one round, as in :class:`TraceCosts`."""

    stage: float
    fold: float
    postgres: float
    to_postgres: float
    per_second: float


class _Turn:
    async def wait_turn(self) -> None:
        return


class _Maker:
    """Generates the traces of one seed."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)  # noqa: S311 - samples, not secrets
        self._writer = Writer(Chance(seed))

    def _answer(self, characters: int) -> str:
        return self._writer.answer(characters, markdown=False, escaped=False)[:characters]

    def records(self, count: int) -> Iterator[bytes]:
        """The values of records that together hold `count` traces."""
        for first in range(0, count, TRACES_A_RECORD):
            numbers = range(first, min(first + TRACES_A_RECORD, count))
            spans = [span for number in numbers for span in self._trace(number)]
            self._chance.shuffle(spans)
            resource = Resource(
                attributes=_attributes({"service.name": "chat", "deployment.environment.name": "bench"})
            )
            one = ResourceSpans(resource=resource, scope_spans=[ScopeSpans(spans=spans)])
            yield TracesData(resource_spans=[one]).SerializeToString()

    def _trace(self, number: int) -> Sequence[Span]:
        trace = self._chance.randbytes(16)
        start = _START + number * 1_000_000
        documents = [
            {
                "id": f"d{place}",
                "score": round(self._chance.random(), 2),
                "content": self._answer(400),
                "metadata": {"source": self._writer.address(), "title": self._writer.title()},
            }
            for place in range(DOCUMENTS)
        ]
        context = "\n".join(str(document["content"]) for document in documents)
        ids = {"user.id": str(UUID(int=self._chance.randrange(500) + 1)), "session.id": f"s{number // 7}"}
        retrieval = {"gen_ai.operation.name": "retrieval", "gen_ai.retrieval.documents": json.dumps(documents)}
        root = _span(trace, 1, 0, start, 2000, {"http.request.method": "POST", "http.route": "/chat", **ids})
        embedding = {"gen_ai.operation.name": "embeddings", "gen_ai.request.model": "text-embedding-3-small"}
        return [
            root,
            _span(trace, 2, 1, start, 20, embedding),
            _span(trace, 3, 1, start, 50, retrieval),
            _span(trace, 4, 1, start, 1800, self._chat(context)),
        ]

    def _chat(self, context: str) -> dict[str, Any]:
        messages = [
            _message("system", f"Answer from the context.\n{context}"),
            _message("user", self._writer.question()),
        ]
        answer = self._answer(2500)
        return {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "openai",
            "gen_ai.request.model": "gpt-5-mini",
            "gen_ai.response.model": "gpt-5-mini-2026-02-01",
            "gen_ai.usage.input_tokens": self._chance.randrange(200, 4000),
            "gen_ai.usage.output_tokens": self._chance.randrange(20, 900),
            "gen_ai.input.messages": json.dumps(messages),
            "gen_ai.output.messages": json.dumps([_message("assistant", answer)]),
        }


def _message(role: str, text: str) -> dict[str, Any]:
    return {"role": role, "parts": [{"type": "text", "content": text}]}


def _span(trace: bytes, number: int, parent: int, start: int, took: int, attributes: dict[str, Any]) -> Span:
    return Span(
        trace_id=trace,
        span_id=number.to_bytes(8, "big"),
        parent_span_id=parent.to_bytes(8, "big") if parent else b"",
        name=str(attributes.get("gen_ai.operation.name", "POST /chat")),
        start_time_unix_nano=start,
        end_time_unix_nano=start + took * 1_000_000,
        attributes=_attributes(attributes),
    )


def _attributes(attributes: dict[str, Any]) -> list[KeyValue]:
    return [KeyValue(key=name, value=_value(value)) for name, value in attributes.items()]


def _value(value: Any) -> AnyValue:
    return AnyValue(int_value=value) if isinstance(value, int) else AnyValue(string_value=value)


class _Pipeline:
    """Stages and folds traces in one database."""

    def __init__(self, database: Database) -> None:
        days, clock = BusinessDays("UTC"), SystemClock()
        telemetry = PrometheusTelemetry(Metrics(), clock, [TOPIC.topic])
        limit = DeadLetterLimit(DeadLetters())
        ledger = PostgresLedger(database, group="bench", owner="bench", begin_at_end=False)
        self._store = PostgresStore(database, telemetry, days, ledger, limit)
        self._traces = PostgresTraces(
            database, days, Folding(), TOPIC.topic, telemetry.set_aside, quiet=0.0, keep_hours=24.0
        )
        self._kind = signal_kind(Signal.SPANS, Folding())
        self._offset = 0

    async def stage(self, values: Sequence[bytes]) -> None:
        """Stage the records in batches, as the service does."""
        settings = BatchSettings()
        limits = BatchLimits(settings.max_rows, settings.max_bytes, 60.0)
        (claim,) = await self._store.claim({TOPIC: Bounds(self._offset, self._offset + len(values))})
        batch = Batch(limits)
        batch.claim(claim)
        for value in values:
            record = StoredRecord(*TOPIC, self._offset, 1_770_000_000_000, None, value)
            self._offset += 1
            taken = batch.spans[TOPIC].take([record])
            batch.add(self._kind, taken, decode_all(self._kind, taken))
            if batch.is_ready(0.0):
                await self._store.write(batch, _Turn())
                batch = batch.next()
        await self._store.write(batch, _Turn())

    async def fold(self) -> int:
        """Fold the traces that are staged, and return the number of dialogues."""
        found = 0
        while True:
            folded = await self._traces.fold_some()
            assert folded is not None
            found += len(folded.inserted)
            if folded.is_last:
                return found

    async def stage_and_fold(self, values: Sequence[bytes]) -> int:
        """Stage the records, fold meanwhile, and return the number of dialogues."""
        staging = asyncio.ensure_future(self.stage(values))
        found = 0
        while not staging.done():
            found += await self.fold()
            await asyncio.wait([staging], timeout=FOLD_EVERY_S)
        await staging
        return found + await self.fold()


def measure(
    postgres: PostgresServer, traces: int = TRACES, rounds: int = ROUNDS, seed: int = 1, without: Collection[int] = ()
) -> TraceCosts:
    """Measure in a database of its own.

    :param without: processes of PostgreSQL that serve others
    """
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {DATABASE}")
    dsn = postgres.dsn_of(DATABASE)
    asyncio.run(migrate.up(dsn))
    clock = partial(_times, postgres.pid, without)
    found = asyncio.run(_measure(dsn, traces, rounds, seed, clock))
    size = sum(map(len, _Maker(seed).records(100))) / 100
    return TraceCosts(traces, size, *map(median, zip(*found, strict=True)))


_Times = tuple[float, float, float]


def _times(postgres_pid: int, without: Collection[int]) -> _Times:
    """Seconds: the time of day, CPU time of this process, CPU time of PostgreSQL."""
    return time.perf_counter(), time.process_time(), family_cpu_seconds(postgres_pid, without)


async def _measure(dsn: str, traces: int, rounds: int, seed: int, clock: Callable[[], _Times]) -> list[_Round]:
    database = Database(Postgres(dsn=SecretStr(dsn)))
    await database.open()
    tune_gc()
    try:
        pipeline = _Pipeline(database)
        return [await _round(pipeline, traces, seed + 2 * number, clock) for number in range(rounds)]
    finally:
        await database.close(5)


async def _round(pipeline: _Pipeline, traces: int, seed: int, clock: Callable[[], _Times]) -> _Round:
    values, others = (list(_Maker(one).records(traces)) for one in (seed, seed + 1))
    gc.collect()
    begun = clock()
    await pipeline.stage(values)
    staged = clock()
    assert await pipeline.fold() == traces
    folded = clock()
    assert await pipeline.stage_and_fold(others) == traces
    ended = clock()
    postgres = folded[2] - begun[2]
    return _Round(
        (staged[1] - begun[1]) / traces * 1e6,
        (folded[1] - staged[1]) / traces * 1e6,
        postgres / traces * 1e6,
        (folded[1] - begun[1]) / postgres,
        traces / (ended[0] - folded[0]),
    )


def main(
    traces: Annotated[int, typer.Option(min=100, help="Number of traces in a round.")] = TRACES,
    rounds: Annotated[int, typer.Option(min=1, help="Number of rounds.")] = ROUNDS,
    seed: Annotated[int, typer.Option(help="The same seed makes the same traces.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Stage and fold traces, and print the cost of a dialogue: the medians of the rounds."""
    with Workspace() as workspace:
        postgres = PostgresServer(workspace, settings=POSTGRES_SETTINGS)
        postgres.start()
        found = measure(postgres, traces, rounds, seed)
    if as_json:
        sys.stdout.write(json.dumps(asdict(found)) + "\n")
        return
    sys.stdout.write(
        f"{found.traces:,} traces of 4 spans and {found.mean_bytes:,.0f} bytes, for each dialogue:\n"
        f"stage {found.stage:.0f} µs of CPU, fold {found.fold:.0f} µs, PostgreSQL {found.postgres:.0f} µs\n"
        f"ragledger / PostgreSQL {found.to_postgres:.2f}\n"
        f"{found.per_second:,.0f} dialogues a second, staged and folded at the same time\n"
    )


if __name__ == "__main__":
    typer.run(main)
