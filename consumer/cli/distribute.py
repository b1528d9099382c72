"""`distribute`: spreads the dialogues over a Citus cluster."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from consumer.admin import distribute
from consumer.admin.distribute import Key
from consumer.cli.output import Exit, Json, command, out, print_json, print_table, progress
from consumer.postgres.login import Login
from consumer.settings.loading import load

app = typer.Typer(no_args_is_help=True, help="Distribute ai_dialogue_log over the workers of a Citus cluster.")

KeyOption = Annotated[
    Key | None, typer.Option("--key", help="The column that decides on which worker a row is; by default id.")
]
Shards = Annotated[
    int | None, typer.Option(min=1, max=4096, help="The number of shards; by default two for each worker.")
]


@app.command("plan")
@command
async def plan_command(key: KeyOption = None, shards: Shards = None, as_json: Json = False) -> Exit:
    """Say whether the table can be distributed, why not, and what `apply` would do; exit code 3 if it cannot."""
    found = await distribute.plan(Login(load().postgres), key, shards)
    if as_json:
        print_json(asdict(found))
    else:
        _print_plan(found)
    return Exit.CHECK_FAILED if found.obstacles else Exit.DONE


@app.command("apply")
@command
async def apply_command(key: KeyOption = None, shards: Shards = None, as_json: Json = False) -> None:
    """Distribute the table, empty or filled, in one transaction. Run it again after an interruption."""
    with progress() as bar:
        task = bar.add_task("distribute", total=None)
        applied = await distribute.apply(
            Login(load().postgres), key, shards, lambda name: bar.update(task, description=name)
        )
    if as_json:
        print_json(asdict(applied))
        return
    done = "is distributed" if applied.is_changed else "was distributed already, and nothing was changed"
    out.print(
        f"ai_dialogue_log {done}: {applied.rows:,} rows by {applied.key} over {applied.shards} shards on"
        f" {', '.join(applied.workers)}."
    )
    if applied.steps:
        print_table("Steps", ("step", "seconds"), [(step.name, step.seconds) for step in applied.steps])


def _print_plan(found: distribute.Plan) -> None:
    for obstacle in found.obstacles:
        out.print(f"Obstacle: {obstacle}", markup=False)
    if found.is_distributed:
        out.print(f"ai_dialogue_log is distributed by {found.key} over {found.shards} shards.")
    if found.workers:
        out.print(f"Workers: {', '.join(found.workers)}.")
    if found.steps:
        rows = [(step.name, step.does, f"{step.seconds:.0f} s") for step in found.steps]
        print_table("The steps of `ragledger distribute apply`", ("step", "action", "about"), rows)
