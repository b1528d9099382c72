"""`python -m bench`: the command line."""

from __future__ import annotations

import json
import signal
import sys
from types import FrameType
from typing import Annotated

import psycopg
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bench import docs, report, results
from bench.errors import BenchError
from bench.run import Plan, run
from consumer.devstack import EmbeddedError

QUICK_EVENTS, QUICK_ROUNDS = 50_000, 3
err = Console(stderr=True, highlight=False)


def main(
    events: Annotated[int, typer.Option(min=10_000, max=5_000_000, help="Number of events of the mixture.")] = 400_000,
    rounds: Annotated[int, typer.Option(min=1, max=50, help="Rounds; each measures every contestant.")] = 5,
    quick: Annotated[
        bool, typer.Option("--quick", help=f"{QUICK_EVENTS:,} events, {QUICK_ROUNDS} rounds; takes some minutes.")
    ] = False,
    with_peers: Annotated[bool, typer.Option("--peers", help="Also measure the peers, on dialogues.")] = False,
    backlog: Annotated[
        int, typer.Option(min=0, help="Also measure memory with this many waiting events; 0 skips it.")
    ] = 0,
    seed: Annotated[int, typer.Option(help="The same seed makes the same events.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
    write_docs: Annotated[bool, typer.Option("--write-docs", help="Write docs/performance.md and pictures.")] = False,
) -> None:
    """Time raw COPY and ragledger on the same rows, side by side, over several rounds."""
    signal.signal(signal.SIGTERM, _end)
    size = (QUICK_EVENTS, QUICK_ROUNDS) if quick else (events, rounds)
    try:
        found = _run(*size, seed, with_peers, backlog)
    except (BenchError, EmbeddedError, psycopg.Error, OSError) as error:
        err.print(f"bench: {error}", style="bold red", markup=False, soft_wrap=True)
        raise typer.Exit(1) from None
    _hand_over(found, as_json, write_docs)


def _end(number: int, _frame: FrameType | None) -> None:
    """Exit through every context manager at SIGTERM, as at Ctrl-C."""
    raise SystemExit(128 + number)


def _run(events: int, rounds: int, seed: int, with_peers: bool, backlog: int) -> results.Results:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, disable=not err.is_terminal) as bar:
        publishing = bar.add_task("events published", total=max(events, backlog))
        return run(Plan(events, rounds, seed, with_peers, backlog, _log, lambda: bar.advance(publishing)))


def _log(text: str) -> None:
    err.print(text, style="dim", markup=False)


def _hand_over(found: results.Results, as_json: bool, write_docs: bool) -> None:
    path = results.save(found)
    if as_json:
        sys.stdout.write(json.dumps(results.to_json(found), ensure_ascii=False) + "\n")
    else:
        report.show(found, Console(highlight=False))
    if write_docs:
        for written in docs.write(found):
            _log(f"written: {written}")
    _log(f"results: {path}")


if __name__ == "__main__":
    typer.run(main)
