"""`python -m bench.growth`: the command line."""

from __future__ import annotations

import json
import signal
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from types import FrameType
from typing import Annotated

import psycopg
import typer
from rich.console import Console

from bench.errors import BenchError
from bench.growth import docs
from bench.growth.curve import SHAPES, measure
from bench.growth.table import IDS
from bench.results import DIRECTORY, this_machine
from consumer.devstack import EmbeddedError

SIZES = "0,1000000,10000000,30000000"
err = Console(stderr=True, highlight=False)


def main(
    sizes: Annotated[str, typer.Option(help="Rows that are there already, smallest first.")] = SIZES,
    shapes: Annotated[str, typer.Option(help="Which shapes of the table.")] = ",".join(SHAPES),
    ids: Annotated[str, typer.Option(help="Which sorts of ids.")] = ",".join(IDS),
    write_docs: Annotated[bool, typer.Option("--write-docs", help="Write docs/growth.md, its picture too.")] = False,
) -> None:
    """Measure the cost of an event as the table grows. With the defaults it takes 90 minutes and 40 GB of disk."""
    signal.signal(signal.SIGTERM, _end)
    machine = this_machine()
    try:
        rows = [int(size) for size in sizes.split(",")]
        curves = [measure(kind, shape, rows, _report) for shape in shapes.split(",") for kind in ids.split(",")]
    except (BenchError, EmbeddedError, psycopg.Error, OSError) as error:
        err.print(f"bench: {error}", style="bold red", markup=False, soft_wrap=True)
        raise typer.Exit(1) from None
    text = json.dumps({"machine": asdict(machine), "curves": [asdict(curve) for curve in curves]}, indent=1) + "\n"
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    path = DIRECTORY / f"growth-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.json"
    path.write_text(text)
    sys.stdout.write(text)
    if write_docs:
        for written in docs.write(machine, curves):
            _report(f"written: {written}")
    _report(f"results: {path}")


def _report(text: str) -> None:
    err.print(text, style="dim", markup=False)


def _end(number: int, _frame: FrameType | None) -> None:
    """Exit through every context manager at SIGTERM, as at Ctrl-C."""
    raise SystemExit(128 + number)


if __name__ == "__main__":
    typer.run(main)
