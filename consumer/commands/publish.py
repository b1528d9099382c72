"""`publish`."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from consumer.adapters.kafka_tools import publish as publish_messages
from consumer.commands.output import Exit, Json, WrongUse, command, err, out, print_json, progress
from consumer.operations.publish import BadLine, Line, lines, messages, sort_out
from consumer.parts import kinds_by_topic
from consumer.ports import SourceError
from consumer.settings import Settings, load

MOST_SHOWN = 20


def publish(
    file: Annotated[str, typer.Argument(help="JSON lines, one event a line; - reads standard input.")],
    topic: Annotated[str, typer.Option("--topic", help="One of the topics of the settings.")],
    skip_invalid: Annotated[bool, typer.Option(help="Publish the lines that are right and leave the others.")] = False,
    as_json: Json = False,
) -> None:
    """Validate JSON lines and publish them; nothing is published unless every line is right."""
    _publish(file, topic, skip_invalid, as_json)


@command
async def _publish(file: str, topic: str, skip_invalid: bool, as_json: bool) -> Exit:
    settings = load()
    kinds = kinds_by_topic(settings.topics)
    if topic not in kinds:
        raise WrongUse(f"--topic {topic}: the settings know {', '.join(sorted(kinds))}")
    good, bad = sort_out(
        kinds[topic],
        topic,
        _read(file),
        now_ms=int(time.time() * 1000),
        max_record_bytes=settings.batch.max_record_bytes,
    )
    if not as_json:
        _name(bad)
    refused = bool(bad) and not skip_invalid
    published = 0 if refused else await _send(settings, topic, good)
    if as_json:
        problems = [{"line": line.number, "problem": line.problem} for line in bad]
        print_json({"published": published, "invalid": problems})
    elif refused:
        err.print(f"Nothing was published: {len(bad)} of {len(good) + len(bad)} lines are wrong (see --skip-invalid).")
    else:
        out.print(f"Published {published:,} records to {topic}.")
    return Exit.FAILED if refused else Exit.DONE


def _read(file: str) -> list[Line]:
    if file == "-":
        return list(lines(sys.stdin.buffer))
    with Path(file).open("rb") as content:
        return list(lines(content))


def _name(bad: Sequence[BadLine]) -> None:
    for line in bad[:MOST_SHOWN]:
        err.print(f"line {line.number}: {line.problem}", markup=False, soft_wrap=True)
    if len(bad) > MOST_SHOWN:
        err.print(f"… and {len(bad) - MOST_SHOWN} lines more")


async def _send(settings: Settings, topic: str, good: Sequence[Line]) -> int:
    acknowledged = 0
    with progress() as bar:
        task = bar.add_task("publishing", total=len(good))

        def sent() -> None:
            nonlocal acknowledged
            acknowledged += 1
            bar.advance(task)

        try:
            return await publish_messages(settings.kafka, messages(topic, good), sent)
        except SourceError as error:
            if not acknowledged:
                raise
            known = f"{acknowledged:,} of {len(good):,} records are known to be in {topic}"
            raise SourceError(
                f"{error}. {known}; published again, those without an id of their own count twice"
            ) from error
