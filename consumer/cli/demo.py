"""`demo`: runs the service on an embedded Kafka and PostgreSQL."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from pydantic import SecretStr

from consumer.admin import migrate
from consumer.admin.dead_letters import Filter
from consumer.admin.ledger import Ledger, read_ledger
from consumer.cli.dead_letters import dead_letters_of
from consumer.cli.ledger import ledger_json, print_ledger
from consumer.cli.output import (
    Exit,
    Json,
    command,
    err,
    out,
    print_json,
    print_mapping,
    print_table,
    progress,
)
from consumer.cli.rollup import print_days
from consumer.cli.signals import stop_on_signals
from consumer.cli.stack import make_stack, watch
from consumer.generator.faults import BadRecord
from consumer.generator.samples import Sample, samples
from consumer.kafka.tools import Message, create_topics, publish
from consumer.service import Service
from consumer.settings.loading import load
from consumer.settings.model import Http, Settings
from consumer.settings.servers import Kafka, Postgres
from consumer.telemetry import logs

PARTITIONS = 3
POLL_SECONDS = 0.1
PATIENCE_SECONDS = 60.0
DEAD_LETTERS_SHOWN = 12


@dataclass(frozen=True, slots=True)
class Results:
    """The results that the demo shows at the end."""

    published: Mapping[str, int]
    ledger: Ledger
    reasons: Sequence[tuple[str, str, int, str]]
    days: Sequence[Mapping[str, Any]]
    seconds: float
    addresses: Mapping[str, str]


@command
async def demo(
    events: Annotated[int, typer.Option(min=1, help="How many sample events to publish.")] = 5000,
    leave: Annotated[bool, typer.Option("--exit", help="Exit after showing the results.")] = False,
    as_json: Json = False,
) -> Exit:
    """Start an embedded Kafka and PostgreSQL, run the service on sample events, and show the results."""
    stop, base = stop_on_signals(), load()
    async with make_stack() as servers:
        settings = _settings(base, servers.bootstrap_servers, servers.dsn)
        logs.configure(settings.log, libraries=False)
        await _prepare(settings)
        addresses: dict[str, str] = {"Kafka": servers.bootstrap_servers, "PostgreSQL": servers.dsn}
        service = Service(settings)
        running = asyncio.create_task(service.run(stop, lambda _, port: _note_http(addresses, port)))
        shown = await _until(stop, _work(settings, service, events, addresses))
        if shown is not None:
            _present(shown, as_json)
            if not leave:
                await _stay(servers, stop, as_json)
        stop.set()
        await running
    return Exit.DONE


def _settings(base: Settings, bootstrap_servers: str, dsn: str) -> Settings:
    """Return the settings of the environment, changed to the embedded servers (no TLS, no passwords)
    and a free port.
    """
    return base.model_copy(
        update={
            "kafka": Kafka(bootstrap_servers=bootstrap_servers, group_id=base.kafka.group_id),
            "postgres": Postgres(dsn=SecretStr(dsn), pool_size=base.postgres.pool_size),
            "http": Http(host="127.0.0.1", port=0),
            "rollup": base.rollup.model_copy(update={"interval_s": 1.0}),
            "log": base.log.model_copy(update={"level": "ERROR"}),
        }
    )


async def _prepare(settings: Settings) -> None:
    await migrate.up(settings.postgres.dsn.get_secret_value())
    await create_topics(settings.kafka, settings.topics.named.values(), PARTITIONS)


def _note_http(addresses: dict[str, str], port: int) -> None:
    base = f"http://127.0.0.1:{port}"
    addresses.update({"page": base, "metrics": f"{base}/metrics", "ready": f"{base}/readyz"})


async def _until(stop: asyncio.Event, work: Any) -> Any:
    """Return the result of `work`, or None if `stop` is set first."""
    task, stopping = asyncio.create_task(work), asyncio.create_task(stop.wait())
    await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if task.done():
        return task.result()
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    return None


async def _work(settings: Settings, service: Service, events: int, addresses: Mapping[str, str]) -> Results:
    started = time.monotonic()
    chosen = list(samples(events, datetime.now(UTC), seed=events))
    messages = [_message(settings, sample) for sample in chosen]
    with progress() as bar:
        publishing = bar.add_task("published", total=events)
        storing = bar.add_task("processed", total=events)
        published = asyncio.create_task(publish(settings.kafka, messages, lambda _: bar.advance(publishing)))
        ledger = await _caught_up(settings, service, events, lambda done: bar.update(storing, completed=done))
        await published
    seconds = time.monotonic() - started
    await service.rollup.run_once(fresh_seconds=0)
    return await _gather(settings, service, chosen, ledger, seconds, addresses)


def _message(settings: Settings, sample: Sample) -> Message:
    record = sample.record
    message = Message(getattr(settings.topics, record.kind), record.value)
    return message._replace(key=record.key, headers=record.headers) if isinstance(record, BadRecord) else message


async def _caught_up(settings: Settings, service: Service, events: int, on_progress: Any) -> Ledger:
    """Wait until the ledger covers every record. Give up if it makes no progress for too long."""
    before, deadline = 0, time.monotonic() + PATIENCE_SECONDS
    while True:
        with suppress(OSError):
            ledger = await read_ledger(settings, service.database)
            done = sum(line.read for line in ledger.lines)
            on_progress(done)
            if done >= events:
                return ledger
            if done > before:
                before, deadline = done, time.monotonic() + PATIENCE_SECONDS
        if time.monotonic() > deadline:
            raise TimeoutError(f"only {before} of {events} records are processed, and no progress is made")
        await asyncio.sleep(POLL_SECONDS)


async def _gather(
    settings: Settings,
    service: Service,
    chosen: Sequence[Sample],
    ledger: Ledger,
    seconds: float,
    addresses: Mapping[str, str],
) -> Results:
    letters = dead_letters_of(settings, service.database)
    found = await letters.find(Filter(), settled=False, at_most=len(chosen))
    counted = Counter((letter["topic"], letter["reason"], letter["detail"]["message"]) for letter in found)
    reasons = [(topic, reason, count, problem) for (topic, reason, problem), count in counted.most_common()]
    newest = await service.history.newest()
    outcomes = Counter(sample.fate.value for sample in chosen)
    return Results({"events": len(chosen), **outcomes}, ledger, reasons, [newest] if newest else [], seconds, addresses)


def _present(shown: Results, as_json: bool) -> None:
    if as_json:
        print_json(_json(shown))
        return
    print_mapping("Published", shown.published)
    print_ledger(shown.ledger)
    print_table("Dead letters", ("topic", "reason", "records", "problem"), shown.reasons[:DEAD_LETTERS_SHOWN])
    print_days(shown.days)
    print_objectives(shown.days)
    print_mapping("Open", shown.addresses)
    events = shown.published["events"]
    verdict = "adds up" if shown.ledger.holds else "does NOT add up"
    out.print(f"\n{events:,} events processed in {shown.seconds:.1f} s; the ledger {verdict}.")


def print_objectives(days: Sequence[Mapping[str, Any]]) -> None:
    """Print the objectives and how the days meet them."""
    rows = [
        (name, f"{judged['operator']} {judged['target']:g}", judged["actual"], judged["met"])
        for day in days
        for name, judged in day["slo_compliance"].items()
    ]
    print_table("Objectives", ("objective", "target", "actual", "met"), rows)


def _json(shown: Results) -> dict[str, Any]:
    return {
        "published": shown.published,
        "ledger": ledger_json(shown.ledger),
        "dead_letters": [
            {"topic": topic, "reason": reason, "records": count, "problem": problem}
            for topic, reason, count, problem in shown.reasons
        ],
        "days": shown.days,
        "seconds": shown.seconds,
        "addresses": shown.addresses,
    }


async def _stay(servers: Any, stop: asyncio.Event, as_json: bool) -> None:
    if not as_json:
        err.print("The servers run until Ctrl-C.")
    await watch(servers, stop)
