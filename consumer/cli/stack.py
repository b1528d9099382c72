"""`stack`: runs only the embedded Kafka and PostgreSQL."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from consumer.cli.output import Exit, Json, command, err, fail, out, print_json
from consumer.cli.signals import stop_on_signals

if TYPE_CHECKING:
    from consumer.devstack import Stack

CHECK_SECONDS = 1.0


@command
async def stack(
    postgres_version: Annotated[int, typer.Option(help="18 is included; 15 uses the one that is installed.")] = 18,
    as_json: Json = False,
) -> Exit:
    """Start an embedded Kafka and PostgreSQL, print their addresses on one line, and run until SIGTERM or Ctrl-C."""
    stop = stop_on_signals()
    servers = make_stack(postgres_version)
    starting, stopping = asyncio.create_task(servers.__aenter__()), asyncio.create_task(stop.wait())
    await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        return Exit.DONE
    starting.result()
    try:
        _announce(servers, as_json)
        await watch(servers, stop)
    finally:
        await servers.__aexit__(None, None, None)
    return Exit.DONE


def make_stack(postgres_version: int = 18) -> Stack:
    """Return the embedded servers, not started. If their packages are missing, say how to install them."""
    try:
        from consumer.devstack import Stack
    except ImportError as error:
        fail(str(error))
        raise
    return Stack(postgres_version=postgres_version, progress=lambda text: err.print(text, style="dim"))


def _announce(servers: Stack, as_json: bool) -> None:
    addresses = {"bootstrap_servers": servers.bootstrap_servers, "dsn": servers.dsn}
    if as_json:
        print_json(addresses)
    else:
        out.print("  ".join(f"{name}={value}" for name, value in addresses.items()), soft_wrap=True, markup=False)


async def watch(servers: Stack, stop: asyncio.Event) -> None:
    """Wait for `stop`.

    :raises EmbeddedError: a server has ended unexpectedly
    """
    while not stop.is_set():
        servers.check()
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                await stop.wait()
        except TimeoutError:
            continue
