"""`python -m bench`: the command line."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from types import FrameType
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bench import dataset, docs, report, results, topics
from bench.errors import BenchError
from bench.ragledger import Ragledger, topic_names
from bench.rounds import Contestant, Suite, copies, run_rounds
from bench.servers import Servers, started_servers
from consumer.embedded import EmbeddedError

PROVENANCE_SHARE = 0.1
QUICK_EVENTS, QUICK_ROUNDS = 40_000, 3
IDLE_STARTS = 3
err = Console(stderr=True, highlight=False)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do."""

    events: int
    rounds: int
    seed: int
    with_peers: bool


def main(
    events: Annotated[int, typer.Option(min=1000, max=5_000_000, help="How many events.")] = 200_000,
    rounds: Annotated[int, typer.Option(min=1, max=50, help="How often everybody is measured.")] = 5,
    quick: Annotated[
        bool, typer.Option("--quick", help=f"{QUICK_EVENTS:,} events, {QUICK_ROUNDS} rounds: about a minute.")
    ] = False,
    peers: Annotated[bool, typer.Option("--peers", help="Then measure the peers too, on the dialogues.")] = False,
    seed: Annotated[int, typer.Option(help="The same seed makes the same events.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
    write_docs: Annotated[
        bool, typer.Option("--write-docs", help="Write docs/performance.md and its picture.")
    ] = False,
) -> None:
    """Time raw COPY and ragledger on the same rows, side by side, over several rounds."""
    plan = Plan(QUICK_EVENTS if quick else events, QUICK_ROUNDS if quick else rounds, seed, peers)
    signal.signal(signal.SIGTERM, _end)
    try:
        found = run(plan)
    except (BenchError, EmbeddedError, OSError) as error:
        err.print(f"bench: {error}", style="bold red", markup=False, soft_wrap=True)
        raise typer.Exit(1) from error
    _hand_over(found, as_json, write_docs)


def _end(number: int, _frame: FrameType | None) -> None:
    """SIGTERM leaves through every context manager, as Ctrl-C does."""
    raise SystemExit(128 + number)


def _hand_over(found: results.Results, as_json: bool, write_docs: bool) -> None:
    path = results.save(found)
    if as_json:
        sys.stdout.write(json.dumps(results.to_json(found), ensure_ascii=False) + "\n")
    else:
        report.show(found, Console(highlight=False))
    if write_docs:
        for written in docs.write(found):
            err.print(f"written: {written}", markup=False)
    err.print(f"results: {path}", markup=False, soft_wrap=True)


def run(plan: Plan) -> results.Results:
    """The whole of it.

    :raises BenchError: something is not as it must be
    :raises EmbeddedError: a server does not start
    """
    machine, taken_at = results.this_machine(), datetime.now(UTC)
    with started_servers(_tell) as servers:
        topics.create(servers.kafka.bootstrap_servers, topic_names())
        rows = _publish(servers, plan)
        ours = Ragledger(servers, rows)
        suites = [_measure("all", plan, rows, [*copies(servers, rows), ours])]
        if plan.with_peers:
            raise BenchError("peers: not yet")
        settings = results.settings(plan.rounds, plan.seed)
        return results.Results(taken_at, machine, results.versions(servers), settings, suites, ours.idle)


def _publish(servers: Servers, plan: Plan) -> list[dataset.Rows]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, disable=not err.is_terminal) as bar:
        task = bar.add_task("events", total=plan.events)
        return dataset.publish(servers, plan.events, PROVENANCE_SHARE, plan.seed, lambda: bar.advance(task))


def _measure(key: str, plan: Plan, rows: Sequence[dataset.Rows], contestants: Sequence[Contestant]) -> Suite:
    for contestant in contestants:
        _tell(f"preparing {contestant.name}")
        contestant.prepare(IDLE_STARTS)
    return Suite(key, rows, [one.name for one in contestants], run_rounds(contestants, plan.rounds, _tell))


def _tell(text: str) -> None:
    err.print(text, style="dim", markup=False)


if __name__ == "__main__":
    typer.run(main)
