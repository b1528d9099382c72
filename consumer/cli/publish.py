"""`publish`."""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import typer

from consumer.admin.publish import Acknowledged, BadLine, Validation
from consumer.cli.output import Exit, Json, WrongUse, command, err, out, print_json, progress
from consumer.cli.signals import stop_on_signals
from consumer.errors import OperationError
from consumer.ingest.kinds import kinds_of
from consumer.ingest.ports import SourceError
from consumer.kafka.tools import Message
from consumer.kafka.tools import publish as publish_messages
from consumer.settings.loading import load
from consumer.settings.servers import Kafka
from consumer.text import printable

MOST_SHOWN = 20
MOST_KEPT = 10_000
STOP_SECONDS = 10.0
LEAVE_SECONDS = 20.0


@dataclass
class Checked:
    """The result of validating a file once, up to the position `end`."""

    good: int = 0
    bad: int = 0
    named: Sequence[BadLine] = ()
    end: int = 0


@command
async def publish(
    file: Annotated[str, typer.Argument(help="JSON lines, one event in each line; - reads standard input.")],
    topic: Annotated[str, typer.Option("--topic", help="One of the topics in the settings.")],
    skip_invalid: Annotated[bool, typer.Option(help="Publish the valid lines and skip the others.")] = False,
    as_json: Json = False,
) -> Exit:
    """Validate JSON lines and publish them. If a line is invalid, nothing is published."""
    settings = load()
    kinds = kinds_of(settings)
    if topic not in kinds:
        raise WrongUse(f"--topic {topic} is not in the settings, which name {', '.join(sorted(kinds))}")
    limit = settings.batch.max_record_bytes
    validation = Validation(kinds[topic], topic, now_ms=int(time.time() * 1000), max_record_bytes=limit)
    stop = stop_on_signals(LEAVE_SECONDS)
    content, checked = await _unless(stop, lambda: _check(file, validation))
    if not as_json:
        _print_invalid(checked)
    refused = bool(checked.bad) and not skip_invalid
    acknowledged = Acknowledged()
    with content:
        if not refused:
            await _send(settings.kafka, topic, _good(validation, content, checked), checked.good, acknowledged, stop)
    return _report(file, topic, checked, acknowledged, refused, as_json)


def _check(file: str, validation: Validation) -> tuple[BinaryIO, Checked]:
    content = _copy(sys.stdin.buffer) if file == "-" else _opened(Path(file))
    checked, named = Checked(), list[BadLine]()
    for good, bad in validation.chunks(content):
        checked.good += len(good)
        checked.bad += len(bad)
        named += bad[: MOST_KEPT - len(named)]
    checked.named, checked.end = named, content.tell()
    return content, checked


def _opened(path: Path) -> BinaryIO:
    """Open a file to be read twice; copy a pipe into a file first."""
    content = path.open("rb")
    if stat.S_ISREG(os.fstat(content.fileno()).st_mode):
        return content
    with content:
        return _copy(content)


def _copy(content: BinaryIO) -> BinaryIO:
    """Copy to a file that no other user can open and that is removed with this process."""
    try:
        kept = tempfile.TemporaryFile(prefix="ragledger-")  # noqa: SIM115 - it is read until we end
        shutil.copyfileobj(content, kept)
        kept.flush()
    except OSError as error:
        place = tempfile.gettempdir()
        problem = f"the input cannot be stored in {place} for validation ({error.strerror})"
        raise OperationError(f"{problem}: name a directory with more room in TMPDIR. Nothing was published.") from None
    return kept


async def _unless(stop: asyncio.Event, work: Any) -> Any:
    """Run the work in a thread. Exit if a signal comes first, because the thread may wait for input for ever."""
    working, stopping = asyncio.create_task(asyncio.to_thread(work)), asyncio.create_task(stop.wait())
    await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if working.done():
        stopping.cancel()
        return working.result()
    err.print("Interrupted: nothing was published.")
    os._exit(Exit.FAILED)


def _print_invalid(checked: Checked) -> None:
    for line in checked.named[:MOST_SHOWN]:
        err.print(f"line {line.number}: {printable(line.problem)}", markup=False, soft_wrap=True)
    if checked.bad > MOST_SHOWN:
        err.print(f"… and {checked.bad - MOST_SHOWN} more lines")


def _good(validation: Validation, content: BinaryIO, checked: Checked) -> Iterator[Any]:
    """Yield the valid lines. They are validated again, because the file may have changed since."""
    return (line for good, _ in validation.chunks(content, checked.end) for line in good)


async def _send(
    settings: Kafka, topic: str, good: Iterator[Any], total: int, acknowledged: Acknowledged, stop: asyncio.Event
) -> None:
    """Publish until all lines are sent or a signal comes."""
    with progress() as bar:
        task = bar.add_task("publishing", total=total)

        def messages() -> Iterator[Message]:
            for line in good:
                if stop.is_set():
                    return
                acknowledged.sending(line.number)
                yield Message(topic, line.value)

        def settle(message: int) -> None:
            acknowledged.settle(message)
            bar.advance(task)

        sending = asyncio.create_task(publish_messages(settings, messages(), settle))
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({sending, stopping}, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait({sending}, timeout=STOP_SECONDS)
        stopping.cancel()
    try:
        await _end(sending)
    except SourceError as error:
        if not acknowledged.count:
            raise
        raise SourceError(f"{error}. {_known(topic, acknowledged, total)}") from error


async def _end(sending: asyncio.Task[int]) -> None:
    """Raise the error of the task, if it has one; if it still runs, cancel it and do not wait long."""
    if sending.done():
        sending.result()
        return
    sending.cancel()
    with suppress(TimeoutError):
        await asyncio.wait({sending}, timeout=1.0)


def _known(topic: str, acknowledged: Acknowledged, total: int) -> str:
    doubt = f", of which {acknowledged.in_doubt:,} may be there already" if acknowledged.in_doubt else ""
    return (
        f"{acknowledged.count:,} of {total:,} records are known to be in {topic}, among them every line before"
        f" {acknowledged.next_line}. Continue from line {acknowledged.next_line} (`tail -n"
        f" +{acknowledged.next_line}`){doubt}; a republished record without an id of its own is stored as a second row"
    )


def _report(file: str, topic: str, checked: Checked, acknowledged: Acknowledged, refused: bool, as_json: bool) -> Exit:
    is_whole = refused or acknowledged.count == checked.good
    if as_json:
        _report_json(checked, acknowledged, is_whole)
    elif refused:
        total = checked.good + checked.bad
        err.print(f"Nothing was published: {checked.bad} of {total} lines are invalid (see --skip-invalid).")
    elif is_whole:
        out.print(f"Published {acknowledged.count:,} records to {topic}.")
    if not is_whole:
        said = f"{file} was not published completely. {_known(topic, acknowledged, checked.good)}."
        err.print(printable(said), markup=False, soft_wrap=True)
    return Exit.DONE if is_whole and not refused else Exit.FAILED


def _report_json(checked: Checked, acknowledged: Acknowledged, is_whole: bool) -> None:
    problems = [{"line": line.number, "problem": line.problem} for line in checked.named]
    more = {"more_invalid": checked.bad - len(problems)} if checked.bad > len(problems) else {}
    rest = {} if is_whole else {"next_line": acknowledged.next_line, "in_doubt": acknowledged.in_doubt}
    print_json({"published": acknowledged.count, "invalid": problems, **more, **rest})
