"""`slo`: writes Prometheus rules for the objectives."""

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
from consumer.settings.loading import load

_ADDRESS = re.compile(r"https?://[^\s{}]+/")  # without braces, which begin a template in Prometheus

app = typer.Typer(no_args_is_help=True, help="Write Prometheus rules for the objectives.")


@app.command()
@command
async def rules(
    directory: Annotated[
        Path | None, typer.Argument(help="Prometheus's directory of rules; by default standard output.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit with 3 if the directory does not hold these rules.")
    ] = False,
    skip_refused: Annotated[
        bool, typer.Option("--skip-refused", help="If Prometheus cannot count an objective, judge it by the day only.")
    ] = False,
    runbooks: Annotated[
        str, typer.Option(metavar="URL", help="Address of the published docs/, for links to the runbook.")
    ] = "",
    as_json: Json = False,
) -> Exit:
    """Write recording rules and alerts for the objectives in RAGLEDGER_SLO__FILE, or for the built-in ones.

    Files of removed objectives that this command wrote earlier are removed. Other files are not changed.
    """
    if check and directory is None:
        raise WrongUse("--check needs the directory of the rules")
    if runbooks and not _ADDRESS.fullmatch(runbooks):
        raise WrongUse("--runbooks must be an address that ends with /, such as https://docs.example/ragledger/")
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
    print_table("Objectives", ("name", "objective", "watched"), rows)
    for path in changes.write:
        out.print(f"{'not current' if check else 'written'}: {path}", markup=False, soft_wrap=True)
    for path in changes.remove:
        out.print(f"{'obsolete' if check else 'removed'}: {path}", markup=False, soft_wrap=True)
    if not changes:
        out.print("The rules are current.")


def _watched_as(watch: Watch) -> str:
    if isinstance(watch, Budget):
        return f"over 30 days: {slo_rules.plain(100 * watch.good)} % of the events have to be good"
    if isinstance(watch, Spending):
        return "over the last 24 hours"
    return f"by the day only: {watch.why}"
