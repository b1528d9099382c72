"""Measures the cost of a dialogue from a trace, from the record to the committed row: `python -m bench.traces`.

A trace has four spans (root, retrieval, embedding, model call) and about 8.5 KB. A record has a hundred spans, like the
Collector's batches. The benchmark measures two steps: staging with the ordinary store, and folding. CPU is the time of
this process without PostgreSQL. Kafka is not used.
"""

from __future__ import annotations

import asyncio
import gc
import json
import random
import time
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, NamedTuple
from uuid import UUID

import typer
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, TracesData
from pydantic import SecretStr
from rich.console import Console

from bench.servers import POSTGRES_SETTINGS
from consumer.admin import migrate
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
TRACES_A_RECORD = 25
DOCUMENTS = 4
_START = 1_770_000_000_000_000_000


class Step(NamedTuple):
    """The time of one step for each dialogue, in microseconds: elapsed time, and CPU time of this process."""

    wall: float
    cpu: float


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
        """Fold all traces, and return the number of dialogues."""
        found = 0
        while True:
            folded = await self._traces.fold_some()
            assert folded is not None
            found += len(folded.inserted)
            if folded.is_last:
                return found


async def _measure(dsn: str, traces: int, rounds: int, seed: int) -> list[tuple[Step, Step]]:
    database = Database(Postgres(dsn=SecretStr(dsn)))
    await database.open()
    found = []
    try:
        pipeline = _Pipeline(database)
        for number in range(rounds):
            values = list(_Maker(seed + number).records(traces))
            gc.collect()
            gc.freeze()
            before = time.perf_counter(), time.process_time()
            await pipeline.stage(values)
            between = time.perf_counter(), time.process_time()
            assert await pipeline.fold() == traces
            after = time.perf_counter(), time.process_time()
            found.append((_step(before, between, traces), _step(between, after, traces)))
    finally:
        await database.close(5)
    return found


def _step(before: tuple[float, float], after: tuple[float, float], traces: int) -> Step:
    return Step(*((later - earlier) / traces * 1e6 for earlier, later in zip(before, after, strict=True)))


def main(
    traces: Annotated[int, typer.Option(min=100, help="Number of traces in a round.")] = 10_000,
    rounds: Annotated[int, typer.Option(min=1, help="Number of rounds; the best one is shown.")] = 3,
    seed: Annotated[int, typer.Option(help="The same seed makes the same traces.")] = 1,
) -> None:
    """Stage and fold traces, and print the cost of a dialogue."""
    out, size = Console(highlight=False), sum(map(len, _Maker(seed).records(100))) / 100
    with Workspace() as workspace:
        postgres = PostgresServer(workspace, settings=POSTGRES_SETTINGS)
        postgres.start()
        asyncio.run(migrate.up(postgres.dsn))
        found = asyncio.run(_measure(postgres.dsn, traces, rounds, seed))
    stage, fold = (min((one[step] for one in found), key=lambda each: each.cpu) for step in (0, 1))
    out.print(f"{traces:,} traces of 4 spans and {size:,.0f} bytes; the best of {rounds} rounds, for each dialogue:")
    for name, step in (("stage", stage), ("fold", fold)):
        out.print(f"  {name}: {step.cpu:.0f} µs of CPU, {step.wall:.0f} µs in total")
    together = stage.wall + fold.wall
    out.print(f"  both: {stage.cpu + fold.cpu:.0f} µs of CPU, {1e6 / together:,.0f} dialogues/s, one after the other")


if __name__ == "__main__":
    typer.run(main)
