"""Runs programs that print a password or a token.

Their output and their standard error are never shown, because both may contain a secret.
"""

from __future__ import annotations

import asyncio
import os
import signal
from asyncio.subprocess import DEVNULL, PIPE, Process
from contextlib import suppress

from consumer.credentials.errors import CredentialsError
from consumer.settings.logins import arguments_of

SECONDS = 10.0
MOST_BYTES = 65_536  # Kafka's own limit for a token is lower


async def printed_by(command: str, setting: str) -> str:
    """Run a program without a shell, and return the line that it prints.

    :param setting: the name of the setting, for messages
    :raises CredentialsError: the program failed, took too long, or did not print exactly one line
    """
    program, *arguments = arguments_of(command)
    name = os.path.basename(program)  # noqa: PTH119 - a message should not show directories
    try:
        process = await asyncio.create_subprocess_exec(
            program, *arguments, stdin=DEVNULL, stdout=PIPE, stderr=DEVNULL, start_new_session=True
        )
    except OSError as error:
        raise CredentialsError(f"{setting}: {name} cannot be started: {error.strerror}") from None
    try:
        async with asyncio.timeout(SECONDS):
            printed = await _all_of(process, f"{setting}: {name}")
            code = await process.wait()
    except TimeoutError:
        raise CredentialsError(f"{setting}: {name} has not ended within {SECONDS:.0f} s") from None
    finally:
        await _end(process)
    if code != 0:
        raise CredentialsError(f"{setting}: {name} has failed {_ending(code)}; run it by hand to see why")
    return _one_line(printed, f"{setting}: {name}")


async def _all_of(process: Process, who: str) -> bytes:
    assert process.stdout is not None
    printed = b""
    while piece := await process.stdout.read(MOST_BYTES):
        printed += piece
        if len(printed) > MOST_BYTES:
            raise CredentialsError(f"{who} has printed more than {MOST_BYTES} bytes")
    return printed


async def _end(process: Process) -> None:
    """Kill the process if it still runs, with its child processes."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


def _ending(code: int) -> str:
    return f"with exit code {code}" if code > 0 else f"by signal {-code}"


def _one_line(printed: bytes, who: str) -> str:
    try:
        line = printed.decode().strip()
    except UnicodeDecodeError:
        line = ""
    if not line or not line.isprintable():
        raise CredentialsError(f"{who} must print the token alone, on one line, in UTF-8")
    return line
