"""The command line."""

from __future__ import annotations

from typing import Annotated, ClassVar

import typer

from consumer import __version__
from consumer.commands.lazy import LazyGroup


class Commands(LazyGroup):
    """Every command, in the order in which they are listed."""

    places: ClassVar = {
        "run": "consumer.commands.service:run",
        "demo": "consumer.commands.demo:demo",
        "stack": "consumer.commands.stack:stack",
        "migrate": "consumer.commands.migrate:app",
        "publish": "consumer.commands.publish:publish",
        "rollup": "consumer.commands.rollup:rollup",
        "doctor": "consumer.commands.doctor:doctor",
        "ledger": "consumer.commands.ledger:app",
        "dead-letters": "consumer.commands.dead_letters:app",
        "partition": "consumer.commands.partition:app",
        "retention": "consumer.commands.retention:app",
        "erase": "consumer.commands.erase:erase",
        "provenance": "consumer.commands.provenance:app",
        "config": "consumer.commands.config:app",
        "schema": "consumer.commands.schema:app",
        "slo": "consumer.commands.slo:app",
    }


app = typer.Typer(
    name="ragledger",
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    help="Keeps the books of retrieval-augmented generation: from Kafka to PostgreSQL, exactly once in effect.",
    epilog="Exit codes: 0 done, 1 failed, 2 wrong use, 3 a check did not hold.",
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"ragledger {__version__}")
        raise typer.Exit


@app.callback()
def main_options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Options before the command."""


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
