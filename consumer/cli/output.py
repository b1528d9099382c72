"""Shared by all commands: running them, printing tables and JSON, and the exit codes."""

from __future__ import annotations

import errno
import json
import sys
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import date, datetime
from decimal import Decimal
from enum import IntEnum
from functools import wraps
from typing import Annotated, Any, ParamSpec

import typer
import uvloop
from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from consumer.errors import OperationError, YamlFileError
from consumer.files import FileError
from consumer.ingest.ports import SourceError, StoreError
from consumer.postgres.admin import DatabaseError
from consumer.settings.sources import SettingsError
from consumer.telemetry import logs
from consumer.text import printable, printable_lines

P = ParamSpec("P")

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

# Errors of writing. With a file they are a FileError, which names it; without one it was standard output.
_WRITING = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EPIPE})
NARROWEST = 12  # columns of the terminal, for text that may be wrapped

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]


class Exit(IntEnum):
    """Exit codes."""

    DONE = 0
    FAILED = 1
    WRONG_USE = 2
    CHECK_FAILED = 3
    STALLED = 4


class WrongUse(Exception):
    """The arguments of the command do not fit together; the message says what does."""


EXPECTED_ERRORS = (
    DatabaseError,
    FileError,
    OperationError,
    OSError,
    SettingsError,
    SourceError,
    StoreError,
    YamlFileError,
)


def command(function: Callable[P, Coroutine[Any, Any, Exit | None]]) -> Callable[P, None]:
    """Run an async command. Print an expected error as one line instead of a traceback."""

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        logs.quiet_libraries()
        try:
            code = uvloop.run(function(*args, **kwargs))
        except WrongUse as error:
            fail(str(error), Exit.WRONG_USE)
        except EXPECTED_ERRORS as error:
            fail(_message(error))
        except ExceptionGroup as group:
            _, others = group.split(EXPECTED_ERRORS)
            if others is not None:
                raise
            fail("; ".join(sorted(_messages(group))))
        else:
            raise typer.Exit(code or Exit.DONE)

    return run


def _messages(error: Exception) -> set[str]:
    if isinstance(error, ExceptionGroup):
        return set().union(*map(_messages, error.exceptions))
    return {_message(error)}


def _message(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno in _WRITING and error.filename is None:
        return f"standard output cannot be written: {error.strerror}"
    return str(error) or type(error).__name__


def fail(message: str, code: Exit = Exit.FAILED) -> None:
    """Print the message to standard error and exit with the code."""
    err.print(f"ragledger: {printable_lines(message)}", style="bold red", soft_wrap=True, markup=False)
    raise typer.Exit(code)


def print_json(value: Any) -> None:
    """Print one JSON document to standard output."""
    sys.stdout.write(json.dumps(value, default=plain, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def plain(value: Any) -> Any:
    """A value that JSON does not know, for `json.dumps`."""
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return float(value)
    return str(value)


def print_table(
    title: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[Any]],
    empty: str = "none",
    *,
    unbroken: str | None = None,
) -> None:
    """Print a table with numbers to the right; the column `unbroken` is never wrapped, so that it can be copied."""
    rows = list(rows)
    out.print()
    if not rows:
        out.print(f"[bold]{title}[/bold]: {empty}")
        return
    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        show_header=any(columns),
        padding=(0, 1, 0, 0),
        show_edge=False,
        pad_edge=False,
    )
    cells = [[escape(show(value)) for value in row] for row in rows]
    width = 2 * (len(columns) - 1)  # a space and the padding between columns
    for index, column in enumerate(columns):
        numeric = all(isinstance(row[index], int | float | Decimal | None) for row in rows)
        whole = numeric or column == unbroken
        table.add_column(column, justify="right" if numeric else "left", overflow="fold", no_wrap=whole)
        widest = max(cell_len(text) for text in (column, *(row[index] for row in cells)))
        width += widest if whole else min(widest, NARROWEST)
    for row in cells:
        table.add_row(*row)
    if width > out.width:  # rich would leave out columns
        table.width = width
    out.print(table, crop=False)


def show(value: Any) -> str:
    """Format a value for a table."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    if isinstance(value, float):
        return f"{value:,.2f}".removesuffix(".00")
    if isinstance(value, int | Decimal):
        return f"{value:,}"
    return printable(str(value))


def print_mapping(title: str, values: Mapping[str, Any]) -> None:
    """Print a table of names and values."""
    print_table(title, ("", ""), [(name, show(value)) for name, value in values.items()])


def progress() -> AbstractContextManager[Progress]:
    """Return a progress bar on standard error; it is hidden if that is not a terminal."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=err,
        disable=not err.is_terminal,
    )
