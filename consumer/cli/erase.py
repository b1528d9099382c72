"""`erase`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer
from pydantic_core import PydanticCustomError

from consumer.admin.erasure import Circumstances, Erasure, Progress, as_text, dry_run, receipt
from consumer.cli.database import opened_database
from consumer.cli.id import id_of
from consumer.cli.output import Json, WrongUse, command, err, out, print_json, progress
from consumer.events.fields import Uuid
from consumer.events.registry import namespace_of
from consumer.files import FileError, demand_writable, write
from consumer.ingest import slo
from consumer.ingest.erased import erasure_keys
from consumer.ingest.rollup_basis import Basis
from consumer.postgres.client import Database
from consumer.postgres.history import PostgresHistory
from consumer.settings.loading import load
from consumer.settings.model import Settings
from consumer.settings.process import owner_name, user_name


def _user(text: str) -> UUID:
    """Parse a user id in any form that events may use."""
    try:
        user = Uuid().parse(text.strip())
    except PydanticCustomError as error:
        raise typer.BadParameter(error.message()) from None
    if user.int in _NOBODY:
        raise typer.BadParameter(_WHY_NOBODY)
    return user


_NOBODY = (0, 2**128 - 1)
_WHY_NOBODY = "this id belongs to no single user: everybody who shares it would be erased"

User = Annotated[
    UUID | None,
    typer.Option("--user", parser=_user, metavar="UUID", help="The user to erase, by the UUID in the tables."),
]
UserKey = Annotated[
    str | None,
    typer.Option("--user-key", metavar="KEY", help="The user to erase, by the id that the application uses."),
]
Directory = Annotated[Path, typer.Option("--receipt", exists=True, file_okay=False, help="Directory for the receipt.")]


@command
async def erase(
    user: User = None,
    user_key: UserKey = None,
    dry_run: Annotated[bool, typer.Option(help="Only show what would be done.")] = False,
    reference: Annotated[str | None, typer.Option(help="The request to which this responds, for the receipt.")] = None,
    directory: Directory = Path(),
    as_json: Json = False,
) -> None:
    """Erase the dialogues, feedback and dead letters of a user for good, and write a receipt.

    The command may be interrupted at any point and repeated.
    """
    if (user is None) == (user_key is None):
        raise typer.BadParameter("give either --user or --user-key")
    if not dry_run:
        _demand_writable(directory)
    settings = load()
    user = user or _user_of(user_key or "", settings)
    around = _circumstances(settings, reference)
    async with opened_database(settings) as database:
        erasure = _erasure(settings, database)
        await erasure.demand()
        if dry_run:
            document = await _find(erasure, user, around, settings)
        else:
            document = await _do(erasure, user, around, settings)
    if not dry_run:
        _file(document, directory)  # first, because printing may fail
    if as_json:
        print_json(document)
    else:
        out.print(as_text(document), markup=False, soft_wrap=True)


def _user_of(key: str, settings: Settings) -> UUID:
    user = id_of("user", settings, key)
    if user.int in _NOBODY:
        raise WrongUse(f"--user-key: {_WHY_NOBODY}")
    return user


def _erasure(settings: Settings, database: Database) -> Erasure:
    basis = Basis(settings.rollup.timezone, slo.load(settings.slo.file))
    history = PostgresHistory(database, basis, owner_name())
    keys, namespace = erasure_keys(settings.erasure), namespace_of(settings)
    return Erasure(database, history, settings.rollup.timezone, keys, namespace)


def _circumstances(settings: Settings, reference: str | None) -> Circumstances:
    return Circumstances(
        settings.postgres.parsed.address,
        user_name(),
        reference,
        settings.topics.consumed,
        settings.topics.expired,
    )


async def _find(erasure: Erasure, user: UUID, around: Circumstances, settings: Settings) -> Mapping[str, Any]:
    with progress() as bar:
        found = await erasure.find(user, _on_progress(bar))
        files = await erasure.archives(user, settings.partitions.archive_dir, _on_progress(bar))
    return dry_run(around, erasure.hash(user), erasure.key_id, found, files)


async def _do(erasure: Erasure, user: UUID, around: Circumstances, settings: Settings) -> Mapping[str, Any]:
    with progress() as bar:
        history, left = await erasure.erase(user, around.requested_by, around.reference, _on_progress(bar))
        files = await erasure.archives(user, settings.partitions.archive_dir, _on_progress(bar))
    return receipt(around, history, left, files)


def _on_progress(bar: Any) -> Progress:
    tasks: dict[str, Any] = {}

    def advance(what: str, count: int) -> None:
        if what not in tasks:
            tasks[what] = bar.add_task(what, total=None)
        bar.advance(tasks[what], count)

    return advance


def _demand_writable(directory: Path) -> None:
    """Raise before anything is erased if the receipt cannot be written."""
    try:
        demand_writable(directory)
    except FileError as error:
        raise WrongUse(f"the receipt cannot be written: {error} with --receipt") from None


def _file(document: Mapping[str, Any], directory: Path) -> None:
    try:
        _write(document, directory)
    except FileError as error:
        raise FileError(
            f"the user is erased, but the receipt could not be written: {error} with --receipt; run the same command"
            " again to get a receipt that includes this erasure"
        ) from error


def _write(document: Mapping[str, Any], directory: Path) -> None:
    """Write the receipt as two files that only their owner can read."""
    name = f"erasure-{document['number']}-{document['user']['hmac_sha256'][:12]}"
    text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    digest = hashlib.sha256(text.encode()).hexdigest()
    write(directory / f"{name}.json", text)
    write(directory / f"{name}.txt", f"{as_text(document)}\nSHA-256 of {name}.json: {digest}\n")
    err.print(f"The receipt is in {directory / name}.json and .txt", markup=False, soft_wrap=True)
