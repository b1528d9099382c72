"""`migrate`: changes and checks the schema."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from typing import Annotated, Any

import typer

from consumer.admin import migrate
from consumer.cli.output import Exit, Json, command, err, out, print_json, print_table, progress
from consumer.ingest.erased import erasure_keys
from consumer.postgres.login import Login
from consumer.settings.loading import load
from consumer.text import printable_lines

app = typer.Typer(no_args_is_help=True, help="The database schema: the files under schema/, recorded with checksums.")


def _login() -> Login:
    return Login(load().postgres)


@app.command()
@command
async def up(
    to: Annotated[int | None, typer.Option(help="The last version to apply; by default all.")] = None,
    as_json: Json = False,
) -> None:
    """Apply all pending migrations."""
    await _steps(lambda on_progress: migrate.up(_login(), to=to, progress=on_progress), as_json)


@app.command()
@command
async def down(
    to: Annotated[int, typer.Option(help="The version that stays; 0 rolls everything back. Deletes data.")],
    delete_data: Annotated[
        bool, typer.Option("--delete-data", help="Also delete data that no topic contains, such as erased users.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Roll back every version above --to. This deletes data: make a backup first."""
    await _steps(
        lambda on_progress: migrate.down(_login(), to=to, delete_data=delete_data, progress=on_progress), as_json
    )


@app.command()
@command
async def status(as_json: Json = False) -> None:
    """Show the state of every version."""
    found = await migrate.status(_login())
    if as_json:
        print_json({"current": found.is_current, "migrations": [asdict(one) for one in found.migrations]})
        return
    rows = [(one.version, one.name, one.state.value, one.reason) for one in found.migrations]
    print_table("Schema", ("version", "migration", "state", "reason"), rows)


@app.command()
@command
async def plan(
    to: Annotated[int | None, typer.Option(help="The last version to apply; by default all.")] = None,
    as_json: Json = False,
) -> None:
    """Show the SQL that `up` would run."""
    planned = await migrate.plan(_login(), to=to)
    if as_json:
        print_json([asdict(one) for one in planned])
        return
    if not planned:
        out.print("Nothing to do: all migrations are applied.")
    for one in planned:
        out.print(f"\n[bold]-- {one.name}[/bold]" + (f" (skipped: {one.skipped})" if one.skipped else ""))
        out.print(";\n\n".join(one.statements), markup=False)


@app.command()
@command
async def verify(as_json: Json = False) -> Exit:
    """Check that the schema is complete: tables, columns, indexes, enums, triggers, comments; exit code 3 if not."""
    settings = load()
    checks: Sequence[Any] = await migrate.verify(Login(settings.postgres), erasure_keys(settings.erasure))
    wrong = [check for check in checks if not check.ok]
    if as_json:
        print_json({"ok": not wrong, "checks": [asdict(check) for check in checks]})
    else:
        rows = [("ok" if check.ok else "WRONG", check.name, check.detail) for check in checks]
        print_table("Schema", ("", "check", "found"), rows)
    return Exit.CHECK_FAILED if wrong else Exit.DONE


async def _steps(
    work: Callable[[Callable[[str, int, int], None]], Awaitable[Sequence[migrate.Step]]], as_json: bool
) -> None:
    with progress() as bar:
        task = bar.add_task("schema", total=None)

        def on_progress(name: str, place: int, steps: int) -> None:
            bar.update(task, description=name, completed=place - 1, total=steps)

        steps = await work(on_progress)
    if as_json:
        print_json([asdict(step) for step in steps])
        return
    rows = [(step.name, step.action, step.reason, step.execution_ms) for step in steps]
    print_table(
        "Schema", ("migration", "action", "reason", "ms"), rows, empty="nothing to do, all migrations are applied"
    )
    for step in steps:
        for warning in step.warnings:
            err.print(f"{step.name}: {printable_lines(warning)}", style="yellow", markup=False, soft_wrap=True)
