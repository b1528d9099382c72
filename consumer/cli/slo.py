"""`slo`: the objectives, for Prometheus."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from consumer.admin import slo_rules
from consumer.admin.slo_rules import Budget, Changes, DayOnly, Spending, Watch
from consumer.cli.output import Exit, Json, WrongUse, command, out, print_json, print_table
from consumer.ingest import slo
from consumer.settings.model import load

_ADDRESS = re.compile(r"https?://[^\s{}]+/")  # braces would be a template of Prometheus

app = typer.Typer(no_args_is_help=True, help="The objectives, for Prometheus.")


@app.command()
def rules(
    directory: Annotated[
        Path | None, typer.Argument(help="Where Prometheus looks for rules; standard output when left out.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit with 3 unless the directory holds these rules.")
    ] = False,
    skip_refused: Annotated[
        bool, typer.Option("--skip-refused", help="Judge by the day only what Prometheus cannot count.")
    ] = False,
    runbooks: Annotated[
        str, typer.Option(metavar="URL", help="Where docs/ is published; links to the runbook begin with it.")
    ] = "",
    as_json: Json = False,
) -> None:
    """Write the recording rules and alerts of the objectives in RAGLEDGER_SLO__FILE, or of the built-in ones.

    In the directory, files that it wrote earlier, of objectives that are no more, are removed. No other is touched.
    """
    _rules(directory, check, skip_refused, runbooks, as_json)


@command
async def _rules(directory: Path | None, check: bool, skip_refused: bool, runbooks: str, as_json: bool) -> Exit:
    if check and directory is None:
        raise WrongUse("--check needs the directory that has to hold these rules")
    if runbooks and not _ADDRESS.fullmatch(runbooks):
        raise WrongUse("--runbooks has to be an address that ends in /, such as https://docs.example/ragledger/")
    watches = slo_rules.watch_all(slo.load(load().slo.file), skip_refused=skip_refused)
    if directory is not None:
        changes = slo_rules.changes(directory, slo_rules.files(watches, runbooks))
        return _follow(changes, watches, check, as_json)
    if as_json:
        print_json({"objectives": list(map(_objective_json, watches))})
    else:
        sys.stdout.write(slo_rules.document(watches, runbooks))
        sys.stdout.flush()
    return Exit.DONE


def _follow(changes: Changes, watches: Sequence[Watch], check: bool, as_json: bool) -> Exit:
    if not check:
        slo_rules.apply(changes)
    if as_json:
        print_json(_as_json(watches, changes))
    else:
        _print(watches, changes, check)
    return Exit.CHECK_FAILED if check and changes else Exit.DONE


def _as_json(watches: Sequence[Watch], changes: Changes) -> dict[str, Any]:
    return {
        "objectives": list(map(_objective_json, watches)),
        "current": not changes,
        "written": list(map(str, changes.write)),
        "removed": list(map(str, changes.remove)),
    }


def _objective_json(watch: Watch) -> dict[str, Any]:
    return watch.objective.model_dump() | {
        "watched_as": {Budget: "error_budget", Spending: "spending", DayOnly: "day_only"}[type(watch)],
        "good_percent": 100 * watch.good if isinstance(watch, Budget) else None,
        "alert": None if isinstance(watch, DayOnly) else watch.alert,
        "why": watch.why if isinstance(watch, DayOnly) else None,
        "file": None if isinstance(watch, DayOnly) else slo_rules.file_name(watch.objective),
    }


def _print(watches: Sequence[Watch], changes: Changes, check: bool) -> None:
    rows = [(watch.objective.name, slo_rules.condition(watch.objective), _watched_as(watch)) for watch in watches]
    print_table("Objectives", ("name", "asks for", "watched"), rows)
    for path in changes.write:
        out.print(f"{'not current' if check else 'written'}: {path}", markup=False, soft_wrap=True)
    for path in changes.remove:
        out.print(f"{'not wanted' if check else 'removed'}: {path}", markup=False, soft_wrap=True)
    if not changes:
        out.print("The rules are current.")


def _watched_as(watch: Watch) -> str:
    if isinstance(watch, Budget):
        return f"over 30 days: {slo_rules.plain(100 * watch.good)} % of the events have to be good"
    if isinstance(watch, Spending):
        return "over the last 24 hours"
    return f"by the day only: {watch.why}"
