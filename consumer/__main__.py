"""The command line."""

from __future__ import annotations

from typing import Annotated

import typer

from consumer import __version__
from consumer.commands import dead_letters, ledger, migrate, partition, provenance, retention, schema, service, slo
from consumer.commands.demo import demo
from consumer.commands.doctor import doctor
from consumer.commands.erase import erase
from consumer.commands.publish import publish
from consumer.commands.rollup import rollup
from consumer.commands.stack import stack

app = typer.Typer(
    name="ragledger",
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


@app.command()
def run() -> None:
    """Run the service until SIGTERM or SIGINT: then write what is held, commit, leave the group."""
    service.run()


app.command()(demo)
app.command()(stack)
app.add_typer(migrate.app, name="migrate")
app.command()(publish)
app.command()(rollup)
app.command()(doctor)
app.add_typer(ledger.app, name="ledger")
app.add_typer(dead_letters.app, name="dead-letters")
app.add_typer(partition.app, name="partition")
app.add_typer(retention.app, name="retention")
app.command()(erase)
app.add_typer(provenance.app, name="provenance")
app.add_typer(service.config_app, name="config")
app.add_typer(schema.app, name="schema")
app.add_typer(slo.app, name="slo")


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
