"""`doctor`."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from consumer.admin.doctor import Report, Severity, examine
from consumer.admin.doctor.bundle import gather
from consumer.admin.doctor.log_lines import LogLines, last_lines
from consumer.cli.database import opened_database
from consumer.cli.output import Exit, Json, WrongUse, command, err, out, plain, print_json, print_table, progress
from consumer.files import demand_plain, write
from consumer.settings.loading import load
from consumer.settings.model import Settings

LABELS = {Severity.ERROR: "MUST", Severity.WARNING: "should", Severity.NOTE: "note", Severity.OK: "ok"}
LOG_BYTES = 8_388_608
"""Number of bytes that are read from the end of a log."""


@command
async def doctor(
    bundle: Annotated[
        Path | None,
        typer.Option(
            help="Also write a file for a maintainer, with the facts of this installation but no secrets and no events."
        ),
    ] = None,
    log: Annotated[
        Path | None, typer.Option(help="The service's log, for the bundle; - is standard input.", allow_dash=True)
    ] = None,
    as_json: Json = False,
) -> Exit:
    """Check Kafka, PostgreSQL, the schema, the role, the settings and the ledger, and say what to do.

    Changes nothing. Exit code 3 if something must be fixed.
    """
    if log is not None and bundle is None:
        raise WrongUse("--log needs --bundle, which names the file of the bundle")
    settings = load()
    if bundle is not None:
        demand_plain(bundle)
    lines = None if log is None else _read_log(log)
    with progress() as bar:
        task = bar.add_task("checking", total=None)
        found = await examine(settings, lambda name: bar.update(task, description=name))
    if bundle is not None:
        await _write_bundle(bundle, settings, found, lines)
    if as_json:
        print_json({"ok": found.holds, "findings": [asdict(finding) for finding in found.findings]})
    else:
        print_report(found)
    return Exit.DONE if found.holds else Exit.CHECK_FAILED


async def _write_bundle(file: Path, settings: Settings, found: Report, log: LogLines | None) -> None:
    async with opened_database(settings) as database:
        document = await gather(settings, database, found, log)
    write(file, json.dumps(document, default=plain, ensure_ascii=False, indent=2) + "\n")
    err.print(f"{file}: written. Read it before you send it.", markup=False, soft_wrap=True)


def _read_log(log: Path) -> LogLines:
    with _opened(log) as lines:
        return last_lines(lines)


@contextmanager
def _opened(log: Path) -> Iterator[BinaryIO]:
    if str(log) == "-":
        yield sys.stdin.buffer
        return
    with log.open("rb") as file:
        if file.seekable():
            file.seek(max(0, file.seek(0, os.SEEK_END) - LOG_BYTES))
        yield file


def print_report(found: Report) -> None:
    """Print the findings as a table, worst first; then each fix on one line, ready to copy."""
    print_table(
        "Doctor", ("", "check", "found"), [(LABELS[one.severity], one.check, one.found) for one in found.findings]
    )
    for one in found.findings:
        if one.fix:
            out.print(f"{LABELS[one.severity]:>6}  {one.check}: {one.fix}", markup=False, soft_wrap=True)
    todo = sum(one.severity is Severity.ERROR for one in found.findings)
    out.print(f"\n{todo} findings must be fixed." if todo else "\nNothing must be fixed.")
