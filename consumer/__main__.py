"""The command line."""

from __future__ import annotations

import gc
import os
from typing import Annotated, ClassVar

import typer

from consumer import __version__
from consumer.cli.lazy import LazyGroup

# Imports create hundreds of thousands of permanent objects. Searching them for cycles takes an eighth of the CPU of a
# start.
_IMPORT_THRESHOLD = 500_000
# Pydantic searches every installed package for plugins, and loads those it finds. ragledger uses none.
_NO_PLUGINS = ("PYDANTIC_DISABLE_PLUGINS", "__all__")


class Commands(LazyGroup):
    """Every command, in the order in which they are listed."""

    places: ClassVar = {
        "run": "consumer.cli.service:run",
        "demo": "consumer.cli.demo:demo",
        "stack": "consumer.cli.stack:stack",
        "migrate": "consumer.cli.migrate:app",
        "publish": "consumer.cli.publish:publish",
        "generate": "consumer.cli.generate:generate",
        "rollup": "consumer.cli.rollup:rollup",
        "doctor": "consumer.cli.doctor:doctor",
        "ledger": "consumer.cli.ledger:app",
        "dead-letters": "consumer.cli.dead_letters:app",
        "partition": "consumer.cli.partition:app",
        "distribute": "consumer.cli.distribute:app",
        "retention": "consumer.cli.retention:app",
        "erase": "consumer.cli.erase:erase",
        "id": "consumer.cli.id:app",
        "provenance": "consumer.cli.provenance:app",
        "config": "consumer.cli.config:app",
        "schema": "consumer.cli.schema:app",
        "slo": "consumer.cli.slo:app",
        "prices": "consumer.cli.prices:app",
    }


app = typer.Typer(
    name="ragledger",
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    help="Moves the events of RAG services from Kafka to PostgreSQL, exactly once in effect.",
    epilog="Exit codes: 0 done, 1 failed, 2 wrong use, 3 a check failed, 4 the watchdog ended the process.",
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
    gc.set_threshold(_IMPORT_THRESHOLD)
    os.environ.setdefault(*_NO_PLUGINS)
    app()


if __name__ == "__main__":
    main()
