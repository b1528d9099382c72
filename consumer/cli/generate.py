"""`generate`: writes realistic events to a file, to standard output or to Kafka."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from consumer import files
from consumer.cli.output import Exit, Json, WrongUse, command, err, out, print_json, progress
from consumer.cli.signals import stop_on_signals
from consumer.generator.events import ALL, SHARES, START, STEP, Event, events
from consumer.generator.shapes import SHAPES

STANDARD_OUTPUT = Path("/dev/stdout")
LEAVE_SECONDS = 20.0
_EVENTS_A_TURN = 50  # events after which the event loop runs other tasks, if there is no other pause

# A generator of other records, such as traces, adds its kind here and in Order.events.
KINDS = (*SHARES, ALL)


@dataclass
class Progress:
    """What has been generated so far."""

    events: int = 0
    size: int = 0
    is_interrupted: bool = False

    def add(self, event: Event) -> None:
        """Count one event."""
        self.events += 1
        self.size += len(event.value)


@dataclass(frozen=True)
class Order:
    """What to generate. `rate` is in events a second; 0 means no limit for `count` and `rate`."""

    kind: str
    count: int
    rate: float
    seed: int
    shape: str | None
    start: datetime

    def events(self) -> Iterator[Event]:
        """Yield the events. They depend only on the order."""
        step = timedelta(seconds=1 / self.rate) if self.rate else STEP
        count = self.count or 2**63
        return events(count, self.seed, self.kind, self.shape, start=self.start, step=step)


def generate(
    kind: Annotated[str, typer.Option(help=f"One of {', '.join(KINDS)}.")] = "dialogue",
    count: Annotated[int, typer.Option(min=0, help="Number of events; 0 means until Ctrl-C.")] = 1000,
    rate: Annotated[float, typer.Option(min=0, help="Events a second; 0 means as fast as possible.")] = 0,
    seed: Annotated[int, typer.Option(help="The same seed gives the same events.")] = 1,
    shape: Annotated[
        str | None, typer.Option(help=f"Only this shape instead of the mixture: {', '.join(SHAPES)}.")
    ] = None,
    start: Annotated[str, typer.Option(help="Time of the first event: RFC 3339, or `now`.")] = START.isoformat(),
    output: Annotated[
        str, typer.Option("--output", "-o", help="A file with one event in each line; - is standard output.")
    ] = "-",
    topic: Annotated[str, typer.Option(help="Publish to this topic of Kafka.")] = "",
    publish: Annotated[bool, typer.Option("--publish", help="Publish to the topics of the settings.")] = False,
    as_json: Json = False,
) -> None:
    """Generate realistic events, in any number and at any rate. The same seed gives the same events."""
    order = Order(kind, count, rate, seed, shape, _moment(start))
    _check(order, output, topic, publish, as_json)
    if topic or publish:
        _publish(order, topic, as_json)
    else:
        _write(order, STANDARD_OUTPUT if output == "-" else Path(output), as_json)


def _moment(text: str) -> datetime:
    if text == "now":
        return datetime.now(UTC)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter("must be an RFC 3339 date-time such as 2026-01-31T09:30:00Z, or now") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)


def _check(order: Order, output: str, topic: str, publish: bool, as_json: bool) -> None:
    if order.kind not in KINDS:
        raise typer.BadParameter(f"--kind must be one of {', '.join(KINDS)}")
    if order.shape is not None and order.shape not in SHAPES:
        raise typer.BadParameter(f"--shape must be one of {', '.join(SHAPES)}")
    if (output != "-") + bool(topic) + publish > 1:
        raise typer.BadParameter("choose one of --output, --topic and --publish")
    if order.kind == ALL and not publish:
        raise typer.BadParameter("--kind all needs --publish: a file and a topic hold events of one kind")
    if as_json and output == "-" and not topic and not publish:
        raise typer.BadParameter("--json needs --output, --topic or --publish: standard output holds the events")


@command
async def _write(order: Order, path: Path, as_json: bool) -> Exit:
    began, done = time.monotonic(), Progress()
    stop = stop_on_signals(LEAVE_SECONDS)
    is_file = path != STANDARD_OUTPUT
    try:
        with files.written_or_streamed(path) as output, progress() as bar:
            task = bar.add_task("events", total=order.count or None)
            async for event in _paced(order, stop, done, lambda: bar.advance(task)):
                output.write(event.value + b"\n")
                if order.rate and not is_file:
                    output.flush()
            if is_file:
                _demand_whole(order, done)
    except _Unfinished:
        err.print(f"Interrupted after {done.events:,} events: {path} was not written.", markup=False, soft_wrap=True)
        return Exit.FAILED
    return _report(order, done, time.monotonic() - began, as_json, quiet=not is_file)


class _Unfinished(Exception):
    """The file is not complete, so it does not get its name."""


def _demand_whole(order: Order, done: Progress) -> None:
    if done.is_interrupted and order.count:
        raise _Unfinished


@command
async def _publish(order: Order, topic: str, as_json: bool) -> Exit:
    from consumer.kafka.tools import Message, publish
    from consumer.settings.loading import load

    settings, began, done = load(), time.monotonic(), Progress()
    purpose = next((purpose for purpose, name in settings.topics.named.items() if name == topic), order.kind)
    if purpose != order.kind:
        raise WrongUse(f"--topic {topic} is the topic of {purpose} in the settings: {order.kind} would be dead letters")
    stop = stop_on_signals(LEAVE_SECONDS)
    with progress() as bar:
        task = bar.add_task("events", total=order.count or None)

        async def messages() -> AsyncIterator[Message]:
            async for event in _paced(order, stop, done, lambda: None):
                yield Message(topic or getattr(settings.topics, event.kind), event.value)

        await publish(settings.kafka, messages(), lambda _: bar.advance(task))
    return _report(order, done, time.monotonic() - began, as_json)


async def _paced(order: Order, stop: asyncio.Event, done: Progress, tick: Callable[[], None]) -> AsyncIterator[Event]:
    """Yield each event at its time: the nth is due n / rate seconds after the first. Stop early if `stop` is set."""
    began = time.monotonic()
    for place, event in enumerate(order.events()):
        wait = began + place / order.rate - time.monotonic() if order.rate else 0.0
        if wait > 0:
            await _wait(stop, wait)
        elif place % _EVENTS_A_TURN == 0:
            await asyncio.sleep(0)
        if stop.is_set():
            done.is_interrupted = True
            return
        done.add(event)
        tick()
        yield event


async def _wait(stop: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return


def _report(order: Order, done: Progress, seconds: float, as_json: bool, *, quiet: bool = False) -> Exit:
    """Print the result. An interruption is a failure unless the number of events has no limit."""
    if as_json:
        print_json({"events": done.events, "bytes": done.size, "seconds": round(seconds, 3)})
    elif not quiet:
        out.print(f"{done.events:,} events, {done.size:,} bytes, in {seconds:.1f} s.")
    if done.is_interrupted and order.count:
        err.print(f"Interrupted after {done.events:,} of {order.count:,} events.")
        return Exit.FAILED
    return Exit.DONE
